"""IBRL: imitation-bootstrapped reinforcement learning (Hu et al. 2023).

The paper's method box, as it is run here:
1. Base: a frozen clone of the demonstrations. The first `warmup_steps` are its own and fill the replay, beside the
   demonstrations.
2. Per environment step: act with the more valued of the base's action and of the actor's, which has noise; store.
3. Critics: `utd_ratio` slices, half demonstrations; the same argmax answers at the next state, the actor averaged.
4. Actor: one step up the minimum of a random pair of critics, with noise and dropout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.choosing_policy import restore, sizes_of, steerable
from policies.choosing_training import train_choosing
from policies.data.demonstrations import Demonstrations, Env
from policies.decisions import refuse_images
from policies.learners.ibrl import IBRLLearner, IBRLLearnerConfig
from policies.online import OnlineConfig, OnlineSource
from policies.run import Run
from policies.training import LoopState
from robot.policy import Policy

__all__ = ["PRESETS", "IBRLConfig", "finetune", "restore"]


@dataclass(frozen=True)
class IBRLConfig(OnlineConfig, IBRLLearnerConfig):
    """Settings; the defaults are the released code's for robomimic states."""

    n_step: int = 3
    replay_capacity: int = 200_000

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        IBRLLearnerConfig.__post_init__(self)


PRESETS = {
    "default": IBRLConfig(),
    # One processor core, networks for states.
    "cpu": IBRLConfig(
        env_steps=12_000,
        warmup_steps=2_000,
        discount=0.97,
        timeout_is_terminal=True,
        utd_ratio=2,
        heads=4,
        actor_hidden=(128, 128),
        actor_dropout=0.1,
        critic_hidden=(128, 128),
        critic_learning_rate=3e-4,
        actor_learning_rate=3e-4,
        evaluate_every=1_000,
        checkpoint_every=3_000,
    ),
    "debug": IBRLConfig(
        env_steps=160,
        warmup_steps=60,
        batch_size=16,
        utd_ratio=2,
        heads=3,
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        replay_capacity=500,
        evaluate_every=80,
        checkpoint_every=80,
        log_every=80,
    ),
}


def finetune(
    env: Env,
    base: Policy,
    demonstrations: Demonstrations,
    config: IBRLConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    steps = config.decision_steps
    own = steerable(base, "ibrl", steps)
    refuse_images(own.spec.observation_shapes, "ibrl")
    source = OnlineSource(
        env,
        own.spec.observation_shapes,
        own.states,
        own.actions,
        config=config,
        rows=config.batch_size * config.utd_ratio,
        seed=seed,
        demonstrations=demonstrations,
    )
    learner = IBRLLearner(own, sizes_of(own, steps), steps, config, rows=source.rows_kept, seed=seed)
    return train_choosing("ibrl", source, learner, run, evaluate=evaluate, stop_after=stop_after)
