"""Webcams and other V4L2 cameras through OpenCV (hardware spec, section 3); a video file goes the same way.

OpenCV waits 10 s for a picture of a dead device, ten times over, unless its environment says otherwise before it is
imported: the child process gets that environment, and is ended where it blocks all the same.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from hardware.camera_drivers import options_of
from hardware.cameras.process_camera import ProcessCamera
from hardware.cameras.recovery import PROCESS, REPLUG, RESTART, WAIT, Step
from hardware.cameras.source import Opened, Picture
from robot.devices import Camera
from robot.errors import ConfigError, DeviceDisconnected, DeviceNotFound
from robot.specs import CameraSpec
from robot.types import NS_PER_S

SOURCE = f"{__name__}:source"
ENVIRONMENT: Mapping[str, str] = {"OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "1", "OPENCV_VIDEOIO_V4L_READ_ATTEMPTS": "1"}
BY_ID = Path("/dev/v4l/by-id")
REOPEN_S = 1.0  # a device that was let go needs so long
FAILURES = 3  # grabs in a row that give nothing, before the stream counts as lost
MANUAL_EXPOSURE = 1.0  # as UVC counts; 3 is automatic
FRESH_NS = NS_PER_S  # a driver's stamp further off is not of the monotonic clock

LADDER = (
    Step(WAIT, tries=2, limit_s=3.0, settle_s=0.5),
    Step(RESTART, tries=3, limit_s=5.0, settle_s=2.0),
    Step(PROCESS, tries=1, limit_s=10.0, settle_s=3.0),
    Step(REPLUG, tries=1, limit_s=10.0, settle_s=5.0, advice="unplug the camera, wait a second and plug it in again"),
)


@dataclass(frozen=True)
class UvcOptions:
    """Options of driver `uvc`. What is None is left as the device has it; a value given for something that cameras set
    by themselves turns that off. Without a `path` the device is found by the spec's serial.

    `path` may be a video file, which is played at its rate, over and over. `latency_ms` is how long a picture takes
    from its exposure to this machine, where the driver gives no time of its own.
    """

    path: str | None = None
    fourcc: str = "MJPG"
    exposure: float | None = None
    gain: float | None = None
    white_balance_k: float | None = None
    focus: float | None = None
    latency_ms: float = 0.0
    wait_for_device_s: float = 0.0

    def __post_init__(self) -> None:
        if len(self.fourcc) != 4:
            raise ConfigError(f"fourcc is {self.fourcc!r}, allowed: four letters, such as MJPG or YUYV")


def uvc(
    spec: CameraSpec,
    *,
    source: str = SOURCE,
    ladder: tuple[Step, ...] = LADDER,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Camera:
    """Return the camera at the spec's path, or with its serial number; the other arguments are for stand-ins."""
    options = options_of(spec, UvcOptions)
    if spec.has_depth:
        raise ConfigError(f"camera {spec.name}: driver uvc has no depth; leave out has_depth")
    if not options.path and not spec.serial:
        raise ConfigError(
            f"camera {spec.name}: driver uvc finds its device by the option `path` or by `serial`, and the station "
            f"gives neither; those plugged in: {_plugged_in()}"
        )
    return ProcessCamera(spec, source, ladder, environment=environment, patience_s=options.wait_for_device_s)


def source(spec: CameraSpec) -> "UvcSource":
    """Return the source of a camera; runs in the child."""
    return UvcSource(spec, open_capture)


def open_capture(path: str, is_device: bool) -> Any:
    return cv2.VideoCapture(path, cv2.CAP_V4L2) if is_device else cv2.VideoCapture(path)


def _plugged_in() -> str:
    found = sorted(str(path) for path in BY_ID.glob("*-video-index0")) if BY_ID.is_dir() else []
    return ", ".join(found) or "none"


