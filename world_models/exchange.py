"""Where imagined and true success part: a policy in both worlds, and each world given the actions of the other.

A model may follow recorded actions and still be wrong about a policy, which looks at what is imagined and answers it.
Four outcomes from one start tell which it is:

true         the policy in the true world
replayed     what it did there, imagined: where this is wrong, the model does not follow actions
imagined     the policy in imagination: where this alone is wrong, the policy chases what is not there
played back  what it did in imagination, done truly: where this is right, imagination showed another way that is good
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch

from policies.evaluation import build_world, roll_out
from robot.policy import Policy
from robot.types import Array
from robot.worlds import make_env
from world_models.contract import WorldModel
from world_models.imagined_env import ImaginationConfig
from world_models.imagined_task import imagine_world, starts_of_world
from world_models.rollout import imagine_on
from world_models.start_records import StartRecord, history_of
from world_models.trust import Trust

Env = gymnasium.Env[dict[str, np.ndarray], np.ndarray]
GRACE_FRAMES = 2  # that the true world is given after the last action: what rises in imagination lags in truth


@dataclass(frozen=True)
class Exchange:
    """Outcomes of one policy, a row per start, (N,) bool."""

    true: np.ndarray
    replayed: np.ndarray
    imagined: np.ndarray
    played_back: np.ndarray

    def shares(self) -> dict[str, float]:
        """Return the share of starts that each way solves."""
        return {name: float(np.mean(outcomes)) for name, outcomes in vars(self).items()}


class _Noted(gymnasium.Wrapper[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray], np.ndarray]):
    """A world that keeps the executed actions of the present episode."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.interface: Any = env.interface  # type: ignore[attr-defined]
        self.executed: list[Array] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.executed = []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> Any:
        found = self.env.step(action)
        self.executed.append(np.array(found[-1]["executed_action"], np.float64))
        return found


def exchange(model: WorldModel, trust: Trust, policy: Policy, env_id: str, starts: Sequence[int]) -> Exchange:
    """Roll a policy out in both worlds from the same starts, and let each world answer the other's actions.

    Args:
        model: who imagines.
        trust: calibration and threshold of its success; no episode is cut for its disagreement.
        policy: what both worlds can serve.
        env_id: the true world.
        starts: reset seeds.
    """
    resets = starts_of_world(env_id, model.spec)
    seen, blind = _Noted(build_world(env_id, policy.spec)), make_env(env_id)
    frames = seen.interface.max_steps // model.spec.ticks_per_frame
    inside = _Noted(imagine_world(model, resets, ImaginationConfig(max_frames=frames, is_gated=False), trust))
    patience, rows = GRACE_FRAMES * model.spec.ticks_per_frame, list[tuple[bool, ...]]()
    try:
        for start in starts:
            true = roll_out(seen, policy, start).is_success
            replayed = replay(model, trust, resets.draw(start, "start"), np.array(seen.executed), start)
            imagined = roll_out(inside, policy, start).is_success
            played_back = play_back(blind, np.array(inside.executed), start, patience)
            rows.append((true, replayed, imagined, played_back))
    finally:
        seen.close()
        blind.close()
    return Exchange(*(np.array(column, bool) for column in zip(*rows, strict=True)))


def replay(model: WorldModel, trust: Trust, record: StartRecord, executed: Array, seed: int) -> bool:
    """Return whether executed actions (ticks, A) solve the task in imagination; a frame begun is a whole one."""
    ticks = model.spec.ticks_per_frame
    ends = np.minimum(np.arange(ticks - 1, len(executed) + ticks - 1, ticks), len(executed) - 1)
    commands = torch.as_tensor(executed[ends], dtype=torch.float32)[None]
    made = imagine_on(model, history_of(model, [record]), commands, [seed], [0], with_uncertainty=False)
    return bool(trust.outcome(made.success.cpu().numpy())[0])


def play_back(env: Env, executed: Array, seed: int, patience: int) -> bool:
    """Return whether actions (ticks, A) solve the task in a world, the last one held for `patience` more ticks."""
    env.reset(seed=seed)
    for action in (*executed, *[executed[-1]] * patience):
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return bool(info["success"])
    return False
