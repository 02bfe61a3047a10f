"""RLPD: SAC with prior data (Ball et al. 2023).

What it adds to SAC, as it is run here:
1. Half of every batch is demonstrations, interleaved row by row: each of the `utd_ratio` slices is half and half.
2. LayerNorm in the critics; an ensemble of 10, the target the minimum over a random pair, the actor climbs the mean.
3. `utd_ratio` critic updates per environment step on slices of one draw; actor and temperature once, on the last.
4. Target entropy -d/2; no entropy in the target on sparse rewards (`backup_entropy`).

There is no base in it: it starts from random actions. Where `tandem finetune` has a base, it is what the result is
compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.actor_policy import ActorPolicy
from policies.data.demonstrations import Demonstrations, Env
from policies.learners.sac import SACLearner, SACLearnerConfig
from policies.online import OnlineConfig, demonstrated_source
from policies.recipes.sac import train_actor
from policies.run import Run
from policies.training import LoopState

NEEDS_BASE = False
restore = ActorPolicy.restore


@dataclass(frozen=True)
class RLPDConfig(OnlineConfig, SACLearnerConfig):
    """Settings; the defaults are the released code's for sparse manipulation (Adroit, robomimic)."""

    backup_entropy: bool = False

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        SACLearnerConfig.__post_init__(self)


PRESETS = {
    "default": RLPDConfig(),
    # One processor core, networks for states.
    "cpu": RLPDConfig(
        env_steps=17_000,
        warmup_steps=2_000,
        discount=0.97,
        n_step=3,
        timeout_is_terminal=True,
        utd_ratio=2,
        heads=4,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
        initial_temperature=0.1,
        evaluate_every=1_000,
        checkpoint_every=5_000,
    ),
    "debug": RLPDConfig(
        env_steps=200,
        warmup_steps=60,
        batch_size=16,
        utd_ratio=2,
        heads=3,
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        evaluate_every=100,
        checkpoint_every=100,
        log_every=100,
    ),
}


def finetune(
    env: Env,
    _base: Any,
    demonstrations: Demonstrations,
    config: RLPDConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    source = demonstrated_source(env, demonstrations, config, "rlpd", config.batch_size * config.utd_ratio, seed)
    learner = SACLearner(*source.sizes, config, seed=seed)
    return train_actor("rlpd", source, learner, run, evaluate=evaluate, stop_after=stop_after)
