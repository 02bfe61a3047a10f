"""Every registered operator device, and the fake one: the contract of `robot.devices.OperatorDevice`.

Ours are plugged in by what stands for them here: a pipe, a terminal's other end, an arm's emulated servo bus. A device
of another package takes part once it is registered in `tandem.operator_devices`; what needs it plugged in is skipped
where it is not found. What its bytes mean is for its own tests.
"""

import os
import pty
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hardware.stand_ins.servo_arms import dynamixel, feetech
from robot.devices import DeviceState, FakeOperator, OperatorDevice
from robot.errors import DeviceDisconnected, DeviceNotFound, MissingDependency, RobotError
from robot.operator_devices import GROUP, make_operator_device
from robot.specs import load_station
from robot.types import OperatorInput, OwnerRequest
from tests.conformance.registered import names

STATION = load_station("so101_sim")
PACKETS = [
    OperatorInput(1, 1_000, "fake"),
    OperatorInput(2, 21_000, "fake", True, OwnerRequest.TAKE_OVER, twist=(0.1, 0.0, 0.0, 0.0, 0.0, 0.0)),
    OperatorInput(3, 41_000, "fake", request=OwnerRequest.HAND_BACK),
]
READS = 50
Options = Mapping[str, Any]


@contextmanager
def pipe(folder: Path) -> Iterator[Options]:
    """Yield the options of a device whose reports come through a pipe, in which there are none."""
    path = folder / "device"
    os.mkfifo(path)
    ends = os.open(path, os.O_RDWR)  # both: it is neither empty for good nor waited for
    try:
        yield {"path": str(path)}
    finally:
        os.close(ends)


@contextmanager
def terminal(folder: Path) -> Iterator[Options]:
    """Yield the options of a terminal at which nobody types."""
    ours, theirs = pty.openpty()
    try:
        yield {"path": os.ttyname(theirs)}
    finally:
        os.close(ours)
        os.close(theirs)


@contextmanager
def servo_bus(folder: Path) -> Iterator[Options]:
    """Yield the options of a leader arm that nobody holds."""
    pytest.importorskip("scservo_sdk", reason="pip install '.[feetech]'")
    with feetech() as stand_in:
        yield leader_at(stand_in.station.arm.address, folder)


def leader_at(address: str, folder: Path, like: str = "so101") -> Options:
    path = folder / "leader.yaml"
    path.write_text(yaml.safe_dump({"like": like, "name": "leader", "arm": {"address": address}}))
    return {"station": str(path)}


@contextmanager
def gello_bus(folder: Path) -> Iterator[Options]:
    """Yield the options of a GELLO that nobody holds."""
    pytest.importorskip("dynamixel_sdk", reason="pip install '.[dynamixel]'")
    with dynamixel("gello") as stand_in:
        yield leader_at(stand_in.station.arm.address, folder, "gello")


@dataclass(frozen=True)
class Plug:
    """What stands for a device that is there, and the options of one that is not."""

    there: Callable[[Path], AbstractContextManager[Options]] = lambda _: nullcontext({})
    gone: Callable[[Path], Options] = lambda _: {}
    device: str = ""  # where another one of the same driver stands for it
    follower: str = STATION.name


def no_file(folder: Path) -> Options:
    return {"path": str(folder / "nothing")}


PLUGS = {
    "spacemouse": Plug(pipe, no_file),
    "gamepad": Plug(pipe, no_file),
    "keyboard": Plug(terminal, no_file),
    "leader": Plug(servo_bus, lambda folder: leader_at(str(folder / "nothing"), folder)),
    "gello": Plug(gello_bus, device="leader", follower="fr3_sim"),
}


@pytest.fixture(params=["fake", *names(GROUP), "gello"], scope="module")
def plugged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Options]]:
    """A device that is plugged in, and its options."""
    with PLUGS.get(request.param, Plug()).there(tmp_path_factory.mktemp(request.param)) as options:
        yield request.param, options


