"""PA-RL: policy-agnostic reinforcement learning (Mark et al. 2024).

The paper's method box, as it is run here:
1. Critics offline: `critic_pretraining` updates on the demonstrations, TD with optimised actions and Cal-QL's gap.
2. Warm-up: `warmup_steps` environment steps of the base alone. Then the critics' optimiser starts afresh, and
   `warmup_updates` steps' worth of critic updates see what the base fails at before they choose for it.
3. Per episode: collect it with the best optimised action; as many distillation steps of the base as it had environment
   steps; then as many critic updates, `utd_ratio` each. Cached base samples of an older base are drawn again.

Batches of distillation hold demonstrations and online episodes in the proportion of their sizes.
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
from policies.learners.pa_rl import PARLBatch, PARLLearner, PARLLearnerConfig
from policies.online import OnlineConfig, OnlineSource
from policies.run import Run
from policies.steerable import SteerablePolicy
from policies.training import LoopState
from robot.policy import Policy

__all__ = ["PRESETS", "PARLConfig", "PARLSource", "finetune", "restore"]


@dataclass(frozen=True)
class PARLConfig(OnlineConfig, PARLLearnerConfig):
    """Settings; the defaults are the paper's code for states, with a reward of 0 and 1."""

    critic_pretraining: int = 100_000
    utd_ratio: int = 1
    imitation_batch: int = 256
    replay_capacity: int = 200_000

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        self.choice(self.decision_steps)


PRESETS = {
    "default": PARLConfig(),
    # One processor core, networks for states.
    "cpu": PARLConfig(
        env_steps=12_000,
        warmup_steps=2_000,
        warmup_updates=2_000,
        batch_size=128,
        imitation_batch=128,
        critic_pretraining=2_000,
        discount=0.97,
        n_step=3,
        timeout_is_terminal=True,
        samples=8,
        keep=4,
        grad_steps=2,
        step_size=0.1,
        softmax_temperature=0.02,
        contrast_samples=4,
        heads=4,
        critic_hidden=(128, 128),
        base_learning_rate=3e-4,
        replay_capacity=50_000,
        evaluate_every=1_000,
        checkpoint_every=3_000,
    ),
    "debug": PARLConfig(
        env_steps=200,
        warmup_steps=60,
        critic_pretraining=10,
        batch_size=16,
        imitation_batch=16,
        samples=3,
        keep=2,
        grad_steps=1,
        contrast_samples=2,
        heads=3,
        critic_hidden=(16, 16),
        replay_capacity=500,
        evaluate_every=100,
        checkpoint_every=100,
        log_every=100,
    ),
}


class PARLSource(OnlineSource):
    """Whole episodes; after each the batches of its distillation, then those of its critic updates."""

    def __init__(
        self, env: Env, base: SteerablePolicy, demonstrations: Demonstrations, config: PARLConfig, *, seed: int
    ) -> None:
        self.settings = config
        self.memory = ImitationMemory.beside(base, demonstrations.trajectories, config.replay_capacity)
        self._offline_left, self._distillations_left, self._critic_left = config.critic_pretraining, 0, 0
        super().__init__(
            env,
            base.spec.observation_shapes,
            base.states,
            base.actions,
            config=config,
            rows=config.batch_size,
            seed=seed,
            demonstrations=demonstrations,
        )
        self._early_left *= config.utd_ratio

    def next(self) -> PARLBatch | None:
        if self._offline_left:
            self._offline_left -= 1
            return PARLBatch(self.sample(self.rows, 1.0), is_offline=True)
        if self._distillations_left:
            self._distillations_left -= 1
            return self._distillation()
        if self._critic_left:
            self._critic_left -= 1
            self.progress += self._critic_left % self.settings.utd_ratio == 0
            return PARLBatch(self.sample(self.rows, self.config.demo_fraction))
        if self._early_left and not self.is_warming_up:
            self._early_left -= 1
            return PARLBatch(self.sample(self.rows, self.config.demo_fraction))
        self._collect()
        return None

    def _collect(self) -> None:
        """Make one decision; in the warm-up its steps count at once, after it when their updates are handed out."""
        was_warming_up = self.is_warming_up
        steps = self.step()
        finished = self.collector.finished
        if finished is not None:
            self.memory.add(finished)
        if was_warming_up:
            self.progress += steps
        elif finished is not None:
            self._distillations_left = self.collector.env_steps - self.progress
            self._critic_left = self._distillations_left * self.settings.utd_ratio

    def _distillation(self) -> PARLBatch:
        seen, made = len(self.memory.demos), len(self.memory.online)
        batch = self.memory.sample(self.settings.imitation_batch, seen / (seen + made), self.generator)
        return PARLBatch(imitation=batch, ends_distillation=self._distillations_left == 0)

    def state(self) -> dict[str, Any]:
        left = {name: getattr(self, name) for name in ("_offline_left", "_distillations_left", "_critic_left")}
        return super().state() | {"memory": self.memory.state(), "left": left}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.memory.restore(state["memory"])
        for name, value in state["left"].items():
            setattr(self, name, value)


def finetune(
    env: Env,
    base: Policy,
    demonstrations: Demonstrations,
    config: PARLConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    steps = config.decision_steps
    own = steerable(base, "pa_rl", steps)
    refuse_images(own.spec.observation_shapes, "pa_rl")
    source = PARLSource(env, own, demonstrations, config, seed=seed)
    learner = PARLLearner(own, sizes_of(own, steps), steps, config, rows=source.rows_kept, seed=seed)
    return train_choosing("pa_rl", source, learner, run, evaluate=evaluate, stop_after=stop_after)
