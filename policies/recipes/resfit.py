"""ResFiT: residual off-policy fine-tuning of a frozen chunked base with one world and a sparse reward.

The paper's method box, as it is run here:
1. Take a frozen base; fit action limits and state statistics on the demonstrations.
2. Demo buffer: every demo frame with the base action due there, the executed action, the next frame's base action.
3. Warm-up: `warmup_steps` environment steps with base + U(-warmup_noise, warmup_noise); store.
4. Critic only: `critic_only_updates` updates on demo / online batches, actor untouched.
5. Per environment step: act with sigma, store, then `utd_ratio` critic updates on fresh batches; the last also updates
   the actor.
6. Every so often evaluate without noise; the first time before any training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.checkpoint import SavablePolicy, save_policy
from policies.collection import ResidualCollector, relabel, replay_layout, store, trajectory_transitions
from policies.data.demonstrations import Demonstrations, Env
from policies.learners.residual import Batch, ResidualLearner, ResidualLearnerConfig
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import state_size
from policies.replay import NStep, Replay, sample_mixed
from policies.residual_policy import BaseQueue, ResidualConfig, ResidualPolicy, restore
from policies.run import Run
from policies.training import LoopConfig, LoopState, train
from robot.errors import CheckpointMismatch, ConfigError

__all__ = ["PRESETS", "ResFiT", "ResFiTConfig", "finetune", "restore"]


@dataclass(frozen=True)
class ResFiTConfig:
    """Settings; the defaults are the released code's, with networks for states. Noise in normalised action units."""

    env_steps: int = 300_000  # warm-up included
    warmup_steps: int = 10_000
    warmup_noise: float = 0.2
    critic_only_updates: int = 10_000
    utd_ratio: int = 4
    batch_size: int = 256
    demo_fraction: float = 0.5
    replay_capacity: int = 200_000
    discount: float = 0.99
    n_step: int = 3
    timeout_is_terminal: bool = True  # a sparse task with a hard time budget
    residual_scale: float = 0.2
    sigma: float = 0.05
    target_sigma: float | None = None  # None: as `sigma`
    noise_clip: float = 0.3
    heads: int = 10
    subset: int = 2
    actor_hidden: tuple[int, ...] = (256, 256)
    critic_hidden: tuple[int, ...] = (256, 256)
    layer_norm: bool = True
    action_gain: float = 1.0  # of actions as inputs of the networks; 1 / residual_scale resolves small residuals
    critic_learning_rate: float = 1e-4
    actor_learning_rate: float = 1e-5
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    tau: float = 0.005
    residual_hold_steps: int = 3
    state_std_floor: float = 0.01  # in the units of the state
    half_range_floor: float = 0.05  # share of the world's action box; the paper's 0.05 where the box is +-1
    evaluate_every: int = 10_000
    checkpoint_every: int = 10_000
    log_every: int = 500

    def __post_init__(self) -> None:
        if self.env_steps < self.warmup_steps:
            raise ConfigError(f"env_steps {self.env_steps} must not be below warmup_steps {self.warmup_steps}")
        if not 0.0 <= self.demo_fraction <= 1.0 or self.utd_ratio < 1 or self.n_step < 1:
            raise ConfigError(f"demo_fraction must lie in [0, 1], utd_ratio and n_step be >= 1: {self}")
        if self.warmup_steps < self.n_step and self.demo_fraction < 1.0:
            raise ConfigError(f"warmup_steps {self.warmup_steps} must be >= n_step {self.n_step} to fill the replay")

    def residual(self) -> ResidualConfig:
        return ResidualConfig(
            self.residual_scale, self.residual_hold_steps, self.actor_hidden, self.layer_norm, self.action_gain
        )

    def learner(self) -> ResidualLearnerConfig:
        return ResidualLearnerConfig(
            critic_hidden=self.critic_hidden,
            heads=self.heads,
            subset=self.subset,
            layer_norm=self.layer_norm,
            critic_learning_rate=self.critic_learning_rate,
            actor_learning_rate=self.actor_learning_rate,
            weight_decay=self.weight_decay,
            gradient_norm=self.gradient_norm,
            tau=self.tau,
            target_noise=self.sigma if self.target_sigma is None else self.target_sigma,
            noise_clip=self.noise_clip,
        )

    def window(self) -> NStep:
        return NStep(self.n_step, self.discount, self.timeout_is_terminal)


PRESETS = {
    "default": ResFiTConfig(),
    # One processor core, networks for states. Exploration and reach are those of a peg in a hole of 2.5 mm clearance.
    "cpu": ResFiTConfig(
        env_steps=12_000,
        warmup_steps=1_500,
        warmup_noise=0.06,
        critic_only_updates=2_000,
        utd_ratio=2,
        discount=0.97,
        residual_scale=0.2,
        sigma=0.03,
        heads=4,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
        critic_learning_rate=3e-4,
        actor_learning_rate=1e-4,
        evaluate_every=1_500,
        checkpoint_every=3_000,
    ),
    # As `cpu`, cut to less than a minute: two heads, half the batch, a third of the steps.
    "quick": ResFiTConfig(
        env_steps=5_000,
        warmup_steps=1_000,
        warmup_noise=0.06,
        critic_only_updates=1_500,
        utd_ratio=2,
        batch_size=128,
        discount=0.97,
        residual_scale=0.2,
        sigma=0.03,
        heads=2,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
        critic_learning_rate=3e-4,
        actor_learning_rate=1e-4,
        evaluate_every=1_000,
        checkpoint_every=0,
    ),
    # Seconds: to see that everything fits together; learns nothing.
    "debug": ResFiTConfig(
        env_steps=300,
        warmup_steps=100,
        critic_only_updates=50,
        utd_ratio=2,
        batch_size=32,
        heads=4,
        actor_hidden=(32, 32),
        critic_hidden=(32, 32),
        critic_learning_rate=3e-4,
        actor_learning_rate=1e-4,
        evaluate_every=100,
        checkpoint_every=100,
        log_every=100,
    ),
}


