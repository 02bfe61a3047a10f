"""The pump: what is new goes out at once, nothing is made up in a device's silence, and one that is gone returns."""

from dataclasses import replace

import numpy as np
import pytest

from robot.devices import DeviceState, FakeOperator
from robot.errors import DeviceDisconnected, DeviceNotFound
from robot.operator_pump import AGAIN_S, QUIET_S, OperatorPump
from robot.types import Mark, OperatorInput, OwnerRequest, RobotState

IDLE = OperatorInput(0, 0)


def sent_at(packets: list[OperatorInput | None], step_s: float = 0.01) -> list[tuple[int, OperatorInput]]:
    """Return what went out of a device that is read every `step_s`, with the number of the reading."""
    device, sent = FakeOperator([packet for packet in packets if packet is not None]), []
    pump = OperatorPump(device, lambda packet: sent.append((reading, packet)), lambda: 1_000 + reading)
    for reading in range(len(packets)):
        pump.step(reading * step_s)
    return sent


def test_what_says_nothing_new_goes_out_fifty_times_a_second() -> None:
    readings = [reading for reading, _ in sent_at([IDLE] * 100)]
    assert readings == list(range(0, 100, 2))


def test_a_press_goes_out_at_once_and_is_stamped() -> None:
    press = replace(IDLE, engaged=True, request=OwnerRequest.TAKE_OVER)
    sent = sent_at([IDLE, press, press, replace(IDLE, engaged=True), replace(IDLE, engaged=True, mark=Mark.CORRECTION)])
    assert [reading for reading, _ in sent] == [0, 1, 2, 3, 4]
    assert [packet.time_ns for _, packet in sent] == [1000, 1001, 1002, 1003, 1004]


def test_a_silent_device_is_not_spoken_for() -> None:
    assert len(sent_at([replace(IDLE, engaged=True), *[None] * 50])) == 1


def test_a_stop_is_said_twice_over() -> None:
    stops: list[int] = []
    device = FakeOperator([replace(IDLE, request=OwnerRequest.STOP)])
    sent: list[OperatorInput] = []
    OperatorPump(device, sent.append, lambda: 5, lambda: stops.append(1)).step(0.0)
    assert [packet.request for packet in sent] == [OwnerRequest.STOP]
    assert stops == [1]


class Loose(FakeOperator):
    """A device whose plug is loose."""

    def __init__(self) -> None:
        super().__init__([IDLE] * 100)
        self.is_out = False

    def connect(self) -> None:
        if self.is_out:
            raise DeviceNotFound("no such device")
        super().connect()

    def read(self) -> OperatorInput | None:
        if self.is_out:
            raise DeviceDisconnected("it was pulled out")
        return super().read()


def test_a_device_that_was_pulled_out_is_silent_until_it_is_back() -> None:
    device, sent = Loose(), []
    pump = OperatorPump(device, sent.append, lambda: 0)
    pump.step(0.0)
    device.is_out = True
    for i in range(1, 30):
        assert pump.step(i * 0.1) is None
    assert (pump.losses, pump.complaint, device.state) == (1, "no such device", DeviceState.DISCONNECTED)
    device.is_out = False
    back = [i for i in range(30, 60) if pump.step(i * 0.1) is not None]
    assert (back[0] - 29) * 0.1 <= AGAIN_S + 0.1
    assert pump.complaint == ""


def test_the_device_feels_where_the_arm_is() -> None:
    device = FakeOperator([])
    state = RobotState(1, np.zeros(2), np.zeros(2))
    OperatorPump(device, lambda _: None, lambda: 0).feel(state)
    assert device.felt is state


@pytest.mark.parametrize("seconds", [0.0, QUIET_S / 2])
def test_reading_faster_sends_no_more(seconds: float) -> None:
    assert len(sent_at([IDLE] * 20, step_s=seconds / 20)) == 1