class UvcSource:
    """One device or file, opened by `open_capture` (OpenCV's VideoCapture or what stands in for it)."""

    def __init__(
        self, spec: CameraSpec, open_capture: Callable[[str, bool], Any], *, is_device: bool | None = None
    ) -> None:
        """Whether it `is_device` or a file is told by its path, unless it is given."""
        self._spec, self._open, self._given = spec, open_capture, is_device
        self._options = options_of(spec, UvcOptions)
        self._capture: Any = None
        self._is_device = True
        self._number = self._failures = 0
        self._due_s = self._stopped_s = 0.0

    def start(self) -> Opened:
        path = self._path()
        self._is_device = path.startswith("/dev/") if self._given is None else self._given
        if self._is_device:
            time.sleep(max(0.0, self._stopped_s + REOPEN_S - time.monotonic()))
        capture = self._capture = self._open(path, self._is_device)
        if not capture.isOpened():
            raise DeviceDisconnected(
                f"camera {self._spec.name}: {path} does not open; is it in use, or not readable by you (group video)?"
            )
        if self._is_device:
            self._configure(capture)
        self._compare(capture)
        self._failures, self._due_s = 0, time.monotonic()
        facts = {"path": path, "serial": self._spec.serial or "", "backend": capture.getBackendName()}
        return Opened(None, facts, self._alerts(path))

    def grab(self, timeout_s: float) -> Picture | None:
        if not self._is_device and not self._is_due(timeout_s):
            return None
        is_there, image = self._capture.read()
        now_ns = time.monotonic_ns()
        if not is_there:
            return self._nothing_came()
        self._failures, self._number = 0, self._number + 1
        return Picture(self._number, self._time_ns(now_ns), cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def stop(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()
            self._stopped_s = time.monotonic()

    def reset(self) -> None:
        """Do nothing: USB video has no reset, and the ladder no step for it."""

    def renew(self) -> None:
        self.stop()

    def _path(self) -> str:
        if not self._options.path:
            found = sorted(BY_ID.glob(f"*{self._spec.serial}*-video-index0")) if BY_ID.is_dir() else []
            if len(found) != 1:
                raise DeviceNotFound(
                    f"camera {self._spec.name}: {len(found)} devices with serial {self._spec.serial} in {BY_ID}; "
                    f"plugged in: {_plugged_in()}"
                )
            return str(found[0])
        if not Path(self._options.path).exists():
            raise DeviceNotFound(
                f"camera {self._spec.name}: {self._options.path} is not there; plugged in: {_plugged_in()}"
            )
        return self._options.path

    def _alerts(self, path: str) -> tuple[str, ...]:
        if re.fullmatch(r"/dev/video\d+", path):
            return (f"{path} moves when a camera is replugged; name it by {BY_ID} or /dev/v4l/by-path",)
        return ()

    def _configure(self, capture: Any) -> None:
        """Set the mode in the order that V4L2 needs, then what the station fixes."""
        spec, given = self._spec, self._options
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*given.fourcc))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, spec.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, spec.height)
        capture.set(cv2.CAP_PROP_FPS, spec.rate_hz)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        fixed = [
            ("exposure", given.exposure, cv2.CAP_PROP_EXPOSURE, (cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL_EXPOSURE)),
            ("gain", given.gain, cv2.CAP_PROP_GAIN, None),
            ("white_balance_k", given.white_balance_k, cv2.CAP_PROP_WB_TEMPERATURE, (cv2.CAP_PROP_AUTO_WB, 0.0)),
            ("focus", given.focus, cv2.CAP_PROP_FOCUS, (cv2.CAP_PROP_AUTOFOCUS, 0.0)),
        ]
        for name, value, prop, automatic in fixed:
            if value is None:
                continue
            if automatic is not None:
                capture.set(*automatic)
            capture.set(prop, value)
            if abs(capture.get(prop) - value) > 0.5:
                raise ConfigError(
                    f"camera {spec.name}: {name} was set to {value:g} and is {capture.get(prop):g}; "
                    "`v4l2-ctl --list-ctrls` shows what the camera has"
                )

    def _compare(self, capture: Any) -> None:
        """Refuse a mode other than the station's: `set` does not say that it was ignored."""
        spec = self._spec
        got = [capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)]
        wanted = [spec.width, spec.height, spec.rate_hz]
        if any(abs(a - b) > 0.5 for a, b in zip(got, wanted, strict=True)):
            raise ConfigError(
                f"camera {spec.name} gives {got[0]:.0f}x{got[1]:.0f} at {got[2]:g} Hz, the station asks for "
                f"{spec.width}x{spec.height} at {spec.rate_hz:g} Hz; `v4l2-ctl --list-formats-ext` lists its modes"
            )
        code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
        if self._is_device and code != self._options.fourcc:
            raise ConfigError(f"camera {spec.name} sends {code!r}, its option fourcc asks for {self._options.fourcc!r}")

    def _is_due(self, timeout_s: float) -> bool:
        """Wait until the next picture of a file is due; False where that is further off than `timeout_s`."""
        left_s = self._due_s - time.monotonic()
        time.sleep(min(max(0.0, left_s), timeout_s))
        if left_s > timeout_s:
            return False
        self._due_s = max(self._due_s + 1.0 / self._spec.rate_hz, time.monotonic() - 1.0)
        return True

    def _nothing_came(self) -> None:
        """Begin a file again, or count a failure; DeviceDisconnected where nothing more can be expected."""
        if not self._is_device and self._number:
            self.stop()
            self.start()
            return
        self._failures += 1
        if not self._is_device or not self._capture.isOpened() or self._failures >= FAILURES:
            raise DeviceDisconnected(f"camera {self._spec.name}: no pictures come any more from {self._path()}")

    def _time_ns(self, now_ns: int) -> int:
        """Return when the picture was taken: the driver's monotonic stamp, else half a period before it came."""
        if self._is_device:
            stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            if 0 <= now_ns - stamp_ns < FRESH_NS:
                return stamp_ns
        return now_ns - round(0.5 * NS_PER_S / self._spec.rate_hz + self._options.latency_ms * 1e6)
