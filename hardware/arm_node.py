"""A real arm as a node: messages here, the servo with the driver that the station names in a process of its own.

It starts latched and sends the arm nothing, not even torque, before `safety/reset` was called by a person.
"""

from collections.abc import Iterable

from hardware.remote_servo import RemoteServo
from robot.ros.arm_process import ArmNode
from robot.ros.node import NodeParameters, run_node


class HardwareArmNode(ArmNode[NodeParameters]):
    """The arm's node of `robot.ros.arm_process` before the servo process of the station's own arm."""

    def __init__(self) -> None:
        super().__init__(NodeParameters, lambda station, _: RemoteServo(station))


def main(args: Iterable[str] | None = None) -> int:
    return run_node(HardwareArmNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
