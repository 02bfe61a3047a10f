"""A simulated camera: a process that draws from the published simulation state, as a real one sees the real scene.

It runs free at its rate, so its frames fall where they fall between the control ticks. A frame carries the time of
the state it shows; where no newer state has come there is no new frame, never an old one again. A state names the
domain it belongs to (`sim.randomization`), which comes on a topic of its own: before that it gives no frame either.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from robot.clock import RateKeeper
from robot.errors import ConfigError, DeviceNotFound
from robot.ros import topics
from robot.ros.camera_publisher import CameraParameters, CameraPublisher
from robot.ros.managed import ManagedNode
from robot.ros.messages import from_json, from_object_state
from robot.ros.node import Diagnosis, run_node
from robot.types import Array
from sim.randomization import Randomizer
from sim.renderer import SceneRenderer
from sim.task import make_task

NOISE_ROWS = 97  # the noise of a frame begins at one of so many rows of a larger field


@dataclass(frozen=True)
class SimCameraParameters(CameraParameters):
    """`noise` is the sensor's standard deviation in grey levels. `freeze_after` > 0 injects a fault: from that frame on
    the last image is sent again and again, under rising stamps, as drivers that hang do."""

    task: str = "reach"
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


class SeenState(NamedTuple):
    """A state of the scene: its time, what a renderer places, and the id of the domain it was made in."""

    time_ns: int
    values: Array
    domain: str


class SceneDomain:
    """Keeps a renderer's scene in the domain that states belong to."""

    def __init__(self, renderer: SceneRenderer) -> None:
        self._model, self._randomizer, self._present = renderer.model, None, ""

    def enter(self, wanted: str, told: Mapping[str, Any]) -> bool:
        """Bring the scene into a domain; False while what was told is not of this one."""
        if wanted == self._present:
            return True
        if told.get("id") != wanted:
            return False
        if told.get("drawn"):
            self._randomizer = self._randomizer or Randomizer(self._model, told["randomize"])
            self._randomizer.apply(told["drawn"], self._model)
        self._present = wanted
        return True


class CameraNode(ManagedNode[SimCameraParameters]):
    """Draws in a thread of its own, which also owns the drawing context; it is open once that context is there."""

    def __init__(self) -> None:
        super().__init__("camera", SimCameraParameters)
        self.camera = self.station.camera(self.parameters.camera)
        if self.camera.options or self.camera.has_depth:
            raise ConfigError(f"camera {self.camera.name} is simulated: it has neither options nor depth")
        self._state: SeenState | None = None
        self._domain: Mapping[str, Any] = {}
        self._publisher = CameraPublisher(self, self.camera)
        self.subscribe(topics.SIM_DOMAIN, self._on_domain)
        self._has_context = threading.Event()
        self.subscribe(topics.SIM_STATE, self._on_state)

    def configure(self) -> None:
        self._has_context.clear()
        self.start_loop("draw", self._draw)
        self.run_apart(self._await_context)

    def _await_context(self) -> None:
        while not self._has_context.wait(0.05):
            if not self.is_running:
                raise DeviceNotFound(f"camera {self.camera.name}: nothing to draw with: {self.failure}")

    def activate(self) -> None:
        self.announce()

    def cleanup(self) -> None:
        self.end_loop()

    def _on_domain(self, message: Any) -> None:
        self._domain = from_json(message)

    def _on_state(self, message: Any) -> None:
        self._state = SeenState(*from_object_state(message), message.header.frame_id)

    def _draw(self) -> None:
        camera, renderer = self.camera, SceneRenderer(self.station, make_task(self.parameters.task, self.station.robot))
        domain = SceneDomain(renderer)
        noise = SensorNoise(camera.height, camera.width, self.parameters.noise, self.parameters.seed)
        publisher, newest_ns = self._publisher, 0
        keeper = RateKeeper(camera.rate_hz)
        self._has_context.set()
        while self.is_running:
            due = 1 + keeper.wait()
            if not self.is_active:
                continue
            publisher.expected += due
            state = self._state
            if state is None or state.time_ns <= newest_ns or not domain.enter(state.domain, self._domain):
                continue
            if not self._is_frozen:
                image = renderer.render(state.values, camera.name, camera.width, camera.height)
                noise.apply(image, out=publisher.pixels)
            newest_ns = state.time_ns
            publisher.publish(newest_ns)
        renderer.close()

    @property
    def _is_frozen(self) -> bool:
        return 0 < self.parameters.freeze_after <= self._publisher.frames

    def diagnose_device(self) -> Diagnosis:
        return self._publisher.diagnose()


def main(args: Iterable[str] | None = None) -> int:
    return run_node(CameraNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
