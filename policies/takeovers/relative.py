"""HIL-SERL's relative frames for worlds that are commanded by places: what was learned here holds a step aside too.

Places are seen from where the tcp was when the episode began, actions are ways from where the tcp is now. Stations that
are commanded so keep the orientation of the tcp: its axes are the base's but for one constant rotation, which is left
out. Where it turns, the adjoints of `policies.takeovers.frames` apply.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from policies.data.demonstrations import Demonstrations
from policies.data.trajectories import Trajectory
from policies.observations import Shapes, columns_of
from policies.takeovers.shared_control import Seen, SharedControl
from robot.errors import ConfigError
from robot.record import TickRecord
from robot.types import Array

TCP = "tcp_position"


@dataclass(frozen=True)
class RelativeFrames:
    """Which fields hold places in the base's frame (x, y, z [m], one or more of them); the tcp's is one of them."""

    places: tuple[str, ...] = (TCP,)

    def check(self, shapes: Shapes, action_names: tuple[str, ...]) -> None:
        """Raise ConfigError where a world has no such fields, or is not commanded by places."""
        odd = [name for name in self.places if np.prod(shapes.get(name, (1,))) % 3]
        if TCP not in self.places or odd or shapes.get(TCP) != (3,) or not action_names[0].endswith("tcp_x"):
            raise ConfigError(
                f"relative frames need places {self.places}, with {TCP}, of three values each, and actions that begin "
                f"with a place of the tcp; this world shows {dict(shapes)} and is commanded by {action_names}: take "
                "another world, or leave the frames as they are"
            )

    def seen(self, observation: Seen, start: Array) -> dict[str, np.ndarray]:
        """Return an observation with its places as seen from the tcp's at the episode's beginning, shape (3,)."""
        moved = {name: observation[name] - np.tile(start, observation[name].size // 3) for name in self.places}
        return {**observation, **moved}

    def to_base(self, action: Array, tcp: Array) -> Array:
        """Return the command, a place, of an action (..., action): a way from where the tcp is, shape (..., 3)."""
        return np.concatenate([action[..., :3] + tcp, action[..., 3:]], axis=-1)

    def to_tcp(self, command: Array, tcp: Array) -> Array:
        """Return the way that leads from the tcp to a command; `tcp` is that of the tick before it was executed."""
        return np.concatenate([command[..., :3] - tcp, command[..., 3:]], axis=-1)

    def demonstrations(self, demonstrations: Demonstrations) -> Demonstrations:
        """Return demonstrations as they look in these frames."""
        shapes = demonstrations.observation_shapes
        self.check(shapes, demonstrations.action_names)
        tcp, places = columns_of(shapes, (TCP,)), columns_of(shapes, self.places)

        def moved(trajectory: Trajectory) -> Trajectory:
            was, states = trajectory.states[:, tcp], trajectory.states.copy()
            states[:, places] -= np.tile(was[0], len(places) // 3)
            return replace(trajectory, states=states, actions=self.to_tcp(trajectory.actions, was[:-1]))

        return replace(demonstrations, trajectories=[moved(item) for item in demonstrations.trajectories])


class RelativeControl:
    """Wraps a control: its observations, commands and records are in relative frames; the world's are as they were."""

    def __init__(self, control: SharedControl, frames: RelativeFrames) -> None:
        self.control, self.frames = control, frames

    def reset(self, seed: int) -> Seen:
        self._seen = self.control.reset(seed)
        self._start = self._seen[TCP]
        return self.frames.seen(self._seen, self._start)

    def step(self, command: Array) -> tuple[Mapping[str, np.ndarray], TickRecord]:
        before = self._seen[TCP]
        self._seen, record = self.control.step(self.frames.to_base(np.asarray(command), before))
        names = ("policy_action", "human_action", "executed_action")
        moved = {name: self.frames.to_tcp(getattr(record, name), before) for name in names}
        return self.frames.seen(self._seen, self._start), replace(record, **moved)
