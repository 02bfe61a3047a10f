"""Takeovers inside a world: for learners that know nothing of people and learn from whatever was executed.

An off-policy learner that stores `info["executed_action"]` and the world's own reward, such as ResFiT's residual,
learns from a person's ticks as from its own. Its base must choose every action anew: what is left of a longer plan
would go on from before the takeover.
"""

from typing import Any

import gymnasium
import numpy as np

from policies.takeovers.shared_control import Watched, make_control
from robot.errors import ConfigError
from robot.types import EndReason, Owner

Seen = dict[str, np.ndarray]


class SharedWorld(gymnasium.Wrapper[Seen, np.ndarray, Seen, np.ndarray]):
    """A watched world as one world: the person's action takes the place of the one that `step` was given.

    Every reset needs a seed: the person's own chance follows from it. An episode that the person ends is truncated.
    """

    def __init__(self, env: Watched) -> None:
        super().__init__(env)
        self._control, self._person = make_control(env), env.person

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Seen, dict[str, Any]]:
        if seed is None:
            raise ConfigError("a shared world was reset without a seed: give one, the person's chance follows from it")
        return dict(self._control.reset(seed)), {"success": False}

    def step(self, action: np.ndarray) -> tuple[Seen, float, bool, bool, dict[str, Any]]:
        seen, record = self._control.step(action)
        is_human = record.owner is Owner.HUMAN
        self._person.driven_ticks += is_human
        info = {
            "success": record.end_reason is EndReason.SUCCESS,
            "executed_action": record.executed_action,
            "is_human": is_human,
        }
        return dict(seen), float(record.reward_task), record.terminated, record.truncated, info
