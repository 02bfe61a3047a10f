"""RealSense D400 cameras: colour, and depth as the colour camera sees it (pyrealsense2, hardware spec section 2).

The SDK runs in a child process, since `wait_for_frames` and `stop` may block for good there. Pictures are copied out
of its memory at once: its pool is small and starves when frames are kept.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from hardware.camera_drivers import options_of
from hardware.cameras.device_clock import DeviceClock, from_wall_clock, wall_clock_at
from hardware.cameras.process_camera import ProcessCamera
from hardware.cameras.recovery import PROCESS, RENEW, REPLUG, RESET, RESTART, WAIT, Step
from hardware.cameras.source import Opened, Picture
from robot.devices import Camera, Intrinsics
from robot.errors import ConfigError, DeviceDisconnected, DeviceNotFound, MissingDependency
from robot.specs import CameraSpec
from robot.types import NS_PER_S

SOURCE = f"{__name__}:source"
NOTHING: Mapping[str, str] = MappingProxyType({})
NS_PER_MS = 1_000_000
DEPTH_UNIT_M = 0.001
REENUMERATION_S = 10.0
PAIR_SHARE = 0.5  # colour and depth of one picture lie at most half a period apart

LADDER = (
    Step(WAIT, tries=3, limit_s=2.0, settle_s=1.0),
    Step(RESTART, tries=1, limit_s=4.0, settle_s=3.0),
    Step(RESET, tries=1, limit_s=REENUMERATION_S + 4.0, settle_s=3.0),
    Step(RENEW, tries=1, limit_s=4.0, settle_s=3.0),
    Step(PROCESS, tries=1, limit_s=10.0, settle_s=3.0),
    Step(REPLUG, tries=1, limit_s=10.0, settle_s=5.0, advice="unplug the camera, wait a second and plug it in again"),
)


@dataclass(frozen=True)
class RealSenseOptions:
    """Options of driver `realsense`. What is None is left as the device has it; exposure and the like are for good.

    `recording` is a file of the SDK (.db3) that is played in place of a device, over and over.
    """

    exposure_us: float | None = None
    gain: float | None = None
    white_balance_k: float | None = None
    emitter: bool | None = None
    sync_mode: int | None = None  # 1 leads, 2 follows
    initial_reset: bool = False
    allow_usb2: bool = False
    wait_for_device_s: float = 0.0
    recording: str | None = None

    def __post_init__(self) -> None:
        if self.sync_mode not in (None, 0, 1, 2):
            raise ConfigError(f"sync_mode is {self.sync_mode}, allowed: 0 (free), 1 (leads), 2 (follows)")


def realsense(
    spec: CameraSpec,
    *,
    source: str = SOURCE,
    ladder: tuple[Step, ...] = LADDER,
    environment: Mapping[str, str] = NOTHING,
) -> Camera:
    """Return the camera with the spec's serial number; the other arguments are for stand-ins."""
    options = options_of(spec, RealSenseOptions)
    if not spec.serial and not options.recording:
        raise ConfigError(
            f"camera {spec.name}: driver realsense finds its device by `serial`, and the station gives none; "
            "`rs-enumerate-devices -s` lists those that are plugged in"
        )
    return ProcessCamera(
        spec,
        source,
        ladder,
        has_depth=spec.has_depth,
        environment=environment,
        patience_s=options.wait_for_device_s,
    )


def source(spec: CameraSpec) -> "RealSenseSource":
    """Return the source of a camera; runs in the child."""
    return RealSenseSource(spec, load_sdk())


