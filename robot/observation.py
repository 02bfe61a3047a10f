"""Observations out of streams: one reference time, everything brought to it, nothing repeated in silence.

Reference time is the newest time for which every required stream has a sample (robot_graph spec, section 8). Vector
streams are linearly interpolated there; of each camera the nearest image counts. Nothing here reads a clock, and
samples that fall on the reference time come out as the very numbers that went in.
"""

import threading
import zlib
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from robot.errors import StaleObservation, unknown_name
from robot.motion import Kinematics
from robot.specs import StationSpec
from robot.types import NS_PER_S, Array, Observation, RobotState

JOINTS = "joints"  # the stream of positions and velocities, side by side
OF_JOINTS = ("joint_position", "joint_velocity", "tcp_position")
FUTURE_S = 0.5  # a stamp further ahead than this comes from a broken clock


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How old a stream's newest sample may be (DESIGN section 4), and how long samples are kept."""

    camera_age_s: float = 0.100
    joint_age_s: float = 0.050
    buffer_s: float = 1.0
    camera_buffer_s: float = 0.3  # images are large, and older ones are never near the reference time


class Stream:
    """Samples of one stream in order of time. A stamp that does not rise, or an image's exact repetition, is no news.

    So a source that froze grows old like one that went silent, whatever stamps it gives its last frame.
    """

    def __init__(self, name: str, max_age_s: float, buffer_s: float) -> None:
        self.name = name
        self.max_age_ns = round(max_age_s * NS_PER_S)
        self._buffer_ns = round(buffer_s * NS_PER_S)
        self._times: deque[int] = deque()
        self._samples: deque[np.ndarray] = deque()
        self._hash: int | None = None
        self.refused: Counter[str] = Counter()

    @property
    def newest_ns(self) -> int | None:
        return self._times[-1] if self._times else None

    @property
    def newest(self) -> np.ndarray:
        return self._samples[-1]

    def add(self, time_ns: int, sample: np.ndarray) -> bool:
        """Keep a sample; False, and counted, where it is no news."""
        if self._times and time_ns <= self._times[-1]:
            self.refused["stamp not rising"] += 1
            return False
        if sample.ndim == 3:
            content = zlib.crc32(np.ascontiguousarray(sample).data)
            if content == self._hash:
                self.refused["same image again"] += 1
                return False
            self._hash = content
        self._times.append(time_ns)
        self._samples.append(sample)
        while time_ns - self._times[0] > self._buffer_ns:
            self._times.popleft()
            self._samples.popleft()
        return True

    def forget(self, before_ns: int) -> None:
        """Drop every sample taken before a time: a scene that was reset must not be interpolated across."""
        while self._times and self._times[0] < before_ns:
            self._times.popleft()
            self._samples.popleft()

    def drop_future(self, now_ns: int) -> None:
        while self._times and self._times[-1] - now_ns > FUTURE_S * NS_PER_S:
            self.refused["stamp in the future"] += 1
            self._times.pop()
            self._samples.pop()

    def check_age(self, now_ns: int) -> None:
        if not self._times:
            raise StaleObservation(f"{self.name}: nothing received yet")
        age_ns = now_ns - self._times[-1]
        if age_ns > self.max_age_ns:
            reasons = ", ".join(f"{count}x {reason}" for reason, count in self.refused.items())
            raise StaleObservation(
                f"{self.name}: newest sample is {age_ns / 1e6:.0f} ms old, allowed {self.max_age_ns / 1e6:.0f} ms"
                f"{f' (refused: {reasons})' if reasons else ''}; is its node alive?"
            )

    def interpolated(self, time_ns: int) -> tuple[np.ndarray, int]:
        """Return the value at a time not after the newest sample, and the stamp of the last sample up to it."""
        after = bisect_left(self._times, time_ns)
        if after < len(self._times) and self._times[after] == time_ns:
            return self._samples[after], time_ns
        if after == 0 or self._times[after] - self._times[after - 1] > self.max_age_ns:
            raise StaleObservation(f"{self.name}: no samples around the reference time")
        start_ns, end_ns = self._times[after - 1], self._times[after]
        share = (time_ns - start_ns) / (end_ns - start_ns)
        start, end = self._samples[after - 1], self._samples[after]
        return start + share * (end - start), start_ns

    def at_or_before(self, time_ns: int) -> tuple[np.ndarray, int] | None:
        """Return the newest sample not after a time, and its stamp; None where there is none."""
        for stamp_ns, sample in zip(reversed(self._times), reversed(self._samples), strict=True):
            if stamp_ns <= time_ns:
                return sample, stamp_ns
        return None

    def nearest(self, time_ns: int, max_skew_ns: int) -> tuple[np.ndarray, int]:
        """Return the sample nearest to a time, and its stamp."""
        index = min(range(len(self._times)), key=lambda i: abs(self._times[i] - time_ns))
        skew_ns = abs(self._times[index] - time_ns)
        if skew_ns > max_skew_ns:
            raise StaleObservation(
                f"{self.name}: nearest image is {skew_ns / 1e6:.0f} ms away from the reference time, "
                f"allowed {max_skew_ns / 1e6:.0f} ms (half a frame)"
            )
        return self._samples[index], self._times[index]


