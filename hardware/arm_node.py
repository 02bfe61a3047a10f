"""A real arm as a node: the arm process over the driver that the station names.

It starts latched and sends the arm nothing, not even torque, before `safety/reset` was called by a person.
"""

from collections.abc import Iterable
from dataclasses import replace

from hardware.arm_drivers import make_arm
from hardware.real_time import ask_for_real_time
from robot.ros.arm_process import ArmNode
from robot.ros.node import Diagnosis, NodeParameters, run_node


class HardwareArmNode(ArmNode[NodeParameters]):
    """The arm process of `robot.ros.arm_process` with the station's own driver."""

    def __init__(self) -> None:
        super().__init__(NodeParameters, lambda station, _: make_arm(station))
        for line in self.arm.mismatches:
            self.get_logger().error(f"the arm will not move: {line}")
        self._real_time: dict[str, object] = {}
        self.start_thread("servo", self.run_servo)

    def run_servo(self) -> None:
        granted = ask_for_real_time()
        self._real_time = {"scheduling": granted.scheduling, "memory_locked": granted.memory_locked}
        if granted.advice:
            self.get_logger().info(f"servo thread with {granted.scheduling} scheduling: {granted.advice}")
        super().run_servo()

    def diagnose(self) -> Diagnosis:
        found = super().diagnose()
        return replace(found, values={**found.values, **self._real_time})


def main(args: Iterable[str] | None = None) -> int:
    return run_node(HardwareArmNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
