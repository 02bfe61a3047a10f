"""Any ROS image topic as a camera of the station, such as that of a vendor's own driver node.

A driver may not know ROS: the camera node subscribes to the topics and hands over what it has decoded. The pictures are
then published under the station's names like any other camera's, at the cost of one more hop, so that policies,
recorder and page need not know where a camera comes from.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardware.camera_drivers import options_of
from hardware.cameras.source import fingerprint
from robot.devices import DeviceLife, DeviceState, Features, Frame, Intrinsics
from robot.errors import ConfigError, DeviceDisconnected
from robot.specs import CameraSpec
from robot.types import NS_PER_S

STALE_PERIODS = 5.0
CONNECT_S = 10.0
POLL_S = 0.01
PAIR_SHARE = 0.5  # colour and depth of one picture lie at most half a period apart


@dataclass(frozen=True)
class RosImageOptions:
    """Options of driver `ros_image`: the `topic` of a sensor_msgs Image, or of a CompressedImage where `compressed`.

    `depth_topic` carries the aligned depth of a camera that has it, as an Image of 16UC1 [mm] or 32FC1 [m]. `fx`, `fy`,
    `cx`, `cy` [pixels] are given together, or not at all.
    """

    topic: str
    compressed: bool = False
    depth_topic: str | None = None
    fx: float | None = None
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.fx, self.fy, self.cx, self.cy)]
        if any(given) and not all(given):
            raise ConfigError("fx, fy, cx and cy of a camera belong together: give all four or none")


class TopicCamera(DeviceLife):
    """A camera that is fed by `add_color` and `add_depth` from the thread that hears the topics."""

    def __init__(self, spec: CameraSpec) -> None:
        super().__init__()
        self.options = options_of(spec, RosImageOptions)
        if spec.has_depth != bool(self.options.depth_topic):
            raise ConfigError(
                f"camera {spec.name}: has_depth and the option depth_topic go together: give both or none"
            )
        streams = ("color", "depth") if spec.has_depth else ("color",)
        self.features = Features("camera", streams, spec.rate_hz, (spec.height, spec.width, 3))
        self._spec = spec
        self._stale_ns = round(STALE_PERIODS / spec.rate_hz * NS_PER_S)
        self._pair_ns = round(PAIR_SHARE / spec.rate_hz * NS_PER_S)
        self._lock = threading.Lock()
        self._color: tuple[int, np.ndarray] | None = None
        self._depth: tuple[int, np.ndarray] | None = None
        self._frame: Frame | None = None
        self._arrived_ns = 0
        self._refused = ""
        self._content: int | None = None
        self._repeated = 0

    @property
    def state(self) -> DeviceState:
        if self._state is DeviceState.DISCONNECTED:
            return self._state
        is_fresh = time.monotonic_ns() - self._arrived_ns <= self._stale_ns
        return DeviceState.CONNECTED if is_fresh else DeviceState.FAULT

    @property
    def intrinsics(self) -> Intrinsics | None:
        given = self.options
        if given.fx is None or given.fy is None or given.cx is None or given.cy is None:
            return None
        return Intrinsics(given.fx, given.fy, given.cx, given.cy)

    def listen(self) -> None:
        """Take pictures from now on, without waiting for the first: who sends them may be started after this."""
        super().connect()

    def connect(self) -> None:
        """Wait for the first picture; somebody else must be listening to the topic by then."""
        self.listen()
        deadline_s = time.monotonic() + CONNECT_S
        while self._frame is None:
            if time.monotonic() > deadline_s:
                self.close()
                raise DeviceDisconnected(self._describe_silence())
            time.sleep(POLL_S)

    def close(self) -> None:
        super().close()
        self._frame = self._color = self._depth = self._content = None

    def read(self) -> Frame:
        self.require()
        frame = self._frame
        if frame is None or self.state is DeviceState.FAULT:
            raise DeviceDisconnected(self._describe_silence())
        return frame

    def health(self) -> Mapping[str, object]:
        return {"topic": self.options.topic, "repeated": self._repeated, "complaint": self._refused}

    def add_color(self, time_ns: int, image: np.ndarray) -> None:
        """Take a picture, uint8 (height, width, 3) RGB or (height, width) grey, stamped on the monotonic clock."""
        if not self._fits(image.shape[:2]):
            return
        content = fingerprint(image)
        if content == self._content:  # sent again, whatever its stamp says
            self._repeated += 1
            return
        self._content = content
        self._add(color=(time_ns, image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)))

    def add_depth(self, time_ns: int, depth: np.ndarray) -> None:
        """Take a depth image: uint16 (height, width) [mm], or float32 [m] with anything not finite where unknown."""
        if depth.dtype == np.float32:
            mm = np.nan_to_num(depth * 1000.0, nan=0.0, posinf=0.0, neginf=0.0)
            depth = np.where((mm < 0) | (mm > np.iinfo(np.uint16).max), 0, np.rint(mm)).astype(np.uint16)
        if self._fits(depth.shape):
            self._add(depth=(time_ns, depth))

    def _fits(self, size: tuple[int, ...]) -> bool:
        if size == (self._spec.height, self._spec.width):
            return True
        self._refused = (
            f"pictures on {self.options.topic} are {size[1]}x{size[0]}, the station asks for "
            f"{self._spec.width}x{self._spec.height}"
        )
        return False

    def _add(self, color: tuple[int, np.ndarray] | None = None, depth: tuple[int, np.ndarray] | None = None) -> None:
        """Make a frame of the newest picture once it is whole; a stamp that does not rise is no news."""
        with self._lock:
            self._color, self._depth = color or self._color, depth or self._depth
            last = self._frame
            if self._color is None or (last is not None and self._color[0] <= last.time_ns):
                return
            has_depth = self._depth and abs(self._depth[0] - self._color[0]) <= self._pair_ns
            if self.options.depth_topic and not has_depth:
                return
            counter = last.counter + 1 if last else 1
            self._frame = Frame(self._color[0], counter, self._color[1], self._depth[1] if self._depth else None)
            self._arrived_ns, self._refused = time.monotonic_ns(), ""

    def _describe_silence(self) -> str:
        return (
            f"camera {self._spec.name}: no new picture on {self.options.topic}"
            f"{f' ({self._refused})' if self._refused else ''}; is its node up, and the name the full one?"
        )


def ros_image(spec: CameraSpec) -> TopicCamera:
    """Return the camera that a topic is."""
    return TopicCamera(spec)