class ResFiT:
    """The source of the loop: one world behind a demo buffer and an online buffer. `progress` is environment steps.

    Environment steps whose updates have all been handed out count, so evaluation and checkpoints fall between steps.
    """

    def __init__(
        self, env: Env, base: SavablePolicy, demonstrations: Demonstrations, config: ResFiTConfig, *, seed: int
    ) -> None:
        self.config, self.base, self.progress = config, base, 0
        shapes = base.spec.observation_shapes
        if dict(shapes) != dict(demonstrations.observation_shapes):
            raise CheckpointMismatch(
                f"base reads {dict(shapes)}, demonstrations have {dict(demonstrations.observation_shapes)}"
            )
        self.states = StateNormalizer.fit(demonstrations.states, config.state_std_floor)
        floor = demonstrations.half_range_floor(config.half_range_floor)
        self.limits = ActionLimits.fit(demonstrations.actions, floor, widen=config.residual_scale)
        layout = replay_layout(state_size(shapes), len(base.spec.action_names))
        queue = BaseQueue(base)
        demos = [
            transition
            for trajectory in demonstrations.trajectories
            for transition in trajectory_transitions(
                trajectory, relabel(queue, trajectory, shapes), self.states, self.limits, config.window()
            )
        ]
        self.demos = Replay(layout, max(len(demos), 1))
        store(self.demos, demos)
        self.online = Replay(layout, config.replay_capacity)
        self.collector = ResidualCollector(
            env, base, self.states, self.limits, config.window(), scale=config.residual_scale, seed=seed
        )
        self.learner = ResidualLearner(
            layout["state"], layout["action"], config.residual(), config.learner(), seed=seed
        )
        self.rng = np.random.default_rng([seed, 1])
        self.generator = torch.Generator().manual_seed(seed + 1)
        self._critic_only_left = config.critic_only_updates
        self._updates_left = 0

    def next(self) -> Batch | None:
        """Make one environment step or hand out one batch, as the method box says."""
        if self.collector.env_steps < self.config.warmup_steps:
            self._step_warmup()
            self.progress += 1
            return None
        if self._critic_only_left > 0:
            self._critic_only_left -= 1
            return self._batch(update_actor=False)
        if self._updates_left == 0:
            self._step()
            self._updates_left = self.config.utd_ratio
        self._updates_left -= 1
        self.progress += self._updates_left == 0
        return self._batch(update_actor=self._updates_left == 0)

    def _step_warmup(self) -> None:
        width = self.config.warmup_noise
        noise = self.rng.uniform(-width, width, self.limits.half.shape)
        store(self.online, self.collector.step(np.zeros_like(noise), noise))

    def _step(self) -> None:
        noise = self.rng.normal(0.0, self.config.sigma, self.limits.half.shape)
        noise = noise.clip(-self.config.noise_clip, self.config.noise_clip)
        store(self.online, self.collector.step(self.collector.act(self.learner.actor), noise))

    def _batch(self, *, update_actor: bool) -> Batch:
        share = self.config.demo_fraction
        rows = sample_mixed(self.demos, self.online, self.config.batch_size, share, self.generator)
        return Batch(**self.online.split(rows), update_actor=update_actor)

    def policy(self) -> ResidualPolicy:
        """Return the deterministic policy as it is now."""
        return ResidualPolicy(self.base, self.learner.actor, self.states, self.limits, self.config.residual())

    def metrics(self) -> dict[str, float]:
        counts = ("env_steps", "episodes", "successes")
        return {f"collection/{name}": float(getattr(self.collector, name)) for name in counts}

    def state(self) -> dict[str, Any]:
        return {
            "collector": self.collector.state(),
            "online": self.online.state(),
            "rng": self.rng.bit_generator.state,
            "generator": self.generator.get_state(),
            "progress": self.progress,
            "critic_only_left": self._critic_only_left,
            "updates_left": self._updates_left,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.collector.restore(state["collector"])
        self.online.restore(state["online"])
        self.rng.bit_generator.state = state["rng"]
        self.generator.set_state(state["generator"])
        self.progress, self._updates_left = state["progress"], state["updates_left"]
        self._critic_only_left = state["critic_only_left"]


def finetune(
    env: Env,
    base: SavablePolicy,
    demonstrations: Demonstrations,
    config: ResFiTConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`.

    Args:
        evaluate: called with the environment steps so far and a policy file; its answer joins the curve.
        stop_after: save and return after this many iterations of the loop.
    """
    source = ResFiT(env, base, demonstrations, config, seed=seed)

    loop = LoopConfig(config.env_steps, config.log_every, config.checkpoint_every, config.evaluate_every)
    return train(
        source,
        source.learner,
        loop,
        run,
        write_policy=lambda path, step: save_policy(path, source.policy(), env_steps=step),
        evaluate=evaluate,
        stop_after=stop_after,
        title="resfit",
    )