def load_sdk() -> Any:
    """Import the vendor's package."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise MissingDependency(
            f"driver realsense needs pyrealsense2 ({error}): pip install '.[realsense]', and the system library "
            "libusb-1.0-0 (apt-get install libusb-1.0-0)"
        ) from error
    return pyrealsense2


class RealSenseSource:
    """One device, by serial, through the SDK `rs` (the module pyrealsense2 or what stands in for it)."""

    def __init__(self, spec: CameraSpec, rs: Any) -> None:
        self._spec, self._rs = spec, rs
        self._options = options_of(spec, RealSenseOptions)
        self._context: Any = None
        self._pipeline: Any = None
        self._align: Any = None
        self._depth_to_mm = 1.0
        self._clock = DeviceClock()
        self._must_reset = self._options.initial_reset and not self._options.recording

    def start(self) -> Opened:
        if self._must_reset:
            self._must_reset = False
            self.reset()
        device = None if self._options.recording else self._find()
        alerts = [] if device is None else self._check_link(device)
        self._clock = DeviceClock()
        pipeline = self._rs.pipeline(self._own_context())
        try:
            profile = pipeline.start(self._configuration())
        except RuntimeError as error:
            raise DeviceDisconnected(
                f"camera {self._spec.name} does not start {self._describe_streams()}: {error}; is it in use by another "
                "program, on a USB 2 cable, or does it not have this mode?"
            ) from error
        self._pipeline = pipeline
        return self._opened(profile, alerts)

    def grab(self, timeout_s: float) -> Picture | None:
        try:
            frames = self._pipeline.wait_for_frames(round(timeout_s * 1000))
        except RuntimeError as error:
            if "didn't arrive" in str(error):
                return None
            raise DeviceDisconnected(f"camera {self._spec.name}: {error}") from error
        now_ns = time.monotonic_ns()
        color = frames.get_color_frame()
        if not color or not self._is_whole(frames):
            return None  # half a pair: the other half is on its way
        depth = None
        if self._align is not None:
            depth = self._in_mm(np.asanyarray(self._align.process(frames).get_depth_frame().get_data()))
        image = np.array(np.asanyarray(color.get_data()))
        return Picture(color.get_frame_number(), self._time_ns(color, now_ns), image, depth)

    def _is_whole(self, frames: Any) -> bool:
        """Tell a picture and its depth from a picture that comes with the depth of the one before."""
        if self._align is None:
            return True
        color, depth = frames.get_color_frame(), frames.get_depth_frame()
        apart_ms = abs(depth.get_timestamp() - color.get_timestamp()) if depth else float("inf")
        return apart_ms <= PAIR_SHARE * 1e3 / self._spec.rate_hz

    def stop(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            try:
                pipeline.stop()
            except RuntimeError as error:
                raise DeviceDisconnected(f"camera {self._spec.name} does not stop: {error}") from error

    def reset(self) -> None:
        """Reset the device and wait until it is back under its serial number; every handle is void after that."""
        if self._options.recording:
            return
        self._pipeline = None
        try:
            self._find().hardware_reset()
        except RuntimeError as error:
            raise DeviceDisconnected(f"camera {self._spec.name} refuses its reset: {error}") from error
        self.renew()
        deadline_s, gone = time.monotonic() + REENUMERATION_S, False
        while time.monotonic() < deadline_s:
            time.sleep(0.1)
            is_there = self._spec.serial in self._serials()
            gone = gone or not is_there
            if gone and is_there:
                return
        if not gone:
            return  # it was back before anybody looked
        raise DeviceNotFound(
            f"camera {self._spec.name}: serial {self._spec.serial} is not back {REENUMERATION_S:g} s after its reset"
        )

    def renew(self) -> None:
        self._pipeline = self._context = None

    def _own_context(self) -> Any:
        if self._context is None:
            self._context = self._rs.context()
        return self._context

    def _serials(self) -> list[str]:
        found = []
        for device in self._own_context().query_devices():
            try:
                found.append(device.get_info(self._rs.camera_info.serial_number))
            except RuntimeError:  # it is on its way out or in
                continue
        return found

    def _find(self) -> Any:
        for device in self._own_context().query_devices():
            if device.get_info(self._rs.camera_info.serial_number) == self._spec.serial:
                return device
        raise DeviceNotFound(
            f"camera {self._spec.name}: no RealSense with serial {self._spec.serial}; plugged in: "
            f"{', '.join(self._serials()) or 'none'}. Check the cable, and the udev rules (docs/robots/cameras.md)"
        )

    def _check_link(self, device: Any) -> list[str]:
        usb = self._info(device, "usb_type_descriptor")
        if not usb or float(usb) >= 3.0:
            return []
        message = f"camera {self._spec.name} is on a USB {usb} link, which lacks modes; use a USB 3 cable and port"
        if not self._options.allow_usb2:
            raise ConfigError(f"{message}, or set its option allow_usb2: true")
        return [message]

    def _configuration(self) -> Any:
        rs, spec, options = self._rs, self._spec, self._options
        config = rs.config()
        if options.recording:
            config.enable_device_from_file(options.recording, repeat_playback=True)
        else:
            config.enable_device(spec.serial)
        rate = round(spec.rate_hz)
        config.enable_stream(rs.stream.color, spec.width, spec.height, rs.format.rgb8, rate)
        self._align = None
        if spec.has_depth:
            config.enable_stream(rs.stream.depth, spec.width, spec.height, rs.format.z16, rate)
            self._align = rs.align(rs.stream.color)
        return config

    def _opened(self, profile: Any, alerts: list[str]) -> Opened:
        rs, device = self._rs, profile.get_device()
        facts: dict[str, Any] = {
            "serial": self._info(device, "serial_number"),
            "model": self._info(device, "name"),
            "firmware": self._info(device, "firmware_version"),
            "usb": self._info(device, "usb_type_descriptor"),
            "sdk": getattr(rs, "__version__", ""),
        }
        if self._spec.has_depth:
            scale_m = float(device.first_depth_sensor().get_depth_scale())
            self._depth_to_mm = scale_m / DEPTH_UNIT_M
            facts["depth_scale_m"] = round(scale_m, 9)
        if not self._options.recording:
            self._set_options(device)
        optics = profile.get_stream(rs.stream.color).as_video_stream_profile().get_intrinsics()
        k1, k2, p1, p2, k3 = optics.coeffs
        intrinsics = Intrinsics(optics.fx, optics.fy, optics.ppx, optics.ppy, (k1, k2, p1, p2, k3))
        return Opened(intrinsics, facts, tuple(alerts))

    def _set_options(self, device: Any) -> None:
        """Set what the station asks for on the sensors that have it; an option that none has is an error."""
        rs, given = self._rs, self._options
        wanted = {
            rs.option.exposure: given.exposure_us,
            rs.option.gain: given.gain,
            rs.option.white_balance: given.white_balance_k,
            rs.option.emitter_enabled: given.emitter,
            rs.option.inter_cam_sync_mode: given.sync_mode,
        }
        automatic = {rs.option.exposure: rs.option.enable_auto_exposure}
        automatic |= {rs.option.white_balance: rs.option.enable_auto_white_balance}
        of_color = (rs.option.exposure, rs.option.gain, rs.option.white_balance)
        for option, value in wanted.items():
            if value is None:
                continue
            sensor = device.first_color_sensor() if option in of_color else device.first_depth_sensor()
            if option in automatic and sensor.supports(automatic[option]):
                sensor.set_option(automatic[option], 0.0)
            self._set(sensor, option, float(value))

    def _set(self, sensor: Any, option: Any, value: float) -> None:
        if not sensor.supports(option):
            raise ConfigError(f"camera {self._spec.name} has no option {option}; leave it out of the station file")
        allowed = sensor.get_option_range(option)
        if not allowed.min <= value <= allowed.max:
            raise ConfigError(
                f"camera {self._spec.name}: {option} is {value:g}, allowed: {allowed.min:g} to {allowed.max:g}"
            )
        sensor.set_option(option, value)

    def _time_ns(self, frame: Any, now_ns: int) -> int:
        """Return when a frame was taken on the monotonic clock, by the domain of its time stamp.

        `global_time` is wall-clock time that the SDK has mapped from the device's clock; `hardware_clock` is the
        device's own; `system_time` is the wall-clock time of arrival, half a period after the middle of the exposure.
        """
        domain, stamp_ns = frame.get_frame_timestamp_domain(), round(frame.get_timestamp() * NS_PER_MS)
        if domain == self._rs.timestamp_domain.hardware_clock:
            return self._clock.to_host(stamp_ns, now_ns)
        taken_ns = from_wall_clock(stamp_ns, wall_clock_at(now_ns), now_ns)
        if domain == self._rs.timestamp_domain.global_time:
            return taken_ns
        return taken_ns - round(0.5 * NS_PER_S / self._spec.rate_hz)

    def _in_mm(self, depth: np.ndarray) -> np.ndarray:
        """Return a copy of raw depth in whole millimetres, as the graph and the store have it; beyond 65.5 m is 0."""
        if abs(self._depth_to_mm - 1.0) < 1e-6:
            return depth.copy()
        scaled = np.rint(depth * self._depth_to_mm)
        return np.where(scaled > np.iinfo(np.uint16).max, 0, scaled).astype(np.uint16)

    def _info(self, device: Any, name: str) -> str:
        field = getattr(self._rs.camera_info, name)
        return str(device.get_info(field)) if device.supports(field) else ""

    def _describe_streams(self) -> str:
        spec = self._spec
        return f"{spec.width}x{spec.height} at {spec.rate_hz:g} Hz{' with depth' if self._spec.has_depth else ''}"


def connected_serials() -> list[str]:
    """Return the serial numbers of the RealSense cameras that are plugged in; none where the SDK is not installed."""
    try:
        import pyrealsense2 as rs
    except ImportError:
        return []
    devices: Any = rs.context().query_devices()  # type: ignore[attr-defined]
    return [str(device.get_info(rs.camera_info.serial_number)) for device in devices]  # type: ignore[attr-defined]
