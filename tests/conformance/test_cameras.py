"""Every camera with a stand-in, through its own driver and its vendor's software; the fake one and the simulated one.

A camera of another package takes part once its stand-in is registered in `tandem.camera_stand_ins`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from hardware.stand_ins.camera_stand_in import CameraStandIn
from hardware.stand_ins.moving_scene import RED
from robot.clock import ManualClock
from robot.devices import Camera, DeviceState, FakeCamera, Frame
from robot.errors import DeviceDisconnected, MissingDependency
from robot.specs import CameraSpec, load_station
from robot.types import NS_PER_S
from tests.conformance.registered import names

GROUP = "tandem.camera_stand_ins"
FAULT_S = 1.0  # from a stream's last picture to the fault, on a busy machine; 5 periods on a quiet one
PATIENCE_S = 20.0


class FakeStandIn:
    """The fake camera; time is the machine's."""

    spec: CameraSpec = load_station("fr3_sim").cameras[0]
    faults: tuple[str, ...] = ("frozen", "ended")

    def __init__(self) -> None:
        self._camera = FakeCamera(self.spec, background=RED)

    def camera(self) -> Camera:
        self._camera = FakeCamera(self.spec, background=RED)
        return self._camera

    def inject(self, fault: str, cured_by: str = "") -> None:
        self._camera.frozen, self._camera.ended = fault == "frozen", fault == "ended"


@pytest.fixture(params=["fake", *names(GROUP)], scope="module")
def stand_in(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CameraStandIn:
    if request.param == "fake":
        return FakeStandIn()
    (entry,) = entry_points(group=GROUP, name=request.param)
    make: Callable[[Path], CameraStandIn] = entry.load()
    try:
        made = make(tmp_path_factory.mktemp(request.param))
        made.camera()
    except MissingDependency as error:
        pytest.skip(str(error))
    return made


@pytest.fixture
def camera(stand_in: CameraStandIn) -> Iterator[Camera]:
    """The connected camera, whole again."""
    made = stand_in.camera()
    stand_in.inject("")
    with made:
        yield made
    stand_in.inject("")


def next_frame(camera: Camera, after: int = -1, timeout_s: float = PATIENCE_S) -> Frame:
    """Wait for a frame with another counter."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            frame = camera.read()
        except DeviceDisconnected:
            time.sleep(0.01)
            continue
        if frame.counter != after:
            return frame
        time.sleep(0.002)
    raise AssertionError(f"no frame within {timeout_s:g} s: {camera.health()}")


def frames(camera: Camera, count: int) -> list[Frame]:
    found = [next_frame(camera)]
    while len(found) < count:
        found.append(next_frame(camera, found[-1].counter))
    return found


def test_features_are_readable_before_connecting(stand_in: CameraStandIn) -> None:
    camera, spec = stand_in.camera(), stand_in.spec
    assert camera.state is DeviceState.DISCONNECTED
    assert camera.features.kind == "camera"
    assert camera.features.names[0] == "color"
    assert camera.features.shape == (spec.height, spec.width, 3)
    assert camera.features.rate_hz == spec.rate_hz
    assert isinstance(camera.health(), Mapping)


def test_nothing_is_read_before_connecting_or_after_closing(stand_in: CameraStandIn) -> None:
    camera = stand_in.camera()
    with pytest.raises(DeviceDisconnected):
        camera.read()
    camera.close()
    with camera as same:
        assert same is camera
        assert next_frame(camera).image.any()
        camera.connect()  # it is connected: nothing happens
    assert camera.state is DeviceState.DISCONNECTED
    with pytest.raises(DeviceDisconnected):
        camera.read()
    camera.close()


def test_it_can_be_connected_again(stand_in: CameraStandIn) -> None:
    camera = stand_in.camera()
    for _ in range(2):
        with camera:
            assert camera.state is DeviceState.CONNECTED
            first = next_frame(camera)
            assert next_frame(camera, first.counter).time_ns > first.time_ns


def test_a_red_picture_is_red(camera: Camera, stand_in: CameraStandIn) -> None:
    image = next_frame(camera).image
    assert image.shape == (stand_in.spec.height, stand_in.spec.width, 3)
    assert image.dtype == np.uint8
    middle = np.median(image.reshape(-1, 3), axis=0)
    np.testing.assert_allclose(middle, RED, atol=8)


def test_pictures_are_of_the_time_they_say(camera: Camera) -> None:
    begun_ns = time.monotonic_ns()
    seen = frames(camera, 20)
    now_ns = time.monotonic_ns()
    times = np.array([frame.time_ns for frame in seen])
    counters = np.array([frame.counter for frame in seen])
    assert (np.diff(times) > 0).all()
    assert (np.diff(counters) > 0).all()
    assert times[-1] <= now_ns
    assert times[0] > begun_ns - NS_PER_S
    assert now_ns - times[-1] < NS_PER_S / 2


def test_pictures_come_at_the_rate_of_the_station(camera: Camera) -> None:
    rates = []
    for _ in range(5):  # a busy machine may hold a second up, not five
        seen = frames(camera, 20)
        rates.append((seen[-1].counter - seen[0].counter) / (seen[-1].time_ns - seen[0].time_ns) * NS_PER_S)
        if rates[-1] == pytest.approx(camera.features.rate_hz, rel=0.2):
            return
    raise AssertionError(f"{rates} Hz, the station says {camera.features.rate_hz}")


def test_other_pictures_under_other_counters(camera: Camera) -> None:
    first = next_frame(camera)
    kept = first.image.copy()
    second = next_frame(camera, first.counter)
    assert (second.image != first.image).any()
    np.testing.assert_array_equal(first.image, kept, err_msg="an old frame was written over")


def test_a_frozen_stream_never_looks_fresh(camera: Camera, stand_in: CameraStandIn) -> None:
    next_frame(camera)
    stand_in.inject("frozen")
    time.sleep(0.15)  # what was on its way
    told = set()
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < 1.0:
        try:
            told.add(camera.read().counter)
        except DeviceDisconnected:
            told.add(-1)
        time.sleep(0.005)
    assert len(told - {-1}) <= 1, "an old picture was given a new counter"


def test_the_end_of_the_stream_is_a_fault_and_pictures_end_it(camera: Camera, stand_in: CameraStandIn) -> None:
    next_frame(camera)
    stand_in.inject("ended")
    begun_s = time.monotonic()
    while camera.state is not DeviceState.FAULT:
        assert time.monotonic() - begun_s < FAULT_S
        time.sleep(0.005)
    with pytest.raises(DeviceDisconnected) as told:
        camera.read()
    assert len(str(told.value)) > 30
    stand_in.inject("")
    assert next_frame(camera).image.any()
    assert camera.state is DeviceState.CONNECTED


def test_closing_takes_no_long_time_whatever_the_stream_does(stand_in: CameraStandIn) -> None:
    for fault in stand_in.faults:
        camera = stand_in.camera()
        stand_in.inject("")
        camera.connect()
        stand_in.inject(fault)
        time.sleep(0.3)
        begun_s = time.monotonic()
        camera.close()
        took_s = time.monotonic() - begun_s
        stand_in.inject("")
        assert took_s < 4.0, f"{fault}: {took_s:.1f} s"


def test_the_fake_camera_follows_a_given_clock() -> None:
    clock = ManualClock(NS_PER_S)
    camera = FakeCamera(FakeStandIn.spec, clock)
    with camera:
        first = camera.read()
        assert camera.read().counter == first.counter
        clock.advance(NS_PER_S // 10)
        assert camera.read().time_ns - first.time_ns == 3 * round(NS_PER_S / 30)
