"""What camera drivers say before and while they connect: options, missing SDKs, devices that are not the station's."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hardware.camera_drivers import camera_driver_names, make_camera
from hardware.cameras.device_clock import wall_clock_at
from hardware.cameras.realsense import RealSenseSource, load_sdk
from hardware.cameras.uvc import ENVIRONMENT, UvcSource
from hardware.stand_ins.moving_scene import FAR_MM, NEAR_MM, RED, color_image
from hardware.stand_ins.realsense_recording import FIRMWARE, FOCAL, SERIAL, record
from hardware.stand_ins.video import make_video
from robot.devices import Camera, DeviceState
from robot.errors import ConfigError, DeviceNotFound, MissingDependency
from robot.specs import CameraSpec

POSE = (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 45.0
needs_sdk = pytest.mark.skipif(find_spec("pyrealsense2") is None, reason="pyrealsense2 is not installed")


def spec(driver: str, serial: str | None = None, **options: Any) -> CameraSpec:
    return CameraSpec("front", "world", *POSE, 640, 480, 30.0, driver, options, serial=serial)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("realsense") / "scene.db3", seconds=3.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "scene.avi", seconds=1.0)


def test_drivers_are_found_by_name_and_a_wrong_one_names_the_nearest() -> None:
    assert {"realsense", "uvc", "ros_image"} <= set(camera_driver_names())
    with pytest.raises(ConfigError, match="did you mean 'realsense'"):
        make_camera(spec("realsens", serial="1"))
    with pytest.raises(ConfigError, match="simulated"):
        make_camera(CameraSpec("front", "world", *POSE, 640, 480, 30.0))


@pytest.mark.parametrize(
    ("camera", "told"),
    [
        (spec("realsense", "1", expsure_us=100.0), "camera front.*'expsure_us'.*did you mean 'exposure_us'"),
        (spec("realsense", "1", emitter="yes"), "emitter: got 'yes', expected bool"),
        (replace(spec("uvc", path="/dev/null"), has_depth=True), "uvc has no depth"),
        (replace(spec("ros_image", topic="/a"), has_depth=True), "depth_topic go together"),
        (spec("realsense", "1", sync_mode=5), "sync_mode is 5, allowed: 0"),
        (spec("realsense"), "by `serial`, and the station gives none"),
        (spec("uvc", path="/dev/null", fourcc="JPEGS"), "fourcc is 'JPEGS', allowed: four letters"),
        (spec("uvc"), "option `path` or by `serial`"),
        (spec("ros_image"), "topic"),
        (spec("ros_image", topic="/a", fx=600.0), "fx, fy, cx and cy"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(camera: CameraSpec, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        make_camera(camera)
    assert "\n" not in str(refused.value)


MAKE = """
import sys
from hardware.camera_drivers import make_camera
from robot.specs import CameraSpec
pose = "front", "world", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 45.0, 640, 480, 30.0
camera = make_camera(CameraSpec(*pose, sys.argv[1], {"path": sys.argv[2]} if sys.argv[2] else {}, serial="1"))
assert camera.features.shape == (480, 640, 3)
assert "pyrealsense2" not in sys.modules
"""
CONNECT = f"{MAKE}camera.connect()\nprint(camera._life._child.pid, flush=True)\nsys.stdin.read()\n"


def test_making_a_camera_loads_no_sdk() -> None:
    subprocess.run([sys.executable, "-c", MAKE, "realsense", ""], check=True, timeout=60)


def test_a_capture_process_dies_with_its_parent_however_that_dies(video: Path) -> None:
    words = [sys.executable, "-c", CONNECT, "uvc", str(video)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    deadline_s = time.monotonic() + 5.0
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline_s, "the capture process is still there"
        time.sleep(0.02)


def test_without_the_sdk_one_error_names_the_extra_and_the_system_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(MissingDependency, match=r"\.\[realsense\].*libusb-1\.0-0"):
        load_sdk()


def test_without_the_sdk_connecting_says_so_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyrealsense2.py").write_text("raise ImportError('libusb-1.0.so.0: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    camera = make_camera(spec("realsense", "1"))
    begun_s = time.monotonic()
    with pytest.raises(MissingDependency, match=r"libusb-1\.0\.so\.0.*pip install"):
        camera.connect()
    assert time.monotonic() - begun_s < 8.0
    assert camera.state is DeviceState.DISCONNECTED


@needs_sdk
def test_a_realsense_that_is_not_plugged_in_is_not_found() -> None:
    with pytest.raises(DeviceNotFound, match="no RealSense with serial 424242; plugged in: none"):
        make_camera(spec("realsense", "424242")).connect()


def test_a_uvc_camera_that_is_not_plugged_in_is_not_found() -> None:
    with pytest.raises(DeviceNotFound, match="/dev/v4l/by-id/no-such-camera is not there"):
        make_camera(spec("uvc", path="/dev/v4l/by-id/no-such-camera")).connect()


def connected(camera: Camera) -> Iterator[Camera]:
    with camera:
        yield camera


@pytest.fixture(scope="module")
def depth_camera(recording: Path) -> Iterator[Camera]:
    pytest.importorskip("pyrealsense2")
    yield from connected(make_camera(replace(spec("realsense", recording=str(recording)), has_depth=True)))


@needs_sdk
def test_a_realsense_tells_optics_scale_and_firmware(depth_camera: Camera) -> None:
    optics = depth_camera.intrinsics
    assert optics is not None
    assert (optics.fx, optics.fy, optics.cx, optics.cy) == (FOCAL, FOCAL, 320.0, 240.0)
    health = depth_camera.health()
    assert (health["serial"], health["firmware"], health["usb"]) == (SERIAL, FIRMWARE, "3.2")
    assert health["depth_scale_m"] == 0.001
    assert depth_camera.features.names == ("color", "depth")


@needs_sdk
def test_depth_is_seen_by_the_colour_camera_in_millimetres(depth_camera: Camera) -> None:
    """The stand-in's depth camera sits 15 mm beside: at 0.5 m a bar moves by 600 * 0.015 / 0.5 = 18 pixels."""
    for _ in range(5):  # the bar's place differs
        frame = depth_camera.read()
        assert frame.depth.shape == (480, 640) and frame.depth.dtype == np.uint16
        row, bar = frame.depth[240], np.flatnonzero((frame.image[240] > 240).all(axis=1))
        if 60 < bar.mean() < 580:
            near = np.flatnonzero(row == NEAR_MM)
            assert near.mean() - bar.mean() == pytest.approx(18.0, abs=2.0)
            assert FAR_MM in row
        time.sleep(0.1)


