"""One real camera as a process: its driver, by the name in the station file, behind the topics of every camera.

Frames go out when they are there and the node is active; a stream that stands still is reported and published by
nobody. Where the driver is a topic of somebody else's node, it is heard here and published under the station's names.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hardware.camera_drivers import make_camera
from hardware.cameras.ros_image import TopicCamera
from robot.devices import Camera
from robot.errors import DeviceDisconnected
from robot.ros.camera_publisher import CameraParameters, CameraPublisher
from robot.ros.image_message import from_compressed, from_image
from robot.ros.managed import ManagedNode
from robot.ros.node import Diagnosis, Level, run_node
from robot.ros.topics import IMAGE, NEWEST, Qos, Topic

COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
DUE_SHARE = 0.7  # of a period: until then no new frame is looked for
POLL_S = 0.002
SILENT_POLL_S = 0.02


class CameraNode(ManagedNode[CameraParameters]):
    """Publishes from a thread of its own. It is counted among the vital nodes once its first frame has gone out."""

    def __init__(self) -> None:
        super().__init__("camera", CameraParameters)
        self.camera = self.station.camera(self.parameters.camera)
        self._device: Camera = make_camera(self.camera)
        self._publisher = CameraPublisher(self, self.camera, has_depth="depth" in self._device.features.names)
        self._complaint = ""
        if isinstance(self._device, TopicCamera):
            self._hear(self._device)

    def configure(self) -> None:
        """Open the camera and see its first picture; of a topic, whose node is somebody else's, that may come later."""
        self._complaint = "no frame yet"
        self.run_apart(self._device.listen if isinstance(self._device, TopicCamera) else self._device.connect)
        self._publisher.set_intrinsics(self._device.intrinsics)

    def activate(self) -> None:
        self.start_loop("publish", self._publish)

    def deactivate(self) -> None:
        self.end_loop()

    def cleanup(self) -> None:
        self.end_loop()
        self._device.close()

    def _hear(self, device: TopicCamera) -> None:
        """Subscribe to the topics that the device is; best effort fits every publisher."""
        options = device.options
        kind, read = (COMPRESSED_IMAGE, from_compressed) if options.compressed else (IMAGE, from_image)
        self._feed(options.topic, kind, read, device.add_color)
        if options.depth_topic:
            self._feed(options.depth_topic, IMAGE, from_image, device.add_depth)

    def _feed(
        self,
        topic: str,
        kind: str,
        read: Callable[[Any], tuple[int, np.ndarray]],
        add: Callable[[int, np.ndarray], None],
    ) -> None:
        def heard(message: Any) -> None:
            stamp_ns, image = read(message)
            add(stamp_ns - self._ros_minus_monotonic_ns(), image)

        self.subscribe(Topic(topic, kind, Qos(), NEWEST), heard)

    def _publish(self) -> None:
        device, period_s = self._device, 1.0 / self.camera.rate_hz
        begun_s, counter = time.monotonic(), 0
        before = self._publisher.expected
        while self.is_running:
            self._publisher.expected = before + round((time.monotonic() - begun_s) * self.camera.rate_hz)
            try:
                frame = device.read()
            except DeviceDisconnected as error:
                self._complain(str(error))
                self.stopping.wait(SILENT_POLL_S)
                continue
            if frame.counter == counter:
                self.stopping.wait(POLL_S)
                continue
            np.copyto(self._publisher.pixels, frame.image)
            if frame.depth is not None:
                np.copyto(self._publisher.depth, frame.depth)
            self._publisher.publish(frame.time_ns + self._ros_minus_monotonic_ns())
            self.announce()
            counter, self._complaint = frame.counter, ""
            self.stopping.wait(DUE_SHARE * period_s)

    def _complain(self, complaint: str) -> None:
        self._complaint = complaint
        self.get_logger().error(complaint, throttle_duration_sec=5.0)

    def _ros_minus_monotonic_ns(self) -> int:
        return self.now_ns() - time.monotonic_ns()

    def diagnose_device(self) -> Diagnosis:
        values = {"driver": self.camera.driver, "state": self._device.state.value, **self._device.health()}
        if self._complaint:
            told = self._publisher.diagnose(**values)
            return Diagnosis(Level.STALE if self._publisher.frames else Level.ERROR, self._complaint, told.values)
        return self._publisher.diagnose(**values)


def main(args: Iterable[str] | None = None) -> int:
    return run_node(CameraNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
