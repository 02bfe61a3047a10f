"""Stand-ins of servo buses, and the vendors' SDKs talking to them as their examples do."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hardware.stand_ins.servo_arms import ServoStandIn, dynamixel, feetech

BUSES = {"feetech": feetech, "dynamixel": dynamixel}


@contextmanager
def vendor(bus: str, stand_in: ServoStandIn) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the vendor's SDK module, its own port and its packet handler, opened as its examples do."""
    sdk = pytest.importorskip({"feetech": "scservo_sdk", "dynamixel": "dynamixel_sdk"}[bus])
    port = sdk.PortHandler(stand_in.bus.port)
    assert port.openPort()
    assert port.setBaudRate(1_000_000)
    try:
        yield sdk, port, sdk.PacketHandler({"feetech": 0, "dynamixel": 2.0}[bus])
    finally:
        port.closePort()


def until_answered(port: Any, ask: Callable[[], tuple[Any, ...]], attempts: int = 8) -> tuple[Any, ...]:
    """Ask again where the machine was too busy for the SDK's time-out; the last but one of an answer is its code.

    A late answer then lies in wait for the next request (and may be too short for the SDK, which indexes past its end).
    """
    for attempt in range(attempts):
        try:
            answer = ask()
        except IndexError:
            answer = (0, -1, 0)
        if answer[-2] == 0 or attempt == attempts - 1:
            return answer
        time.sleep(0.05)
        port.ser.reset_input_buffer()
    raise AssertionError("the last attempt returns")
