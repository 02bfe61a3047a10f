"""Meta-World v3: fifty table-top tasks, made to end on success and to begin anywhere.

The package's own environments never terminate, report success only in `info` and repeat one goal; here success ends the
episode with reward 1, and object and goal are drawn anew at every reset from the seed, exactly.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from metaworld.policies import ENV_POLICY_MAP

from robot.errors import ConfigError
from robot.worlds import Interface
from sim.experts import DROP_STEPS, Knobs

ACTION_NAMES = ("hand_x", "hand_y", "hand_z", "gripper")
STATE_SIZE = 39
SUFFIX = "-goal-observable"
CARRY_STEPS = 5  # a grasp is dropped so long after the hand began to close


def names() -> list[str]:
    return sorted(name.removesuffix(SUFFIX) for name in ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE)


def make_env(name: str, *, max_steps: int = 200, render_mode: str | None = None) -> "MetaWorldEnv":
    """Build one task; `max_steps` is the horizon, at most 500."""
    return MetaWorldEnv(name, max_steps=max_steps, render_mode=render_mode)


def make_expert(name: str, **knobs: Any) -> "MetaWorldExpert":
    """Build the package's scripted policy of a task, with our knobs; noise and bias are in action units (+-1)."""
    return MetaWorldExpert(name, Knobs(**knobs))


class MetaWorldEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """`state` has hand, gripper and objects now and one step before, then the goal; actions move the hand, +-1."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 80}  # type: ignore[misc]

    def __init__(self, name: str, *, max_steps: int, render_mode: str | None) -> None:
        self.sawyer: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[name + SUFFIX](
            render_mode=render_mode  # type: ignore[arg-type]
        )
        if not 1 <= max_steps <= self.sawyer.max_path_length:
            raise ConfigError(f"max_steps is {max_steps}, allowed: 1 to {self.sawyer.max_path_length}")
        self.sawyer._freeze_rand_vec = False
        self.sawyer.seeded_rand_vec = True
        _draw_plainly(self.sawyer)
        self.render_mode = render_mode
        self.observation_space: Any = spaces.Dict({"state": spaces.Box(-np.inf, np.inf, (STATE_SIZE,), np.float64)})
        self.action_space = spaces.Box(-1.0, 1.0, (len(ACTION_NAMES),), np.float64)
        rate_hz = 1.0 / float(self.sawyer.dt)
        self.interface = Interface({"state": (STATE_SIZE,)}, ACTION_NAMES, rate_hz, max_steps)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        self.sawyer.seed(int(self.np_random.integers(2**31)))
        mujoco.mj_resetData(self.sawyer.model, self.sawyer.data)  # leave nothing of the last episode to start from
        state, _ = self.sawyer.reset()
        return {"state": state}, {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        executed = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        if not np.isfinite(executed).all():
            raise ConfigError(f"action {action} is not finite")
        state, _, _, _, info = self.sawyer.step(executed)
        self._steps += 1
        success = bool(info["success"])
        truncated = not success and self._steps >= self.interface.max_steps
        return {"state": state}, float(success), success, truncated, {"success": success, "executed_action": executed}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        image: Any = self.sawyer.render()
        return image

    def close(self) -> None:
        self.sawyer.close()


class MetaWorldExpert:
    """The package's scripted policy: the next action from the observation alone."""

    def __init__(self, name: str, knobs: Knobs) -> None:
        self._policy = ENV_POLICY_MAP[name]()
        self._knobs = knobs
        self._bias = knobs.bias_of(ACTION_NAMES)
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._drop_left = DROP_STEPS if self._rng.random() < self._knobs.drop_probability else 0
        self._closed_steps = 0

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        action = np.clip(np.asarray(self._policy.get_action(observation["state"]), float), -1.0, 1.0)
        action[:3] /= self._knobs.slowness
        self._closed_steps = self._closed_steps + 1 if action[3] > 0 else 0
        if self._drop_left and (self._closed_steps > CARRY_STEPS or self._drop_left < DROP_STEPS):
            action[3] = -1.0
            self._drop_left -= 1
        action += self._bias
        action[:3] += self._knobs.noise * self._rng.standard_normal(3)
        return np.clip(action, -1.0, 1.0)


def _draw_plainly(sawyer: Any) -> None:
    """Shadows, reflections and multisampling off: software rendering is several times faster."""
    sawyer.model.vis.quality.offsamples = 0
    sawyer.model.vis.quality.shadowsize = 0
    sawyer.model.light_castshadow[:] = 0
    sawyer.model.mat_reflectance[:] = 0
