"""Demonstrations: collect them from a scripted expert in lock-step, save and load them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from policies.data.trajectories import Trajectory
from policies.observations import columns_of, flatten, image_shapes, images_of, vector_shapes
from policies.starts import start_seed
from policies.state_file import read_tree, tree_hash, write_tree
from robot.errors import ConfigError
from robot.policy import PolicySpec
from robot.types import Array
from robot.verb import progress
from robot.worlds import Expert, Interface, make_env, make_expert

Env = gymnasium.Env[dict[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Demonstrations:
    """Successful episodes of one world, and the interface they were given through. `tried` counts the failures too."""

    env_id: str
    observation_shapes: Mapping[str, tuple[int, ...]]
    action_names: tuple[str, ...]
    action_low: Array
    action_high: Array
    rate_hz: float
    trajectories: list[Trajectory]
    tried: int
    joint_names: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.trajectories:
            raise ConfigError(f"{self.env_id}: no demonstrations: collect or record at least one success")

    def select(self, fields: Sequence[str] = (), images: Sequence[str] = ()) -> "Demonstrations":
        """Return the demonstrations as a policy would see them that reads these fields only.

        Args:
            fields: vectors to keep; none named: all.
            images: images to keep, `image/<camera>` or `depth/<camera>`; none named: none.
        """
        vectors, pictures = vector_shapes(self.observation_shapes), image_shapes(self.observation_shapes)
        absent = [name for name in images if name not in pictures]
        if absent:
            raise ConfigError(f"{self.env_id}: the demonstrations have no {absent}, they have {list(pictures)}")
        columns = columns_of(vectors, fields or vectors)
        shapes = {name: vectors[name] for name in fields or vectors} | {name: pictures[name] for name in images}
        kept = [trajectory.select(columns, dict.fromkeys(images)) for trajectory in self.trajectories]
        return replace(self, observation_shapes=shapes, trajectories=kept)

    def half_range_floor(self, share: float) -> Array:
        """Return `share` of the action box's half range, per dimension; for a box of +-1 it is `share` itself."""
        box = self.action_high - self.action_low
        if not np.isfinite(box).all():
            raise ConfigError(
                f"the action box of {self.env_id} must be finite: {self.action_low} to {self.action_high}"
            )
        return share * box / 2

    def spec(self, action_horizon: int, execution_horizon: int, **more: Any) -> PolicySpec:
        """Return the spec of a policy that learns from these and acts through the same interface."""
        return PolicySpec(
            self.observation_shapes,
            self.action_names,
            self.rate_hz,
            action_horizon,
            execution_horizon,
            joint_names=self.joint_names,
            units=self.units,
            **more,
        )

    @property
    def ticks(self) -> int:
        return sum(len(trajectory) for trajectory in self.trajectories)

    @property
    def actions(self) -> np.ndarray:
        return np.concatenate([trajectory.actions for trajectory in self.trajectories])

    @property
    def states(self) -> np.ndarray:
        return np.concatenate([trajectory.states[:-1] for trajectory in self.trajectories])

    @property
    def sha256(self) -> str:
        return tree_hash(self._tree())

    def _tree(self) -> dict[str, Any]:
        names = ("env_id", "action_names", "action_low", "action_high", "rate_hz", "tried", "joint_names")
        tree = {name: getattr(self, name) for name in names} | {"units": dict(self.units)}
        shapes = {name: list(shape) for name, shape in self.observation_shapes.items()}
        return tree | {"observation_shapes": shapes, "trajectories": [_plain(item) for item in self.trajectories]}

    def save(self, path: Path) -> str:
        """Write the file; return its sha256."""
        return write_tree(path, self._tree())

    @classmethod
    def load(cls, path: Path) -> "Demonstrations":
        tree = read_tree(path)
        if "trajectories" not in tree:
            raise ConfigError(f"{path} holds no demonstrations")
        tree["observation_shapes"] = {name: tuple(shape) for name, shape in tree["observation_shapes"].items()}
        tree["action_names"], tree["joint_names"] = tuple(tree["action_names"]), tuple(tree.get("joint_names", ()))
        tree["trajectories"] = [Trajectory(**item) for item in tree["trajectories"]]
        return cls(**tree)


