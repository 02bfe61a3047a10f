"""An operator device in the hand of whoever started the program, beside a running graph: keys need its terminal."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from robot.operator_devices import make_operator_device
from robot.operator_pump import OperatorPump
from robot.ros import topics
from robot.ros.client import GraphClient
from robot.ros.messages import from_joint_state, to_operator
from robot.ros.qos import message_type
from robot.specs import StationSpec
from robot.types import Mark, OperatorInput, OwnerRequest, RobotState

log = logging.getLogger(__name__)


class Teleoperation:
    """What the device said last, and what the arm answers."""

    def __init__(self, client: GraphClient, station: StationSpec, device: str, options: Mapping[str, Any]) -> None:
        self.robot: RobotState | None = None
        self.last_label = Mark.NONE
        self.is_engaged = False
        self._is_demonstrating = False
        self._client, self._station = client, station
        self._inputs = client.publisher(topics.TELEOP_INPUT)
        trigger = message_type(topics.TRIGGER)
        self._request = trigger.Request
        self._stopper = client.node.create_client(trigger, topics.SAFETY_STOP)
        self.pump = OperatorPump(make_operator_device(device, station, options), self._send, time.time_ns, self._stop)
        client.subscribe(topics.JOINT_STATES, self._on_joints)

    def _send(self, packet: OperatorInput) -> None:
        packet = self._taking_over(packet) if self._is_demonstrating else packet
        self._inputs.publish(to_operator(packet))
        self.last_label, self.is_engaged = packet.mark or self.last_label, packet.engaged

    def _stop(self) -> None:
        if self._stopper.service_is_ready():
            self._stopper.call_async(self._request())
        else:
            log.error("stop: nobody offers %s; is the arm's process running?", topics.SAFETY_STOP)

    def _on_joints(self, message: Any) -> None:
        self.robot = from_joint_state(message, self._station.joint_names)
        self.pump.feel(self.robot)

    def demonstrate(self, is_demonstrating: bool = True) -> None:
        """Let whoever holds on drive, without a press for every takeover, until they ask for something else.

        In a demonstration nobody else would drive: a person who holds on from before its start, or through a silence of
        the device, has not let go.
        """
        self._is_demonstrating = is_demonstrating

    def _taking_over(self, packet: OperatorInput) -> OperatorInput:
        if packet.request not in (OwnerRequest.NONE, OwnerRequest.TAKE_OVER):
            self._is_demonstrating = False
        is_human = str(self._client.author.get("mode", "")).startswith("human")
        if is_human or not (self._is_demonstrating and packet.engaged):
            return packet
        return replace(packet, request=OwnerRequest.TAKE_OVER)

    def take_label(self) -> Mark:
        """Return the newest label that was given since the last call."""
        label, self.last_label = self.last_label, Mark.NONE
        return label


@contextmanager
def teleoperation(
    client: GraphClient, station: StationSpec, device: str, options: Mapping[str, Any]
) -> Iterator[Teleoperation]:
    """Let a device drive for the length of a `with` block.

    Args:
        client: of the running graph.
        station: whose arm it moves.
        device: as in `robot.operator_devices.make_operator_device`.
        options: of the device.
    """
    hand = Teleoperation(client, station, device, options)
    with hand.pump.running():
        yield hand
