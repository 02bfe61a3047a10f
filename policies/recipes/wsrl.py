"""WSRL: warm-start reinforcement learning without keeping the data (Zhou et al. 2024).

The paper's method box, as it is run here:
1. Offline: `offline_updates` of Cal-QL or IQL on the demonstrations, kept in `<run>/offline`.
2. Warm-up: `warmup_steps` environment steps of the pre-trained, stochastic actor into an empty replay; no updates.
3. Plain SAC from the whole pre-trained state, optimisers included: `utd_ratio` critic updates per environment step, one
   of the actor on all their rows; no demonstrations, no conservatism. The actor climbs the minimum of all critics.

There is no base in it. Where `tandem finetune` has a base, it is what the result is compared with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.actor_policy import ActorPolicy
from policies.data.demonstrations import Demonstrations, Env
from policies.learners.offline import OfflineConfig, OfflineLearner
from policies.learners.sac import SACLearner, SACLearnerConfig, Transitions
from policies.online import OnlineConfig, OnlineSource, demonstrated_source
from policies.recipes.sac import train_actor
from policies.run import Run
from policies.training import LoopConfig, LoopState, train
from robot.errors import ConfigError

NEEDS_BASE = False
restore = ActorPolicy.restore


@dataclass(frozen=True)
class WSRLConfig(OnlineConfig, SACLearnerConfig, OfflineConfig):
    """Settings; the defaults are the released code's for Adroit, with a reward of 0 and 1 shifted to -5 and 5."""

    env_steps: int = 300_000
    warmup_steps: int = 5_000
    offline_updates: int = 20_000
    demo_fraction: float = 0.0
    reward_scale: float = 10.0
    reward_bias: float = -5.0
    utd_ratio: int = 4
    actor_hidden: tuple[int, ...] = (512, 512)
    critic_hidden: tuple[int, ...] = (512, 512, 512)
    actor_layer_norm: bool = True
    actor_learning_rate: float = 1e-4
    temperature_learning_rate: float = 1e-4
    backup_entropy: bool = False
    actor_value: str = "min"
    actor_batch: str = "all"
    entropy_per_dimension: float = -1.0
    conservative_weight: float = 1.0

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        SACLearnerConfig.__post_init__(self)
        OfflineConfig.__post_init__(self)
        if self.offline_updates < 1 or self.demo_fraction > 0.0:
            raise ConfigError(
                f"offline_updates {self.offline_updates} must be >= 1 and demo_fraction {self.demo_fraction} be 0: "
                "wsrl keeps no data (rlpd does)"
            )


PRESETS = {
    "default": WSRLConfig(),
    # One processor core, networks for states.
    "cpu": WSRLConfig(
        env_steps=12_000,
        warmup_steps=2_000,
        offline_updates=3_000,
        reward_scale=1.0,
        reward_bias=0.0,
        discount=0.97,
        n_step=3,
        timeout_is_terminal=True,
        batch_size=128,
        utd_ratio=2,
        heads=4,
        conservative_weight=0.02,  # in units of the value: the default is for a reward ten times as large
        contrast_samples=4,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
        value_hidden=(128, 128),
        actor_learning_rate=3e-4,
        temperature_learning_rate=3e-4,
        initial_temperature=0.01,
        evaluate_every=1_000,
        checkpoint_every=3_000,
    ),
    "debug": WSRLConfig(
        env_steps=160,
        warmup_steps=60,
        offline_updates=20,
        batch_size=16,
        utd_ratio=2,
        heads=3,
        contrast_samples=2,
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        value_hidden=(16, 16),
        evaluate_every=80,
        checkpoint_every=80,
        log_every=80,
    ),
}


class OfflineSource:
    """Batches of the demonstrations alone; `progress` counts them."""

    def __init__(self, source: OnlineSource) -> None:
        self.source, self.progress = source, 0

    def next(self) -> Transitions:
        self.progress += 1
        return self.source.sample(self.source.config.batch_size, 1.0)

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"generator": self.source.generator.get_state(), "progress": self.progress}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.source.generator.set_state(state["generator"])
        self.progress = state["progress"]


def finetune(
    env: Env,
    _base: Any,
    demonstrations: Demonstrations,
    config: WSRLConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    source = demonstrated_source(env, demonstrations, config, "wsrl", config.batch_size * config.utd_ratio, seed)
    sac = SACLearner(*source.sizes, config, seed=seed)
    offline = pretrain(source, sac, config, run, stop_after)
    if offline.updates < config.offline_updates:
        return offline
    source.explore = lambda: sac.act(source.state_now())
    return train_actor("wsrl", source, sac, run, evaluate=evaluate, stop_after=stop_after)


def pretrain(
    source: OnlineSource, sac: SACLearner, config: WSRLConfig, run: Run, stop_after: int | None = None
) -> LoopState:
    """Learn from the demonstrations alone; continues, or only loads, what `<run>/offline` holds."""
    learner = OfflineLearner(sac, source.sizes[0], config)
    loop = LoopConfig(config.offline_updates, config.log_every, config.checkpoint_every)
    folder = Run(run.folder / "offline", tensorboard=False)
    return train(OfflineSource(source), learner, loop, folder, stop_after=stop_after, title=f"wsrl: {config.method}")
