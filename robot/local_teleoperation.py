"""A person at an operator device in a simulated world without the graph: the same tick, paced by the clock."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from robot.clock import RateKeeper
from robot.control_loop import ControlLoop
from robot.operator_devices import make_operator_device
from robot.operator_inbox import OperatorInbox
from robot.operator_pump import OperatorPump
from robot.types import Observation, OperatorInput


class PacedOperator:
    """The operator contract of `robot.control_loop` over what a device says, at the pace of the wall clock."""

    def __init__(self, loop: ControlLoop, see: Callable[[Observation], None] = lambda _: None) -> None:
        self.inbox = OperatorInbox()
        self._loop, self._see = loop, see
        self._keeper = RateKeeper(loop.cell.station.control_rate_hz)

    def reset(self, seed: int) -> None:
        """A person needs none."""

    def read(self, observation: Observation) -> OperatorInput | None:
        """Wait until the tick is due and return the newest packet; None where the device is silent for too long."""
        self._keeper.wait()
        self._see(observation)
        state = self._loop.state
        packet, age_s = self.inbox.take(time.monotonic(), is_human=state is not None and state.ownership.is_human)
        return packet if age_s <= self._loop.cell.rules.silence_hold_s else None


@contextmanager
def local_operator(
    loop: ControlLoop, device: str, options: Mapping[str, Any], see: Callable[[Observation], None] = lambda _: None
) -> Iterator[PacedOperator]:
    """Read a device for the length of a `with` block.

    Args:
        loop: of the world that is driven.
        device: as in `robot.operator_devices.make_operator_device`.
        options: of the device.
        see: called with what is seen before every tick.
    """

    def feel(observation: Observation) -> None:
        pump.feel(observation.robot)
        see(observation)

    operator = PacedOperator(loop, feel)
    pump = OperatorPump(
        make_operator_device(device, loop.cell.station, options),
        lambda packet: operator.inbox.put(packet, time.monotonic()),
        time.monotonic_ns,
    )
    with pump.running():
        yield operator
