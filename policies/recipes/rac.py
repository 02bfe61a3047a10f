"""RaC: recover and correct (Hu et al. 2025): what the data of takeovers is made of, architecture and loss unchanged.

The method box, per round:
1. Roll the policy out. When failure is near the person takes over: first they drive back to where the policy knows its
   way (recovery), then they finish the sub-task (correction). R1: never one without the other.
2. R2: with the correction the episode ends, so nothing is learned from where a mixture of policy and person got to.
3. Keep the person's ticks, and the policy's only of episodes that succeeded without help.
4. Train on all of it. A round whose progress fell is trained from the weights of the best round so far: success stays
   low for rounds while progress, how far along the demonstrations a roll-out gets, already rises.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policies.data.demonstrations import Demonstrations, Env
from policies.learners.supervised import SupervisedLearner
from policies.recipe_training import train_recipe
from policies.recipes.hg_dagger import trainable
from policies.run import Run
from policies.steerable import SteerablePolicy
from policies.takeovers.labels import goes_to_imitation, is_clean_success
from policies.takeovers.rounds import Method, RolledOut, RoundsConfig, RoundsSource
from policies.takeovers.shared_control import AT_WILL, RECOVER_FIRST
from policies.takeovers.splitting import DemonstratedTime
from policies.takeovers.weights import Kind, hg_dagger
from policies.training import LoopState

NEEDS_PERSON = True
PERSON = "recovering"  # who follows the two rules
RETRAINS_BASE = True


@dataclass(frozen=True)
class RaCConfig(RoundsConfig):
    """Settings."""

    terminates: bool = True  # R2: no hand-back
    filters: bool = True  # autonomous ticks only of clean successes; else none
    progress_margin: float = 0.1  # a round's progress may lie so far below the best one's


PRESETS = {
    "default": RaCConfig(),
    "cpu": RaCConfig(env_steps=10_000, round_steps=500, round_updates=300),
    "debug": RaCConfig(
        env_steps=200,
        round_steps=60,
        round_updates=5,
        batch_size=16,
        evaluate_every=100,
        checkpoint_every=100,
        log_every=100,
    ),
}


def sort(episode: RolledOut, *, filters: bool = True) -> np.ndarray:
    """Return the kind of each tick: a person's, or, of a clean success, as good as demonstrated."""
    succeeded = episode.succeeded and filters
    kept = goes_to_imitation(episode.ticks, succeeded=succeeded)
    kind = Kind.DEMONSTRATION if is_clean_success(episode.ticks, succeeded=succeeded) else Kind.INTERVENTION
    return np.where(kept, kind, Kind.NOTHING)


class GatedLearner(SupervisedLearner):
    """Supervised learning whose rounds start from the best weights so far where progress fell."""

    def __init__(self, policy: SteerablePolicy, seed: int, time: DemonstratedTime, margin: float) -> None:
        super().__init__(policy, seed)
        self._time, self._margin = time, margin
        self.best = -np.inf
        self._best_weights = deepcopy(self.live.state_dict())

    def progress(self, episode: RolledOut) -> float:
        """Return how far along the demonstrations the policy got by itself; 1 for a success."""
        if is_clean_success(episode.ticks, succeeded=episode.succeeded):
            return 1.0
        helped = np.flatnonzero(episode.ticks.is_human)
        alone = episode.states[: helped[0] + 1 if len(helped) else None]
        return float(self._time.of(alone).max())

    def gate(self, scores: list[float]) -> None:
        """Judge the weights that made a round by its mean progress, before it is learned from."""
        if not scores:
            return
        progress = float(np.mean(scores))
        if progress < self.best - self._margin:
            self.live.load_state_dict(deepcopy(self._best_weights))
        elif progress >= self.best:
            self.best, self._best_weights = progress, deepcopy(self.live.state_dict())

    def state(self) -> dict[str, Any]:
        return super().state() | {"best": self.best, "best_weights": self._best_weights}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.best, self._best_weights = state["best"], deepcopy(state["best_weights"])


def finetune(
    env: Env,
    base: SteerablePolicy,
    demonstrations: Demonstrations,
    config: RaCConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    policy = trainable(base, config)
    rules = RECOVER_FIRST if config.terminates else AT_WILL
    method = Method(lambda episode: sort(episode, filters=config.filters), hg_dagger, rules)
    source = RoundsSource(env, policy, demonstrations, config, method, seed=seed)
    time = DemonstratedTime(demonstrations.trajectories, policy.states)
    learner = GatedLearner(policy, seed, time, config.progress_margin)
    source.score, source.on_round = learner.progress, learner.gate
    return train_recipe("rac", source, learner, policy, run, evaluate=evaluate, stop_after=stop_after)