def stamped(ms: float, domain: Any) -> Any:
    return SimpleNamespace(get_timestamp=lambda: ms, get_frame_timestamp_domain=lambda: domain)


@needs_sdk
def test_stamps_follow_their_domain() -> None:
    rs = load_sdk()
    source = RealSenseSource(spec("realsense", "1"), rs)
    now_ns = time.monotonic_ns()
    wall_ms = wall_clock_at(now_ns) / 1e6
    time.sleep(0.03)  # what is done with a frame before its time is asked for must not move it
    domains = rs.timestamp_domain
    of_global = source._time_ns(stamped(wall_ms - 20.0, domains.global_time), now_ns)
    of_system = source._time_ns(stamped(wall_ms, domains.system_time), now_ns)
    of_device = source._time_ns(stamped(12345.0, domains.hardware_clock), now_ns)
    assert (now_ns - of_global) / 1e6 == pytest.approx(20.0, abs=5.0)
    assert (now_ns - of_system) / 1e6 == pytest.approx(500.0 / 30.0, abs=5.0)
    assert of_device == now_ns


@needs_sdk
@pytest.mark.parametrize(("unit_m", "raw", "mm"), [(0.001, 1000, 1000), (0.0001, 12345, 1234), (0.01, 60000, 0)])
def test_depth_units_become_millimetres(unit_m: float, raw: int, mm: int) -> None:
    source = RealSenseSource(spec("realsense", "1"), load_sdk())
    source._depth_to_mm = unit_m / 0.001
    found = source._in_mm(np.full((2, 2), raw, np.uint16))
    assert found.dtype == np.uint16
    assert (found == mm).all()


