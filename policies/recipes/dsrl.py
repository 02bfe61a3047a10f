"""DSRL: steer a frozen diffusion, flow or act policy through its noise (Wagenmaker et al. 2025).

The paper's method box, as it is run here, per decision of one chunk:
1. Probe: a base without noise, or whose chunks hardly depend on it, is refused before anything moves.
2. Act: the first `warmup_steps` control steps with noise of the prior, clipped to the box; then c ~ pi(s). The base is
   asked once, its chunk is executed until an end; store what was executed and c. R = sum gamma^k r_k over the executed
   steps, bootstrap gamma^(executed steps); only a termination ends the value.
3. Every `update_every` decisions, one call of the learner: NA (values of executed chunks, distilled into values of
   noise; demonstrations beside) or SAC (values of noise).

States are the base's own features, so images are encoded once and the replay keeps no pixels. Rewards of 1 at success
are best shifted to -1 and 0 (`reward_bias` -1): the range of values is then known, and values outside it are told.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from policies.checkpoint import save_policy
from policies.data.demonstrations import Demonstrations, Env
from policies.learners.noise_steering import NoiseAliasingLearner, NoiseSACLearner, NoiseSteeringConfig
from policies.learners.sac import SACLearner
from policies.learners.squashed_gaussian import LOG_STD
from policies.noise_decoder import NoiseDecoder, steered_by_noise
from policies.noise_policy import NoisePolicy, NoisePolicyConfig, restore
from policies.noise_source import NoiseSource
from policies.noise_space import NoiseSpace
from policies.online import OnlineConfig
from policies.run import Run
from policies.steerability import probe, require_spread
from policies.training import LoopState, train
from robot.errors import ConfigError
from robot.policy import Policy

__all__ = ["NEEDS_NOISE", "PRESETS", "DSRLConfig", "finetune", "restore"]
NEEDS_NOISE = True


@dataclass(frozen=True)
class DSRLConfig(OnlineConfig, NoiseSteeringConfig):
    """Settings; the defaults are the released code's for states (robomimic can), with zeroed heads."""

    env_steps: int = 500_000
    warmup_steps: int = 24_000
    demo_fraction: float = 0.0  # na only
    replay_capacity: int = 1_000_000
    decision_steps: int = 0  # 0: as many as the base executes; nothing else is allowed
    reward_bias: float = -1.0
    mode: str = "full"  # of the noise: full, repeated, low_rank, active
    box: float = 1.5
    rank: int = 1
    active: tuple[int, ...] = ()
    update_every: int = 1  # decisions
    sampling: str = "actor"  # of the policy that is left: noise drawn from the actor, or its mean
    min_spread: float = 0.05  # of the chunks over noises, share of the demonstrated actions'
    min_successes: int = 1  # of the warm-up, where no demonstrations are learned from; 0: go on without

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        NoiseSteeringConfig.__post_init__(self)
        if self.variant == "sac" and self.demo_fraction > 0.0:
            raise ConfigError(
                f"variant sac learns from noise, which demonstrations lack: demo_fraction {self.demo_fraction} must be "
                "0, or take variant na"
            )
        if self.n_step != 1 or self.update_every < 1:
            raise ConfigError(f"n_step {self.n_step} must be 1 (a decision), update_every {self.update_every} >= 1")

    def of(self, base_steps: int) -> "DSRLConfig":
        """Return the settings for a base that executes so many steps of a chunk."""
        if self.decision_steps not in (0, base_steps):
            raise ConfigError(f"decision_steps is {self.decision_steps}, this base executes {base_steps}: leave it 0")
        return replace(self, decision_steps=base_steps)


_CPU = DSRLConfig(
    env_steps=30_000,
    warmup_steps=4_000,
    batch_size=128,
    replay_capacity=50_000,
    reward_scale=0.25,
    reward_bias=-0.25,
    discount=0.9975,
    utd_ratio=4,
    noise_critic_steps=4,
    update_every=4,
    actor_hidden=(128, 128),
    critic_hidden=(128, 128),
    critic_learning_rate=1e-3,
    actor_learning_rate=1e-3,
    temperature_learning_rate=1e-3,
    initial_temperature=0.05,
    evaluate_every=2_000,
    checkpoint_every=10_000,
)
PRESETS = {
    "default": DSRLConfig(),
    # One processor core, networks for states; an initial temperature that a short run can leave.
    "cpu": _CPU,
    "cpu_sac": replace(_CPU, variant="sac"),
    "debug": replace(
        _CPU,
        env_steps=160,
        warmup_steps=60,
        batch_size=8,
        replay_capacity=500,
        utd_ratio=2,
        noise_critic_steps=2,
        update_every=2,
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        min_successes=0,
        evaluate_every=80,
        checkpoint_every=80,
        log_every=80,
    ),
}


def finetune(
    env: Env,
    base: Policy,
    demonstrations: Demonstrations,
    config: DSRLConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    own = steered_by_noise(base)
    assert own.noise_spec is not None
    config = config.of(own.spec.execution_horizon)
    space = NoiseSpace(own.noise_spec[0], config.mode, config.box, config.rank, config.active, seed)
    decoder = NoiseDecoder(own, space)
    encoded = decoder.encode_all(demonstrations)
    features = torch.from_numpy(encoded.states)
    actions = torch.from_numpy(own.actions.normalize(encoded.actions)).float()
    found = probe(decoder, features, actions, seed=seed)
    print(f"steerability: {found}")
    require_spread(found, config.min_spread)
    source = NoiseSource(env, decoder, encoded, config, found, seed=seed)
    learner = make_learner(source, config, seed)
    source.act = lambda: learner.act(source.state_now())
    policy = NoisePolicy(decoder, learner.actor, policy_config(source.sizes[0], space, config))
    return train(
        source,
        learner,
        config.loop(),
        run,
        write_policy=lambda path, step: save_policy(path, policy, env_steps=step),
        evaluate=evaluate,
        stop_after=stop_after,
        title="dsrl",
    )


def make_learner(source: NoiseSource, config: DSRLConfig, seed: int) -> SACLearner:
    """Return the learner of the variant."""
    features, chunk = source.sizes
    if config.variant == "sac":
        return NoiseSACLearner(features, source.decoder.space.size, config, seed=seed)
    return NoiseAliasingLearner(features, chunk, source.decoder.space, source.decoder, config, seed=seed)


def policy_config(features: int, space: NoiseSpace, config: DSRLConfig) -> NoisePolicyConfig:
    """Return what the policy that is left needs to know."""
    return NoisePolicyConfig(
        features=features,
        hidden=config.actor_hidden,
        layer_norm=config.actor_layer_norm,
        activation=config.activation,
        log_std=(config.log_std_low, LOG_STD[1]),
        sampling=config.sampling,
        **vars(space),
    )