class ObservationBuilder:
    """Buffers of every stream a station's observation needs. Samples may be added from another thread than `build`'s.

    `cameras` are those whose colour images are wanted, `depths` those whose depth is. `image_size` > 0 gives square
    images of that size, cut from the middle, as the simulated world gives policies; 0 gives them as they come.
    """

    def __init__(
        self,
        station: StationSpec,
        kinematics: Kinematics,
        *,
        cameras: Sequence[str] = (),
        depths: Sequence[str] = (),
        image_size: int = 0,
        limits: StreamLimits = StreamLimits(),
    ) -> None:
        self._station, self._kinematics, self._image_size = station, kinematics, image_size
        self._n = len(station.joint_names)
        self._lock = threading.Lock()
        vectors = [JOINTS, *(name for name in station.observation if name not in OF_JOINTS)]
        self._vectors = {name: Stream(name, limits.joint_age_s, limits.buffer_s) for name in vectors}
        fields = {f"image/{name}": name for name in cameras} | {f"depth/{name}": name for name in depths}
        self._skews = {key: round(0.5 * NS_PER_S / station.camera(name).rate_hz) for key, name in fields.items()}
        titles = {key: f"camera {name}{' (depth)' if key.startswith('depth') else ''}" for key, name in fields.items()}
        self._cameras = {
            key: Stream(title, limits.camera_age_s, limits.camera_buffer_s) for key, title in titles.items()
        }
        self._streams = [*self._vectors.values(), *self._cameras.values()]

    def add_joints(self, time_ns: int, position: Array, velocity: Array) -> None:
        """Add measured joints in the station's order."""
        with self._lock:
            self._vectors[JOINTS].add(time_ns, np.concatenate([position, velocity]))

    def add_vector(self, name: str, time_ns: int, values: Array) -> None:
        """Add a sample of a field that is not of the joints, such as `object_state`."""
        if name not in self._vectors:
            raise unknown_name("observation field with a stream of its own", name, self._vectors)
        with self._lock:
            self._vectors[name].add(time_ns, values)

    def add_image(self, camera: str, time_ns: int, image: np.ndarray) -> bool:
        """Add an image, uint8 HWC RGB, that nobody changes afterwards; False where it is no news."""
        with self._lock:
            return self._cameras[f"image/{camera}"].add(time_ns, image)

    def add_depth(self, camera: str, time_ns: int, depth: np.ndarray) -> bool:
        """Add a depth image, uint16 HW [mm], that nobody changes afterwards; False where it is no news."""
        with self._lock:
            return self._cameras[f"depth/{camera}"].add(time_ns, depth)

    def forget(self, before_ns: int) -> None:
        """Drop what was seen before a time; call it when a scene was reset."""
        with self._lock:
            for stream in self._streams:
                stream.forget(before_ns)

    @property
    def reference_ns(self) -> int | None:
        """Return the newest time that every stream has reached; None while one is empty."""
        with self._lock:
            newest = [stream.newest_ns for stream in self._streams]
        return None if None in newest else min(time_ns for time_ns in newest if time_ns is not None)

    @property
    def refused(self) -> dict[str, int]:
        """Return how many samples were no news, by stream and reason."""
        with self._lock:
            return {f"{s.name}: {reason}": count for s in self._streams for reason, count in s.refused.items()}

    def build(self, now_ns: int) -> Observation:
        """Return the newest observation; StaleObservation names the stream that does not allow one."""
        with self._lock:
            for stream in self._streams:
                stream.drop_future(now_ns)
                stream.check_age(now_ns)
            time_ns = min(stream.newest_ns or 0 for stream in self._streams)
            vectors = {name: stream.interpolated(time_ns) for name, stream in self._vectors.items()}
            images = {name: stream.nearest(time_ns, self._skews[name]) for name, stream in self._cameras.items()}
            newest, newest_ns = self._vectors[JOINTS].newest, self._vectors[JOINTS].newest_ns or 0
        return self._assemble(time_ns, RobotState(newest_ns, newest[: self._n], newest[self._n :]), vectors, images)

    def _assemble(
        self,
        time_ns: int,
        robot: RobotState,
        vectors: dict[str, tuple[np.ndarray, int]],
        images: dict[str, tuple[np.ndarray, int]],
    ) -> Observation:
        joints, joints_ns = vectors[JOINTS]
        position, velocity = joints[: self._n], joints[self._n :]
        values: dict[str, np.ndarray] = {}
        times: dict[str, int] = {}
        for name in self._station.observation:
            values[name], times[name] = vectors.get(name, (position, joints_ns))
        if "joint_velocity" in values:
            values["joint_velocity"] = velocity
        if "tcp_position" in values:
            values["tcp_position"] = self._kinematics.tcp_position(position)
        for name, (image, image_ns) in images.items():
            values[name] = square(image, self._image_size) if self._image_size else image
            times[name] = image_ns
        return Observation(time_ns, robot, values, times)


def square(image: np.ndarray, size: int) -> np.ndarray:
    """Cut the middle square out of an image (H, W, 3) and shrink it to (size, size, 3).

    Of depth (H, W) single pixels are kept, since the mean of two depths, or of one and 0 for unknown, is none.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = image[top : top + side, left : left + side]
    if side == size:
        return middle
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA if image.ndim == 3 else cv2.INTER_NEAREST)
