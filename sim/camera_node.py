"""A simulated camera: a process that draws from the published simulation state, as a real one sees the real scene.

It runs free at its rate, so its frames fall where they fall between the control ticks. A frame carries the time of
the state it shows; where no newer state has come there is no new frame, never an old one again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic_ns

import cv2
import numpy as np

from robot.clock import RateKeeper
from robot.ros import topics
from robot.ros.image_message import camera_info, optical_frame, to_image
from robot.ros.messages import from_object_state, to_stamp
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node
from robot.types import NS_PER_S
from sim.renderer import SceneRenderer
from sim.task import make_task

NOISE_ROWS = 97  # the noise of a frame begins at one of so many rows of a larger field


@dataclass(frozen=True)
class CameraParameters(NodeParameters):
    """`noise` is the sensor's standard deviation in grey levels. `freeze_after` > 0 injects a fault: from that frame on
    the last image is sent again and again, under rising stamps, as drivers that hang do."""

    task: str = "reach"
    camera: str = "scene"
    noise: float = 2.0
    seed: int = 0
    freeze_after: int = 0


class SensorNoise:
    """Seeded noise, cheap: every frame takes another part of one field drawn at the start."""

    def __init__(self, height: int, width: int, deviation: float, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        field = np.rint(self._rng.normal(0.0, deviation, (height + NOISE_ROWS, width, 3)))
        self._more, self._less = field.clip(0, 255).astype(np.uint8), (-field).clip(0, 255).astype(np.uint8)
        self._height, self._row = height, 0

    def apply(self, image: np.ndarray, out: np.ndarray) -> None:
        """Write the noisy image to `out`; two frames in a row never have the same noise."""
        self._row = (self._row + int(self._rng.integers(1, NOISE_ROWS))) % NOISE_ROWS
        rows = slice(self._row, self._row + self._height)
        cv2.add(image, self._more[rows], dst=out)
        cv2.subtract(out, self._less[rows], dst=out)


class CameraNode(RobotNode[CameraParameters]):
    """Draws in a thread of its own, which also owns the drawing context."""

    def __init__(self) -> None:
        super().__init__("camera", CameraParameters)
        self.camera = self.station.camera(self.parameters.camera)
        self._state: tuple[int, np.ndarray] | None = None
        self._frames, self._expected, self._newest_ns, self._newest_at = 0, 0, 0, monotonic_ns()
        self._images = self.publisher(topics.COLOR_IMAGE.of(self.camera.name))
        self._infos = self.publisher(topics.COLOR_INFO.of(self.camera.name))
        self.subscribe(topics.SIM_STATE, self._on_state)
        self.start_thread("draw", self._draw)

    def _on_state(self, message: object) -> None:
        self._state = from_object_state(message)  # type: ignore[arg-type]

    def _draw(self) -> None:
        camera, renderer = self.camera, SceneRenderer(self.station, make_task(self.parameters.task, self.station.robot))
        noise = SensorNoise(camera.height, camera.width, self.parameters.noise, self.parameters.seed)
        frame = optical_frame(self.station.robot, camera.name)
        message = to_image(np.zeros((camera.height, camera.width, 3), np.uint8), 0, frame)  # one message for good:
        pixels = np.frombuffer(message.data, np.uint8).reshape(camera.height, camera.width, 3)  # fresh memory is slow
        info = camera_info(camera, 0, frame)
        keeper = RateKeeper(camera.rate_hz)
        while not self.stopping.is_set():
            self._expected += 1 + keeper.wait()
            state = self._state
            if state is None or state[0] <= self._newest_ns:
                continue
            if not self._is_frozen:
                noise.apply(renderer.render(state[1], camera.name, camera.width, camera.height), out=pixels)
            message.header.stamp = info.header.stamp = to_stamp(state[0])
            self._images.publish(message)
            self._infos.publish(info)
            self._frames, self._newest_ns, self._newest_at = self._frames + 1, state[0], monotonic_ns()
        renderer.close()

    @property
    def _is_frozen(self) -> bool:
        return 0 < self.parameters.freeze_after <= self._frames

    def diagnose(self) -> Diagnosis:
        age_s = (monotonic_ns() - self._newest_at) / NS_PER_S
        stale = age_s > 5.0 / self.camera.rate_hz
        values = {"frames": self._frames, "expected_frames": self._expected, "age_s": age_s}
        return Diagnosis(Level.STALE, "no new frame", values) if stale else Diagnosis(values=values)


def main(args: Iterable[str] | None = None) -> int:
    return run_node(CameraNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