@needs_sdk
def test_a_usb2_link_is_refused_unless_it_is_allowed(recording: Path, tmp_path: Path) -> None:
    from hardware.stand_ins.camera_stand_in import FaultFile
    from hardware.stand_ins.faulty_realsense import FaultySdk

    faults = FaultFile(tmp_path / "fault.json")
    faults.inject("usb2")
    sdk = FaultySdk(load_sdk(), str(recording), faults)
    with pytest.raises(ConfigError, match=r"USB 2\.1 link.*allow_usb2"):
        RealSenseSource(spec("realsense", SERIAL), sdk).start()
    source = RealSenseSource(spec("realsense", SERIAL, allow_usb2=True), sdk)
    opened = source.start()
    source.stop()
    assert "USB 2.1" in opened.alerts[0]


def test_opencv_is_told_to_give_up_on_a_dead_device_before_it_is_imported() -> None:
    assert ENVIRONMENT["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] == "1"
    assert make_camera(spec("uvc", path="/dev/v4l/by-id/x"))._environment == ENVIRONMENT  # type: ignore[attr-defined]


class FakeV4l:
    """A capture that remembers what was set, in order; `ignored` settings stay as they are, as on many cameras."""

    def __init__(self, ignored: dict[int, float]) -> None:
        self.ignored, self.order = ignored, []
        self.values: dict[int, float] = {}

    def set(self, prop: int, value: float) -> bool:
        self.order.append(prop)
        self.values[prop] = value
        return True

    def get(self, prop: int) -> float:
        return self.ignored.get(prop, self.values.get(prop, 0.0))

    def isOpened(self) -> bool:
        return True

    def getBackendName(self) -> str:
        return "V4L2"

    def read(self) -> tuple[bool, np.ndarray]:
        return True, color_image(0, 640, 480)[:, :, ::-1]

    def release(self) -> None: ...


def uvc_source(video: Path, capture: FakeV4l, **options: Any) -> UvcSource:
    return UvcSource(spec("uvc", path=str(video), **options), lambda *_: capture, is_device=True)


def test_a_mode_is_set_in_the_order_that_v4l2_needs(video: Path) -> None:
    import cv2

    capture = FakeV4l({})
    uvc_source(video, capture, exposure=120.0).start()
    assert capture.order[:5] == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
        cv2.CAP_PROP_BUFFERSIZE,
    ]
    assert capture.order[5:] == [cv2.CAP_PROP_AUTO_EXPOSURE, cv2.CAP_PROP_EXPOSURE]
    assert capture.values[cv2.CAP_PROP_AUTO_EXPOSURE] == 1.0


@pytest.mark.parametrize(
    ("prop", "got", "told"),
    [
        ("CAP_PROP_FRAME_WIDTH", 320.0, "gives 320x480 at 30 Hz, the station asks for 640x480"),
        ("CAP_PROP_FPS", 15.0, "at 15 Hz"),
        ("CAP_PROP_FOURCC", float(int.from_bytes(b"YUYV", "little")), "sends 'YUYV'"),
        ("CAP_PROP_EXPOSURE", 3.0, "exposure was set to 120 and is 3"),
    ],
)
def test_what_a_camera_ignores_is_refused(video: Path, prop: str, got: float, told: str) -> None:
    import cv2

    with pytest.raises(ConfigError, match=told):
        uvc_source(video, FakeV4l({getattr(cv2, prop): got}), exposure=120.0).start()


@pytest.mark.parametrize(("age_ms", "is_believed"), [(12.0, True), (5e6, False), (-60_000.0, False)])
def test_the_drivers_stamp_is_taken_where_it_is_of_the_monotonic_clock(
    video: Path, age_ms: float, is_believed: bool
) -> None:
    import cv2

    stamp_ms = time.monotonic_ns() / 1e6 - age_ms
    source = uvc_source(video, FakeV4l({cv2.CAP_PROP_POS_MSEC: stamp_ms}))
    source.start()
    before_ns = time.monotonic_ns()
    picture = source.grab(0.1)
    if is_believed:
        assert picture.time_ns == pytest.approx(stamp_ms * 1e6, abs=1000)
    else:
        assert before_ns <= picture.time_ns + 5e8 / 30.0 + 1 <= time.monotonic_ns() + 2
    np.testing.assert_array_equal(picture.image[0, 300], RED)


def test_a_camera_that_moves_its_name_is_an_alert(video: Path) -> None:
    source = uvc_source(video, FakeV4l({}))
    assert source._alerts("/dev/video0") and not source._alerts("/dev/v4l/by-id/usb-x-video-index0")
