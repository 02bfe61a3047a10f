"""The emulated buses as the vendors' own SDKs see them: not only our driver understands what they say."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from hardware.stand_ins.servo_arms import ServoStandIn
from tests.hardware.buses import BUSES, until_answered, vendor

TIMEOUT = {"feetech": -6, "dynamixel": -3001}
CORRUPT = {"feetech": -7, "dynamixel": -3002}
POSITION = {"feetech": (56, 2), "dynamixel": (132, 4)}
GOAL = {"feetech": (42, 2), "dynamixel": (116, 4)}
TORQUE = {"feetech": 40, "dynamixel": 64}
MODELS = {"feetech": [777] * 6, "dynamixel": [1120, 1120, 1120, 1120, 1120, 1020, 1020]}


class Bench:
    """One bus with the vendor's SDK on it."""

    def __init__(self, bus: str, stand_in: ServoStandIn, parts: tuple[Any, Any, Any]) -> None:
        self.bus, self.stand_in, (self.sdk, self.port, self.packets) = bus, stand_in, parts
        self.ids = stand_in.options.ids

    def read(self, servo: int, address: int, size: int) -> tuple[int, int, int]:
        call = {1: self.packets.read1ByteTxRx, 2: self.packets.read2ByteTxRx, 4: self.packets.read4ByteTxRx}[size]
        return until_answered(self.port, lambda: call(self.port, servo, address))

    def write(self, servo: int, address: int, size: int, value: int) -> tuple[int, int]:
        call = {1: self.packets.write1ByteTxRx, 2: self.packets.write2ByteTxRx, 4: self.packets.write4ByteTxRx}[size]
        return until_answered(self.port, lambda: call(self.port, servo, address, value))

    def truth(self) -> list[float]:
        """Positions [ticks] of the servos that are addressed."""
        return [self.stand_in.bus.state()["position"][i] for i in self.stand_in._driven]


@pytest.fixture(params=sorted(BUSES))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with BUSES[request.param]() as stand_in, vendor(request.param, stand_in) as parts:
        yield Bench(request.param, stand_in, parts)


def test_every_servo_answers_a_ping_with_its_model(bench: Bench) -> None:
    answers = [until_answered(bench.port, lambda one=one: bench.packets.ping(bench.port, one)) for one in bench.ids]
    assert [(model, code, error) for model, code, error in answers] == [(one, 0, 0) for one in MODELS[bench.bus]]


def test_positions_are_where_the_shafts_are(bench: Bench) -> None:
    for servo, position in zip(bench.ids, bench.truth(), strict=True):
        assert bench.read(servo, *POSITION[bench.bus]) == (round(position), 0, 0)


def test_a_goal_is_reached_with_torque_and_only_then(bench: Bench) -> None:
    servo, start = bench.ids[0], round(bench.truth()[0])
    assert bench.write(servo, *GOAL[bench.bus], start + 100) == (0, 0)
    assert bench.read(servo, *GOAL[bench.bus])[0] == start + 100
    assert round(bench.truth()[0]) == start
    assert bench.write(servo, TORQUE[bench.bus], 1, 1) == (0, 0)
    for _ in range(50):
        if abs(bench.truth()[0] - start - 100) < 1:
            return
        time.sleep(0.02)
    pytest.fail(f"the shaft is at {bench.truth()[0]}, its goal {start + 100}")


def test_the_vendors_group_read_gets_all_positions(bench: Bench) -> None:
    address, size = POSITION[bench.bus]
    group = bench.sdk.GroupSyncRead(bench.port, bench.packets, address, size)
    for servo in bench.ids:
        group.addParam(servo)
    assert until_answered(bench.port, lambda: (group.txRxPacket(), 0))[0] == 0
    assert [group.getData(servo, address, size) for servo in bench.ids] == [round(one) for one in bench.truth()]


@pytest.mark.parametrize(("fault", "codes"), [("silent", TIMEOUT), ("corrupt", CORRUPT), ("short", CORRUPT)])
def test_broken_answers_get_the_vendors_own_error_codes(bench: Bench, fault: str, codes: dict[str, int]) -> None:
    servo = bench.ids[2]
    bench.stand_in.bus.tell(fault=fault, id=servo)
    found = {bench.packets.read1ByteTxRx(bench.port, servo, TORQUE[bench.bus])[1] for _ in range(5)}
    assert codes[bench.bus] in found
    assert found <= {codes[bench.bus], TIMEOUT[bench.bus]}, (
        "a busy machine may be too late for the SDK; never a success"
    )


def test_an_overload_is_in_the_error_byte_and_takes_the_torque(bench: Bench) -> None:
    servo = bench.ids[-1]
    bench.write(servo, TORQUE[bench.bus], 1, 1)
    bench.stand_in.bus.tell(overload=servo)
    value, code, error = bench.read(servo, TORQUE[bench.bus], 1)
    assert (value, code) == (0, 0)
    assert bench.packets.getRxPacketError(error)


def test_feetech_eeprom_is_written_only_unlocked() -> None:
    with BUSES["feetech"]() as stand_in, vendor("feetech", stand_in) as parts:
        bench = Bench("feetech", stand_in, parts)
        bench.write(1, 21, 1, 16)
        assert bench.read(1, 21, 1)[0] == 0
        bench.write(1, 55, 1, 0)
        bench.write(1, 21, 1, 16)
        assert bench.read(1, 21, 1)[0] == 16


def test_dynamixel_data_that_looks_like_a_header_is_stuffed() -> None:
    with BUSES["dynamixel"]() as stand_in, vendor("dynamixel", stand_in) as parts:
        bench = Bench("dynamixel", stand_in, parts)
        stand_in.bus.tell(set={"id": 1, "address": 224, "size": 4, "value": 0xFDFDFFFF})
        assert bench.read(1, 224, 4)[0] == 0xFDFDFFFF


def test_dynamixel_refuses_goals_after_its_watchdog_until_that_is_cleared() -> None:
    with BUSES["dynamixel"]() as stand_in, vendor("dynamixel", stand_in) as parts:
        bench = Bench("dynamixel", stand_in, parts)
        goal = round(bench.truth()[0])
        bench.write(1, 64, 1, 1)
        bench.write(1, 98, 1, 1)  # 20 ms
        time.sleep(0.1)
        assert bench.read(1, 98, 1)[0] == 255
        _, error = bench.write(1, 116, 4, goal)
        assert error == 7  # access
        bench.write(1, 98, 1, 0)
        assert bench.write(1, 116, 4, goal) == (0, 0)


def test_dynamixel_keeps_its_eeprom_under_torque_and_restarts_on_request() -> None:
    with BUSES["dynamixel"]() as stand_in, vendor("dynamixel", stand_in) as parts:
        bench = Bench("dynamixel", stand_in, parts)
        bench.write(1, 64, 1, 1)
        assert bench.write(1, 11, 1, 4)[1] == 7
        assert until_answered(bench.port, lambda: (*bench.packets.reboot(bench.port, 1),)) == (0, 0)
        assert bench.read(1, 64, 1)[0] == 0
