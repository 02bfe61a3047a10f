"""Any registered gymnasium id with real-valued observations and actions, Gymnasium-Robotics' ids included.

Where an id tells success (`is_success` or `success` in `info`), success ends the episode with reward 1, as in the other
suites; most such ids never terminate by themselves. Where it tells none, reward and ending are the id's own, and an
episode counts as a success when its return reaches the id's registered `reward_threshold`. `module:Id` imports the
module first, which is gymnasium's own way to reach ids of a package that has not been imported.
"""

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import Error as GymnasiumError

from robot.errors import ConfigError, MissingDependency
from robot.worlds import Expert, Interface
from sim.experts import Knobs
from sim.suites.fetch_experts import ACTION_NAMES, PLANS, FetchExpert

SUCCESS = ("is_success", "success")
DEFAULT_MAX_STEPS = 1000
DEFAULT_RATE_HZ = 20.0
log = logging.getLogger(__name__)


@cache
def _has_robotics() -> bool:
    """Register Gymnasium-Robotics' ids where it is installed."""
    try:
        import gymnasium_robotics
    except ImportError:
        return False
    gymnasium.register_envs(gymnasium_robotics)
    return True


def names() -> list[str]:
    """List the ids that are registered now."""
    _has_robotics()
    return sorted(gymnasium.registry)


def offers(name: str) -> bool:
    """Say whether an id can be tried: it is registered, or `module:Id` says where it comes from."""
    return ":" in name or name in names() or not _has_robotics()


def make_env(
    name: str, *, max_steps: int | None = None, render_mode: str | None = None, **options: Any
) -> "GymnasiumEnv":
    """Build an environment.

    Args:
        name: a registered id, or `module:Id`.
        max_steps: the horizon; the id's own by default, 1000 where it has none.
        render_mode: `rgb_array` or None.
        options: keyword arguments of the id's own constructor.
    """
    try:
        inner: Any = gymnasium.make(
            name, render_mode=render_mode, max_episode_steps=-1, disable_env_checker=True, **options
        )
    except ModuleNotFoundError as error:
        raise MissingDependency(f"gymnasium/{name} needs a package that is not installed: {error}") from error
    except (GymnasiumError, TypeError) as error:
        absent = "" if _has_robotics() else " (for Gymnasium-Robotics: pip install '.[gymnasium-robotics]')"
        raise ConfigError(f"gymnasium/{name} cannot be made: {error}{absent}") from error
    return GymnasiumEnv(name, inner, max_steps=max_steps, render_mode=render_mode)


def make_expert(name: str, **knobs: Any) -> Expert:
    """Build the scripted expert of an id; only the Fetch tasks have one."""
    task = name.partition(":")[2] or name
    kind = task.partition("-")[0].removesuffix("Dense")
    if kind not in PLANS:
        raise ConfigError(
            f"gymnasium/{name} has no scripted expert (only {', '.join(sorted(PLANS))} have): "
            "give demonstrations with --data, a file or the folder of an episode store"
        )
    return FetchExpert(PLANS[kind], Knobs(**knobs))


class GymnasiumEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """One id behind the contract of `robot.worlds`: named float fields, clipped float64 actions, exact seeds.

    A single observation vector is the field `state`; a dictionary keeps its names, nested ones joined by dots; an image
    (uint8, HWC, 3 channels) is `image/<name>`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]

    def __init__(self, name: str, inner: Any, *, max_steps: int | None, render_mode: str | None) -> None:
        self.inner, self.render_mode = inner, render_mode
        registered = gymnasium.spec(name.rpartition(":")[2])
        max_steps = max_steps if max_steps is not None else registered.max_episode_steps or DEFAULT_MAX_STEPS
        if max_steps < 1:
            raise ConfigError(f"max_steps is {max_steps}, allowed: 1 and more")
        self._sources = dict(_sources(name, inner.observation_space))
        self.observation_space: Any = spaces.Dict(
            {field: _field_space(field, space) for field, (_, space) in self._sources.items()}
        )
        box = _action_box(name, inner.action_space)
        self._inner_box = box
        self._low, self._high = box.low.ravel().astype(float), box.high.ravel().astype(float)
        self.action_space = spaces.Box(self._low, self._high, dtype=np.float64)
        shapes = {field: space.shape for field, space in self.observation_space.items()}
        self.interface = Interface(shapes, _action_names(name, self.action_space), _rate_hz(inner), max_steps)
        self._threshold = registered.reward_threshold
        self._success_key = self._find_success(name)
        self._steps, self._return = 0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps, self._return = 0, 0.0
        observation, _ = self.inner.reset(seed=int(self.np_random.integers(2**31)), options=options)
        return self._fields(observation), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        executed = np.clip(np.asarray(action, np.float64), self._low, self._high)
        if not np.isfinite(executed).all():
            raise ConfigError(f"action {action} is not finite")
        asked = executed.reshape(self._inner_box.shape).astype(self._inner_box.dtype)
        observation, reward, terminated, truncated, info = self.inner.step(asked)
        self._steps += 1
        self._return += float(reward)
        if self._success_key:
            success = bool(info.get(self._success_key, False))
            reward, terminated = float(success), bool(terminated) or success
        else:
            success = self._threshold is not None and self._return >= self._threshold
        truncated = not terminated and (bool(truncated) or self._steps >= self.interface.max_steps)
        told = {"success": success, "executed_action": executed}
        return self._fields(observation), float(reward), bool(terminated), truncated, told

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        image: Any = self.inner.render()
        return image

    def close(self) -> None:
        self.inner.close()

    def _fields(self, observation: Any) -> dict[str, np.ndarray]:
        fields = {}
        for field, (path, _) in self._sources.items():
            value = observation
            for key in path:
                value = value[key]
            fields[field] = value if field.startswith("image/") else np.array(value, np.float64).reshape(-1)
        return fields

    def _find_success(self, name: str) -> str:
        """Return the name of success in `info`, found out by one step; empty where there is none."""
        self.inner.reset(seed=0)
        middle = ((self._low + self._high) / 2).reshape(self._inner_box.shape)
        *_, info = self.inner.step(middle.astype(self._inner_box.dtype))
        found = next((key for key in SUCCESS if key in info), "")
        if not found and self._threshold is None:
            log.warning("gymnasium/%s tells no success and has no reward threshold: every episode is a failure", name)
        return found


def _sources(name: str, space: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[tuple[str, ...], Any]]]:
    """Yield each field's name, its path in the observation and its space; ConfigError for what is not real-valued."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.items():
            yield from _sources(name, inner, (*path, key))
    elif isinstance(space, spaces.Box):
        field = ".".join(path) or "state"
        is_image = space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[-1] == 3
        yield f"image/{field}" if is_image else field, (path, space)
    else:
        where = ".".join(path) or "its observation"
        raise ConfigError(f"gymnasium/{name}: {where} is {space}; a Box, or a Dict of them, is needed")


def _field_space(field: str, space: Any) -> spaces.Box:
    if field.startswith("image/"):
        return spaces.Box(0, 255, space.shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, (int(np.prod(space.shape)),), np.float64)


def _action_box(name: str, space: Any) -> Any:
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        raise ConfigError(
            f"gymnasium/{name} acts by {space}; policies here act in real numbers: a bounded Box is needed"
        )
    return space


def _action_names(name: str, box: spaces.Box) -> tuple[str, ...]:
    if name.rpartition(":")[2].startswith("Fetch"):
        return ACTION_NAMES
    return tuple(f"action_{i}" for i in range(box.shape[0]))


def _rate_hz(inner: Any) -> float:
    """Return how often an id is stepped: from its `dt` where it has one, else from how it wants to be drawn."""
    step_s = getattr(inner.unwrapped, "dt", None)
    if isinstance(step_s, float) and step_s > 0:
        return 1.0 / step_s
    return float(inner.metadata.get("render_fps") or DEFAULT_RATE_HZ)
