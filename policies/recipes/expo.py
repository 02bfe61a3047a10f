"""EXPO: stable reinforcement learning with expressive policies (Dong et al. 2025).

The paper's method box, as it is run here, per environment step:
1. Act: N samples of the averaged base and an edit of each; the one that a random pair of target critics values most.
   The first `warmup_steps` follow single samples of the base; `warmup_updates` later the choice takes over.
2. Critics: `utd_ratio` slices, half demonstrations; the live base and the edit answer at s', one pair of heads chooses,
   another one values.
3. Base: one imitation step on stored chunks, demonstrations and online episodes alike, failures included.
4. Edit: one step up the mean of all critics at stored actions; temperature towards -d/2 in units of the scaled edit.

A decision is one action, or as many points of the base's chunk as `decision_steps` says (Q on the whole chunk). The box
of actions is the base's own, the demonstrated range; edits are in its units.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.choosing_policy import restore, sizes_of, steerable
from policies.choosing_training import train_choosing
from policies.data.demonstrations import Demonstrations, Env
from policies.decisions import refuse_images
from policies.imitation_memory import ImitationMemory
from policies.learners.expo import EXPOBatch, EXPOLearner, EXPOLearnerConfig
from policies.online import OnlineConfig, OnlineSource
from policies.run import Run
from policies.steerable import SteerablePolicy
from policies.training import LoopState
from robot.policy import Policy

__all__ = ["PRESETS", "EXPOConfig", "EXPOSource", "finetune", "restore"]


@dataclass(frozen=True)
class EXPOConfig(OnlineConfig, EXPOLearnerConfig):
    """Settings; the defaults are the paper's code for states."""

    imitation_batch: int = 256
    replay_capacity: int = 200_000

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        self.choice(self.decision_steps)


PRESETS = {
    "default": EXPOConfig(),
    # One processor core, networks for states.
    "cpu": EXPOConfig(
        env_steps=7_000,
        warmup_steps=2_000,
        warmup_updates=1_000,
        batch_size=128,
        imitation_batch=128,
        replay_capacity=50_000,
        sample_every=200,
        discount=0.97,
        n_step=3,
        timeout_is_terminal=True,
        utd_ratio=2,
        edit_scale=0.2,
        heads=4,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
        initial_temperature=0.01,  # edits are worth hundredths: at 0.1 their entropy outweighs that for long
        base_learning_rate=1e-4,
        evaluate_every=1_000,
        checkpoint_every=3_000,
    ),
    "debug": EXPOConfig(
        env_steps=160,
        warmup_steps=60,
        warmup_updates=5,
        batch_size=16,
        imitation_batch=16,
        samples=2,
        sample_every=7,
        replay_capacity=500,
        utd_ratio=2,
        heads=3,
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        evaluate_every=80,
        checkpoint_every=80,
        log_every=80,
    ),
}


class EXPOSource(OnlineSource):
    """Online transitions beside the demonstrations', and whole episodes for the base to imitate."""

    def __init__(
        self, env: Env, base: SteerablePolicy, demonstrations: Demonstrations, config: EXPOConfig, *, seed: int
    ) -> None:
        self.memory = ImitationMemory.beside(base, demonstrations.trajectories, config.replay_capacity)
        self.imitation_batch = config.imitation_batch
        super().__init__(
            env,
            base.spec.observation_shapes,
            base.states,
            base.actions,
            config=config,
            rows=config.batch_size * config.utd_ratio,
            seed=seed,
            demonstrations=demonstrations,
        )

    def step(self) -> int:
        steps = super().step()
        if self.collector.finished is not None:
            self.memory.add(self.collector.finished)
        return steps

    def batch(self) -> EXPOBatch:
        transitions = super().batch()
        return EXPOBatch(
            transitions, self.memory.sample(self.imitation_batch, self.config.demo_fraction, self.generator)
        )

    def state(self) -> dict[str, Any]:
        return super().state() | {"memory": self.memory.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.memory.restore(state["memory"])


def finetune(
    env: Env,
    base: Policy,
    demonstrations: Demonstrations,
    config: EXPOConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    own = steerable(base, "expo", config.decision_steps)
    refuse_images(own.spec.observation_shapes, "expo")
    source = EXPOSource(env, own, demonstrations, config, seed=seed)
    steps = config.decision_steps
    learner = EXPOLearner(own, sizes_of(own, steps), steps, config, rows=source.rows_kept, seed=seed)
    return train_choosing("expo", source, learner, run, evaluate=evaluate, stop_after=stop_after)
