"""What a node sees of the robot: subscriptions that feed an observation builder, and a loop over what it builds."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from robot.clock import RateKeeper
from robot.errors import StaleObservation
from robot.motion import make_kinematics
from robot.observation import ObservationBuilder
from robot.ros import topics
from robot.ros.episode_state import EpisodeState, episode_state_from
from robot.ros.image_message import from_image
from robot.ros.messages import from_joint_state, from_json, from_object_state
from robot.ros.node import RobotNode
from robot.types import Observation

OBJECT = "object_state"


class Streams:
    """Joints, the object state where the station observes one, the images asked for, and the episode's state."""

    def __init__(
        self, node: RobotNode[Any], *, cameras: Sequence[str] = (), depths: Sequence[str] = (), image_size: int = 0
    ) -> None:
        station = node.station
        self._node = node
        self.builder = ObservationBuilder(
            station, make_kinematics(station), cameras=cameras, depths=depths, image_size=image_size
        )
        self.changed = threading.Event()
        self.complaint = ""  # why there is no observation
        self.episode = EpisodeState()
        node.subscribe(topics.EPISODE_STATE, self._on_episode)
        node.subscribe(topics.JOINT_STATES, self._on_joints)
        if OBJECT in station.observation:
            node.subscribe(topics.OBJECT_STATE, self._on_object)
        for camera in cameras:
            node.subscribe(topics.COLOR_IMAGE.of(camera), lambda message, name=camera: self._on_image(name, message))
        for camera in depths:
            node.subscribe(topics.DEPTH_IMAGE.of(camera), lambda message, name=camera: self._on_depth(name, message))

    def _on_episode(self, message: Any) -> None:
        self.episode = episode_state_from(from_json(message))
        if self.episode.phase == "running":
            self.builder.forget(self.episode.start_ns)
        self.changed.set()

    def _on_joints(self, message: Any) -> None:
        state = from_joint_state(message, self._node.station.joint_names)
        self.builder.add_joints(state.time_ns, state.position, state.velocity)
        self.changed.set()

    def _on_object(self, message: Any) -> None:
        self.builder.add_vector(OBJECT, *from_object_state(message))
        self.changed.set()

    def _on_image(self, camera: str, message: Any) -> None:
        self.builder.add_image(camera, *from_image(message))
        self.changed.set()

    def _on_depth(self, camera: str, message: Any) -> None:
        self.builder.add_depth(camera, *from_image(message))
        self.changed.set()

    def observe(self, now_ns: int) -> Observation | None:
        """Return what is seen now, or None and the reason in `complaint`."""
        try:
            observation = self.builder.build(now_ns)
        except StaleObservation as stale:
            self.complaint = str(stale)
            return None
        self.complaint = ""
        return observation

    def observations(
        self, rate_hz: float, is_due: Callable[[int], bool] = lambda _: True
    ) -> Iterator[Observation | None]:
        """Yield until the node stops: at a rate, None where nothing can be seen.

        In barrier mode instead: once for each tick of a running episode, and not before `is_due(time_ns)`; set
        `changed` when its answer may have become another.
        """
        if self._node.is_barrier:
            yield from self._each_once(is_due)
            return
        keeper = RateKeeper(rate_hz)
        while not self._node.stopping.is_set():
            keeper.wait()
            yield self.observe(self._node.now_ns())

    def _each_once(self, is_due: Callable[[int], bool]) -> Iterator[Observation]:
        last_ns = -1
        while not self._node.stopping.is_set():
            if not self.changed.wait(0.1):
                continue
            self.changed.clear()
            time_ns = self.builder.reference_ns
            if time_ns is None or time_ns <= last_ns or not self.episode.is_running(time_ns) or not is_due(time_ns):
                continue
            last_ns = time_ns
            yield self.builder.build(time_ns)