def _plain(trajectory: Trajectory) -> dict[str, Any]:
    """Return what is hashed and written; without images as it was before there were any."""
    return {name: value for name, value in vars(trajectory).items() if name != "images" or value}


def demonstrate(env: Env, expert: Expert, seed: int) -> Trajectory:
    """Run the expert once from one start."""
    shapes = interface_of(env).observation_shapes
    observation, _ = env.reset(seed=seed)
    expert.reset(seed)
    states, images, actions, rewards = [flatten(observation, shapes)], [images_of(observation, shapes)], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = np.asarray(expert.act(observation), np.float64)
        observation, reward, terminated, truncated, info = env.step(action)
        states.append(flatten(observation, shapes))
        images.append(images_of(observation, shapes))
        actions.append(np.array(info["executed_action"], np.float64))
        rewards.append(float(reward))
    return Trajectory(
        np.array(states),
        np.array(actions),
        np.array(rewards),
        bool(terminated),
        bool(truncated),
        seed,
        {name: np.stack([seen[name] for seen in images]) for name in image_shapes(shapes)},
    )


def seeing_env(env_id: str, images: Sequence[str], image_size: int, **options: Any) -> Env:
    """Build a world that shows what the named cameras see; ConfigError where it has none to show."""
    if not images:
        return make_env(env_id, **options)
    try:
        return make_env(env_id, images=tuple(images), image_size=image_size, **options)
    except TypeError as error:
        raise ConfigError(f"{env_id} gives no images ({error}): leave out --images {' '.join(images)}") from error


def interface_of(env: Env) -> Interface:
    """Return the interface a world states on its unwrapped env."""
    interface = getattr(env.unwrapped, "interface", None)
    if not isinstance(interface, Interface):
        raise ConfigError(f"{env.unwrapped} states no `interface` (robot.worlds.Interface): its suite must set it")
    return interface


def collect_from(env: Env, expert: Expert, env_id: str, episodes: int, seed: int) -> Demonstrations:
    """Keep the first `episodes` successes; ConfigError when four in five attempts fail."""
    interface = interface_of(env)
    kept: list[Trajectory] = []
    limit = 5 * episodes + 20
    attempts = progress(range(limit), f"demonstrations in {env_id}", total=limit)
    tried = 0
    for index in attempts:
        trajectory = demonstrate(env, expert, start_seed("demonstration", seed, index))
        kept += [trajectory] * trajectory.is_success
        tried = index + 1
        if len(kept) == episodes:
            break
    if len(kept) < episodes:
        raise ConfigError(f"the expert of {env_id} succeeded in {len(kept)} of {limit} attempts; wanted {episodes}")
    box = env.action_space
    assert isinstance(box, spaces.Box)
    return Demonstrations(
        env_id=env_id,
        observation_shapes={name: tuple(shape) for name, shape in interface.observation_shapes.items()},
        action_names=tuple(interface.action_names),
        action_low=box.low.astype(np.float64),
        action_high=box.high.astype(np.float64),
        rate_hz=interface.rate_hz,
        trajectories=kept,
        tried=tried,
        joint_names=tuple(interface.joint_names),
        units=interface.units,
    )


def collect(
    env_id: str, episodes: int, seed: int, *, images: Sequence[str] = (), image_size: int = 84, **knobs: Any
) -> Demonstrations:
    """Collect successes of the scripted expert of `env_id` in lock-step; `knobs` go to the expert.

    Args:
        env_id: the world.
        episodes: how many successes.
        seed: of the starts and of the expert.
        images: cameras to see through, as `image/<camera>`.
        image_size: side of those images [pixels].
        knobs: how the expert is made worse.
    """
    env = seeing_env(env_id, images, image_size)
    try:
        return collect_from(env, make_expert(env_id, **knobs), env_id, episodes, seed)
    finally:
        env.close()
