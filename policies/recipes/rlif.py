"""RLIF: learn from when a person takes over, not from what they do (Luo et al. 2024).

The paper's method box, as it is run here, per tick:
1. Act: a ~ pi(s). The person looks on, and may take over for some ticks; whoever drives, it is executed and stored.
2. Reward: -1 on the policy's last executed transition before each takeover, 0 everywhere else; no task reward.
3. Learn: RLPD's SAC on one replay that holds prior data with reward 0, `utd_ratio` critic updates per tick.

What differs from the released code: every human tick is stored (it keeps the last of four), ends are stored and time
limits bootstrap, the target is clipped to what such rewards can sum up to, and blame may be spread over several ticks
(`blame`). A success that ends the episode is a hidden task reward: a claim about takeovers needs a world that goes on.

Nobody takes over from the person, so their ticks and prior data carry reward 0 whatever they do. Where these outnumber
the policy's ticks, as in short runs, the best that the data know is to stand where a bad operator likes to stand.
Without `learns_unjudged` the policy's own ticks alone are learned from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.actor_policy import ActorPolicy
from policies.data.demonstrations import Demonstrations, Env
from policies.learners.sac import SACLearner, SACLearnerConfig, Transitions
from policies.online import OnlineConfig
from policies.recipes.sac import train_actor
from policies.run import Run
from policies.takeovers.labels import goes_to_replay, is_judged
from policies.takeovers.rewards import InterventionReward
from policies.takeovers.source import TakeoverSource, Uses
from policies.training import LoopState
from robot.errors import ConfigError

NEEDS_BASE = False
NEEDS_PERSON = True
restore = ActorPolicy.restore


@dataclass(frozen=True)
class RLIFConfig(OnlineConfig, SACLearnerConfig):
    """Settings; the defaults are the released code's."""

    warmup_steps: int = 1
    demo_fraction: float = 0.0
    utd_ratio: int = 5
    actor_hidden: tuple[int, ...] = (256, 256, 256)
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    backup_entropy: bool = False
    blame: tuple[float, ...] = (1.0,)  # of the last tick before a takeover, the one before it, ...
    task_reward: float = 0.0  # weight of the world's own reward
    learns_unjudged: bool = True  # from a person's ticks and prior data too
    explore_std: float = 0.0  # noise on the mean action; 0: the actor's own samples
    human_budget: int = 0  # ticks of a person after which learning ends: alone, nothing is judged; 0: no limit

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        SACLearnerConfig.__post_init__(self)
        if self.demo_fraction or self.task_reward < 0.0:
            raise ConfigError(
                f"rlif keeps prior data in its replay: demo_fraction is {self.demo_fraction}, allowed: 0; "
                f"task_reward is {self.task_reward}, allowed: >= 0"
            )


PRESETS = {
    "default": RLIFConfig(),
    "cpu": RLIFConfig(
        env_steps=20_000,
        warmup_steps=500,
        discount=0.97,
        utd_ratio=2,
        heads=4,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
        initial_temperature=0.1,
        evaluate_every=2_000,
        checkpoint_every=5_000,
    ),
    "debug": RLIFConfig(
        env_steps=200,
        warmup_steps=60,
        batch_size=16,
        utd_ratio=2,
        heads=3,
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        blame=(0.6, 0.4),
        evaluate_every=100,
        checkpoint_every=100,
        log_every=100,
    ),
}


class InterventionLearner(SACLearner):
    """SAC whose target stays within what the rewards of takeovers can sum up to, and that may explore wider."""

    config: RLIFConfig

    @torch.no_grad()
    def act(self, state: Tensor) -> np.ndarray:
        if not self.config.explore_std:
            return super().act(state)
        mean = self.actor.mode(state)[0]
        noise = torch.randn(mean.shape, generator=self.generator)
        return (mean + self.config.explore_std * noise).clamp(-1.0, 1.0).numpy()

    def target(self, batch: Transitions) -> Tensor:
        reach = 1.0 / (1.0 - self.config.discount)
        return super().target(batch).clamp(-reach, self.config.task_reward * reach)


def finetune(
    env: Env,
    _base: Any,
    demonstrations: Demonstrations,
    config: RLIFConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    reward = InterventionReward(config.blame, config.task_reward)
    keeps = goes_to_replay if config.learns_unjudged else is_judged
    prior = "replay" if config.learns_unjudged else "nowhere"
    uses = Uses(reward, prior, keeps, human_budget=config.human_budget)
    rows = config.batch_size * config.utd_ratio
    source = TakeoverSource(env, demonstrations, config, uses, rows=rows, seed=seed)
    learner = InterventionLearner(*source.sizes, config, seed=seed)
    return train_actor("rlif", source, learner, run, evaluate=evaluate, stop_after=stop_after)