@pytest.fixture
def device(plugged: tuple[str, Options]) -> Iterator[OperatorDevice]:
    """The device, not connected."""
    name, options = plugged
    plug = PLUGS.get(name, Plug())
    follower = load_station(plug.follower)
    made = FakeOperator(PACKETS) if name == "fake" else make_operator_device(plug.device or name, follower, options)
    yield made
    made.close()


def connect(device: OperatorDevice, name: str) -> None:
    """Connect; only a device that nothing stands for here may be absent."""
    try:
        device.connect()
    except (DeviceNotFound, MissingDependency) as error:
        if name == "fake" or (name in PLUGS and isinstance(error, DeviceNotFound)):
            raise
        pytest.skip(f"not plugged in: {error}")


def test_features_are_known_before_connecting(device: OperatorDevice) -> None:
    assert device.state is DeviceState.DISCONNECTED
    assert device.features.kind == "operator"
    assert device.features.names
    assert device.features.rate_hz > 0


def test_nothing_is_read_before_connecting_or_after_closing(
    device: OperatorDevice, plugged: tuple[str, Options]
) -> None:
    with pytest.raises(DeviceDisconnected):
        device.read()
    device.close()
    connect(device, plugged[0])
    device.connect()  # it is connected: nothing happens
    device.read()
    device.close()
    device.close()
    assert device.state is DeviceState.DISCONNECTED
    with pytest.raises(DeviceDisconnected):
        device.read()


def test_it_can_be_connected_again(device: OperatorDevice, plugged: tuple[str, Options]) -> None:
    for _ in range(2):
        connect(device, plugged[0])
        assert device.state is not DeviceState.DISCONNECTED
        device.read()
        device.close()


def test_packets_rise_and_are_finite_and_no_read_waits(device: OperatorDevice, plugged: tuple[str, Options]) -> None:
    connect(device, plugged[0])
    took_s, heard = [], []
    for _ in range(READS):
        begun_s = time.monotonic()
        packet = device.read()
        took_s.append(time.monotonic() - begun_s)
        if packet is not None:
            heard.append(packet)
    assert heard
    assert np.median(took_s) < 0.02, "shorter than a period of 50 Hz; a busy machine may hold one up, not half of them"
    assert [packet.seq for packet in heard] == sorted({packet.seq for packet in heard})
    assert (np.diff([packet.time_ns for packet in heard]) >= 0).all()
    assert all(np.isfinite(packet.twist).all() for packet in heard)
    assert all(packet.joints is None or np.isfinite(packet.joints).all() for packet in heard)


def test_a_device_that_nobody_touches_asks_for_nothing(device: OperatorDevice, plugged: tuple[str, Options]) -> None:
    if isinstance(device, FakeOperator):
        pytest.skip("it plays a person back")
    connect(device, plugged[0])
    heard = [packet for _ in range(READS) if (packet := device.read()) is not None]
    assert not any(packet.engaged or packet.request or packet.mark for packet in heard)
    assert not any(np.any(packet.twist) for packet in heard)


@pytest.mark.parametrize("name", names(GROUP))
def test_what_is_not_plugged_in_is_not_found_and_stays_disconnected(name: str, tmp_path: Path) -> None:
    device = make_operator_device(name, STATION, PLUGS.get(name, Plug()).gone(tmp_path))
    try:
        device.connect()
    except RobotError as error:
        assert isinstance(error, DeviceNotFound | MissingDependency)
        assert len(str(error).split()) > 5, "it says what to do"
        assert device.state is DeviceState.DISCONNECTED
        with pytest.raises(DeviceDisconnected):
            device.read()
    else:
        device.close()
        assert name not in PLUGS, "there is nothing to connect to"


def test_the_fake_one_plays_back_what_it_was_given() -> None:
    with FakeOperator(PACKETS) as fake:
        assert [fake.read() for _ in range(4)] == [*PACKETS, None]
