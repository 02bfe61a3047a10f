"""HG-DAgger and its kin: clone what a person does when they take over (Kelly et al. 2019).

The method box, per round:
1. Roll the policy out; the person takes over when they see fit and hands back.
2. Add the person's ticks to the data (blends between owners left out, no chunk across a change of owner).
3. Train on all data, each tick drawn in proportion to its weight.

`weighting` tells the kin apart: `hg_dagger` (demonstrations and a person's ticks alike), `iwr` (interventions get half
of every batch, Mandlekar et al. 2020), `sirius` (four kinds, what led to a takeover counts next to nothing, Liu et al.
2023). With `relabels` nobody takes over and the person labels every visited state afterwards (DAgger, Ross et al. 2011,
without the mixture). The recipes `iwr`, `sirius` and `dagger` are these settings by name. Trains the base itself.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from policies.data.demonstrations import Demonstrations, Env
from policies.learners.supervised import SupervisedLearner
from policies.recipe_training import train_recipe
from policies.run import Run
from policies.steerable import SteerablePolicy
from policies.takeovers.rounds import Method, RolledOut, RoundsConfig, RoundsSource
from policies.takeovers.weights import WEIGHTINGS, Kind, kinds_of
from policies.training import LoopState
from robot.errors import unknown_name

NEEDS_PERSON = True
RETRAINS_BASE = True


@dataclass(frozen=True)
class HGDAggerConfig(RoundsConfig):
    """Settings."""

    weighting: str = "hg_dagger"  # or iwr, sirius
    relabels: bool = False

    def __post_init__(self) -> None:
        RoundsConfig.__post_init__(self)
        if self.weighting not in WEIGHTINGS:
            raise unknown_name("weighting", self.weighting, WEIGHTINGS)


PRESETS = {
    "default": HGDAggerConfig(),
    "cpu": HGDAggerConfig(env_steps=10_000, round_steps=500, round_updates=300),
    "debug": HGDAggerConfig(
        env_steps=200,
        round_steps=60,
        round_updates=5,
        batch_size=16,
        evaluate_every=100,
        checkpoint_every=100,
        log_every=100,
    ),
}


def presets(**changes: Any) -> dict[str, HGDAggerConfig]:
    """Return the presets with some settings changed: what the recipes of the kin are."""
    return {name: replace(preset, **changes) for name, preset in PRESETS.items()}


def sort(episode: RolledOut) -> np.ndarray:
    """Return the kind of each tick; where the person labelled it afterwards, it is theirs."""
    if episode.advice:
        return np.full(len(episode.records), Kind.INTERVENTION)
    return kinds_of(episode.ticks)


def finetune(
    env: Env,
    base: SteerablePolicy,
    demonstrations: Demonstrations,
    config: HGDAggerConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    policy = trainable(base, config)
    method = Method(sort, WEIGHTINGS[config.weighting], relabels=config.relabels)
    source = RoundsSource(env, policy, demonstrations, config, method, seed=seed)
    learner = SupervisedLearner(policy, seed)
    return train_recipe("hg_dagger", source, learner, policy, run, evaluate=evaluate, stop_after=stop_after)


def trainable(base: SteerablePolicy, config: RoundsConfig) -> SteerablePolicy:
    """Return a copy of the base, its optimiser's settings those of the rounds."""
    policy = deepcopy(base)
    policy.config = replace(policy.config, learning_rate=config.learning_rate, warmup_steps=0, cosine=False)
    return policy
