"""One operator device as a process: any of `tandem.operator_devices`, behind the topic that the page speaks too.

A device that is gone is silent, and the arm holds by the arbiter's dead-man; the node goes on looking for it.
A terminal belongs to the program in its foreground: keys are read by `tandem teleop`, not here.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from robot.errors import ConfigError
from robot.operator_devices import make_operator_device
from robot.operator_pump import OperatorPump
from robot.ros import topics
from robot.ros.messages import from_joint_state, to_operator
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node


@dataclass(frozen=True)
class OperatorDeviceParameters(NodeParameters):
    """`device_options` is a JSON object, as the device reads it."""

    device: str = "spacemouse"
    device_options: str = "{}"


class OperatorDeviceNode(RobotNode[OperatorDeviceParameters]):
    """Reads the device in a thread of its own."""

    def __init__(self) -> None:
        super().__init__("operator", OperatorDeviceParameters)
        given = self.parameters
        try:
            options = json.loads(given.device_options)
        except ValueError as error:
            raise ConfigError(
                f"options of {given.device} are {given.device_options!r}, a JSON object is needed: {error}"
            ) from None
        device = make_operator_device(given.device, self.station, options)
        inputs, self._stopper = self.publisher(topics.TELEOP_INPUT), self.client(topics.SAFETY_STOP)
        self._pump = OperatorPump(device, lambda packet: inputs.publish(to_operator(packet)), self.now_ns, self._stop)
        self.subscribe(topics.JOINT_STATES, self._on_joints)
        self.start_thread("pump", lambda: self._pump.run(self.stopping))

    def _on_joints(self, message: Any) -> None:
        self._pump.feel(from_joint_state(message, self.station.joint_names))

    def _stop(self) -> None:
        """Latch the arm too: what the arbiter holds is let go by the next episode, a latch only by a reset."""
        if self._stopper.service_is_ready():
            self._stopper.call_async(self.trigger_request())
        else:
            self.get_logger().error("stop: nobody offers safety/stop; is the arm's process running?")

    def diagnose(self) -> Diagnosis:
        pump = self._pump
        values = {"device": self.parameters.device, "packets": pump.sent, "losses": pump.losses}
        return Diagnosis(Level.ERROR if pump.complaint else Level.OK, pump.complaint or "ok", values)


def main(args: Iterable[str] | None = None) -> int:
    return run_node(OperatorDeviceNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
