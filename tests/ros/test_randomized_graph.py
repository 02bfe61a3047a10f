"""Domain randomisation across processes: the cameras draw what the arm's world has drawn."""

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot.ros import topics
from robot.ros.description import GraphOptions, describe
from robot.ros.image_message import from_image
from robot.ros.messages import from_object_state
from robot.specs import load_station
from sim.randomization import ASPECTS, Randomizer
from sim.renderer import SceneRenderer
from sim.task import make_task
from sim.world import SimWorld
from tests.domains import some_domain
from tests.ros.probe import Probe, running_graph

pytestmark = [pytest.mark.ros, pytest.mark.slow]
STATION, TASK, SEEDS = load_station("fr3_sim"), "lift", (3, 4, 3)


class Watcher:
    """The scene's states and the camera's images, by stamp."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.states: deque[tuple[str, int, np.ndarray]] = deque(maxlen=600)
        self.images: deque[tuple[int, np.ndarray]] = deque(maxlen=60)
        probe.client.subscribe(topics.SIM_STATE, self._on_state)
        probe.client.subscribe(topics.COLOR_IMAGE.of("scene"), lambda m: self.images.append(from_image(m)))

    def _on_state(self, message: Any) -> None:
        self.states.append((message.header.frame_id, *from_object_state(message)))

    def seen_in(self, episode: str) -> tuple[np.ndarray, np.ndarray]:
        """Return an image of an episode and the state that it shows."""
        found: list[tuple[np.ndarray, np.ndarray]] = []

        def both() -> bool:
            states = {time_ns: state for domain, time_ns, state in list(self.states) if domain == episode}
            found.extend((image, states[time_ns]) for time_ns, image in list(self.images) if time_ns in states)
            return bool(found)

        self.probe.wait(both, 10.0, f"an image of episode {episode}")
        return found[-1]


def drawn_here(renderer: SceneRenderer, state: np.ndarray) -> np.ndarray:
    camera = STATION.camera("scene")
    return renderer.render(state, camera.name, camera.width, camera.height).copy()


def test_cameras_draw_the_domain_of_the_episode() -> None:
    options = GraphOptions(task=TASK, operator="none", cameras=("scene",), randomize="all")
    specs = [
        replace(spec, parameters={**spec.parameters, "noise": 0.0}) if spec.name == "scene" else spec
        for spec in describe(options)
    ]
    world = SimWorld(STATION, make_task(TASK), randomize=True)
    plain, dressed = (SceneRenderer(STATION, make_task(TASK)) for _ in range(2))
    randomizer = Randomizer(dressed.model, ASPECTS)
    seen = []
    with running_graph(specs, domain_id=some_domain(), ready_s=60.0) as graph:
        probe = Probe(graph)
        watcher = Watcher(probe)
        for seed in SEEDS:
            image, state = watcher.seen_in(probe.start_episode(seed))
            told = probe.episodes[-1].metadata
            assert told["randomize"] == list(ASPECTS) and told["drawn"] == world.draw_of(seed)
            randomizer.apply(world.draw_of(seed), dressed.model)
            expected, nominal = drawn_here(dressed, state), drawn_here(plain, state)
            np.testing.assert_array_equal(image, expected)
            assert np.abs(image.astype(int) - nominal).mean() > 5.0, "it is the plain scene"
            seen.append(image.astype(int))
    assert np.abs(seen[0] - seen[1]).mean() > 5.0, "two episodes look alike"
    assert np.abs(seen[0] - seen[2]).mean() < 1.0, "the same seed looks otherwise"
