"""robosuite's tasks, made to end on success and to begin anywhere; in an environment of their own.

The package needs numpy 1 and an older mink: `pip install -c constraints/robosuite.txt -e '.[robosuite]'`. Its own
environments never terminate on success; here success ends the episode with reward 1. Arms act through the package's
default controller: changes of the hand's pose, +-1 of its range, then the gripper.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from robot.errors import ConfigError
from robot.types import Array
from robot.worlds import Interface
from sim.experts import Knobs

robosuite: Any = import_module("robosuite")  # by its name: type checkers take this file for it
SEEN = ("_joint_pos", "_joint_vel", "_eef_pos", "_eef_quat", "_gripper_qpos")  # of each robot
TWO_ARM = "TwoArm"
ACTION_NAMES = ("hand_x", "hand_y", "hand_z", "hand_turn_x", "hand_turn_y", "hand_turn_z", "gripper")
M_PER_ACTION = 0.05
OPEN, CLOSE = -1.0, 1.0
GRASPED_M = 0.0315  # travel of a finger that has closed on the cube, however it stands
STILL_M = 0.0005  # of a finger's travel in a step: it closes no further
REACHED_M, LOST_M = 0.015, 0.04  # from the hand to the cube's middle: the fingers are around it, it has been dropped


def names() -> list[str]:
    return sorted(robosuite.environments.base.REGISTERED_ENVS)


def make_env(
    name: str,
    *,
    robots: str | tuple[str, ...] | None = None,
    rate_hz: float = 20.0,
    max_steps: int = 500,
    render_mode: str | None = None,
    **options: Any,
) -> "RobosuiteEnv":
    """Build one task.

    Args:
        name: of the task, as robosuite calls it.
        robots: the package's robots; a Panda by default, two for the tasks of two arms.
        rate_hz: control rate.
        max_steps: the horizon.
        render_mode: `rgb_array` or None.
        options: further arguments of the task.
    """
    if max_steps < 1:
        raise ConfigError(f"max_steps is {max_steps}, allowed: 1 and more")
    chosen = robots or (("Panda", "Panda") if name.startswith(TWO_ARM) else "Panda")
    inner: Any = robosuite.make(
        name,
        robots=list(chosen) if isinstance(chosen, tuple) else chosen,
        has_renderer=False,
        has_offscreen_renderer=render_mode is not None,
        use_camera_obs=False,
        use_object_obs=True,
        control_freq=rate_hz,
        ignore_done=True,
        hard_reset=True,  # else the sizes of things would follow from the first episode
        **options,
    )
    return RobosuiteEnv(inner, rate_hz=rate_hz, max_steps=max_steps, render_mode=render_mode)


def make_expert(name: str, **knobs: Any) -> "LiftExpert":
    """Build the scripted expert of a task; only `Lift` with one Panda has one."""
    if name != "Lift":
        raise ConfigError(
            f"robosuite/{name} has no scripted expert (only Lift has): "
            "give demonstrations with --data, a file or the folder of an episode store"
        )
    return LiftExpert(Knobs(**knobs))


class RobosuiteEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Fields are `robot<i>_...` (joints [rad], hand [m], quaternion x y z w, fingers [m]) and `object_state`."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]

    def __init__(self, inner: Any, *, rate_hz: float, max_steps: int, render_mode: str | None) -> None:
        self.inner, self.render_mode = inner, render_mode
        fields = self._fields(inner.reset())
        shapes = {name: value.shape for name, value in fields.items()}
        self.observation_space: Any = spaces.Dict(
            {name: spaces.Box(-np.inf, np.inf, shape, np.float64) for name, shape in shapes.items()}
        )
        self._low, self._high = (np.asarray(bound, np.float64) for bound in inner.action_spec)
        self.action_space = spaces.Box(self._low, self._high, dtype=np.float64)
        size = len(self._low)
        dimensions = ACTION_NAMES if size == len(ACTION_NAMES) else tuple(f"action_{i}" for i in range(size))
        self.interface = Interface(shapes, dimensions, rate_hz, max_steps)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        fresh = np.random.default_rng(int(self.np_random.integers(2**31)))
        self.inner.rng.bit_generator.state = fresh.bit_generator.state  # in place: all share it
        return self._fields(self.inner.reset()), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        executed = np.clip(np.asarray(action, np.float64), self._low, self._high)
        if not np.isfinite(executed).all():
            raise ConfigError(f"action {action} is not finite")
        observation, *_ = self.inner.step(executed)
        self._steps += 1
        success = bool(self.inner._check_success())
        truncated = not success and self._steps >= self.interface.max_steps
        told = {"success": success, "executed_action": executed}
        return self._fields(observation), float(success), success, truncated, told

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        if self.render_mode is None:
            return None
        return np.ascontiguousarray(self.inner.sim.render(width=480, height=360, camera_name="frontview")[::-1])

    def close(self) -> None:
        self.inner.close()

    def _fields(self, observation: Mapping[str, Any]) -> dict[str, np.ndarray]:
        seen = [name for name in observation if name.startswith("robot") and name.endswith(SEEN)]
        fields = {name: np.array(observation[name], np.float64) for name in seen}
        return fields | {"object_state": np.array(observation["object-state"], np.float64)}


class LiftExpert:
    """Above the cube, down, close, up, the hand never turned; noise and bias are in action units (+-1).

    It goes up only once the fingers have come to rest on the cube: they are on their way for some steps, and a hand
    that rises meanwhile slips off.
    """

    def __init__(self, knobs: Knobs) -> None:
        self._knobs, self._bias = knobs, knobs.bias_of(ACTION_NAMES)
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._finger, self._holds = 0.0, False

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        hand, cube = observation["robot0_eef_pos"], observation["object_state"][:3]
        goal, gripper = self._plan(hand, cube, float(np.abs(observation["robot0_gripper_qpos"]).mean()))
        move = np.clip((goal - hand) / M_PER_ACTION, -1.0, 1.0) / self._knobs.slowness
        action = np.array([*move, 0.0, 0.0, 0.0, gripper]) + self._bias
        action[:3] += self._knobs.noise * self._rng.standard_normal(3)
        return np.clip(action, -1.0, 1.0)

    def _plan(self, hand: Array, cube: Array, finger: float) -> tuple[Array, float]:
        offset = cube - hand
        distance = np.linalg.norm(offset)
        has_closed = finger < GRASPED_M and abs(finger - self._finger) < STILL_M
        self._finger = finger
        self._holds = distance < LOST_M if self._holds else distance < REACHED_M and has_closed
        if self._holds:
            return hand + np.array([0.0, 0.0, 0.05]), CLOSE
        if distance < REACHED_M:
            return cube, CLOSE
        if np.linalg.norm(offset[:2]) < 0.012:
            return cube, OPEN
        return np.array([*cube[:2], max(cube[2] + 0.08, min(hand[2], cube[2] + 0.1))]), OPEN
