"""What every camera node has in common, simulated or real: topics, stamps, one message for good, and its diagnosis."""

from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

import numpy as np

from robot.devices import Intrinsics
from robot.ros import topics
from robot.ros.image_message import camera_info, optical_frame, to_image
from robot.ros.messages import to_stamp
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode
from robot.specs import CameraSpec
from robot.types import NS_PER_S

STALE_PERIODS = 5.0


@dataclass(frozen=True)
class CameraParameters(NodeParameters):
    """`camera` is the name of one of the station's cameras."""

    camera: str = "scene"


class CameraPublisher:
    """Publishes the frames of one camera: colour and its camera info, and depth as the colour camera sees it.

    Write the picture into `pixels` (height, width, 3) and, where there is one, `depth` (height, width) [mm], then
    call `publish`. The messages are made once: fresh memory for every frame is slow.
    """

    def __init__(self, node: RobotNode[Any], camera: CameraSpec, *, has_depth: bool = False) -> None:
        self.camera = camera
        frame = optical_frame(node.station.robot, camera.name)
        size = (camera.height, camera.width)
        self._image = to_image(np.zeros((*size, 3), np.uint8), 0, frame)
        self.pixels = np.frombuffer(self._image.data, np.uint8).reshape(*size, 3)
        self._info = camera_info(camera, 0, frame)
        self._frame = frame
        self._images = node.publisher(topics.COLOR_IMAGE.of(camera.name))
        self._infos = node.publisher(topics.COLOR_INFO.of(camera.name))
        self._depth_image = to_image(np.zeros(size, np.uint16), 0, frame) if has_depth else None
        self._depths = node.publisher(topics.DEPTH_IMAGE.of(camera.name)) if has_depth else None
        empty = np.zeros(0, np.uint16)
        raw = np.frombuffer(self._depth_image.data, np.uint16) if self._depth_image else empty
        self.depth = raw.reshape(size) if has_depth else empty
        self.frames, self.expected = 0, 0
        self._newest_at_ns = monotonic_ns()

    def set_intrinsics(self, intrinsics: Intrinsics | None) -> None:
        """Tell the device's own optics from now on; None: the pinhole of the station file."""
        self._info = camera_info(self.camera, 0, self._frame, intrinsics)

    def publish(self, stamp_ns: int) -> None:
        """Send what `pixels` and `depth` hold, taken at a ROS time [ns]."""
        stamp = to_stamp(stamp_ns)
        self._image.header.stamp = self._info.header.stamp = stamp
        if self._depths is not None and self._depth_image is not None:  # before the colour, which completes a frame
            self._depth_image.header.stamp = stamp
            self._depths.publish(self._depth_image)
        self._images.publish(self._image)
        self._infos.publish(self._info)
        self.frames, self._newest_at_ns = self.frames + 1, monotonic_ns()

    def diagnose(self, **values: object) -> Diagnosis:
        """Say how many frames went out and how old the newest is; stale after five periods without one."""
        age_s = (monotonic_ns() - self._newest_at_ns) / NS_PER_S
        told = {"frames": self.frames, "expected_frames": self.expected, "age_s": age_s, **values}
        if age_s > STALE_PERIODS / self.camera.rate_hz:
            return Diagnosis(Level.STALE, "no new frame", told)
        return Diagnosis(values=told)
