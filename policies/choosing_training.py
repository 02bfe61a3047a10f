"""What EXPO, IBRL and PA-RL share of their runs: the base explores, the choice acts, learns and is saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from policies.action_choice import ActionChoice
from policies.checkpoint import save_policy
from policies.choosing_policy import ChoosingPolicy
from policies.online import OnlineSource
from policies.run import Run
from policies.sample_cache import SampleCache
from policies.steerable import SteerablePolicy
from policies.training import Learner, LoopState, train


class ChoosingLearner(Learner, Protocol):
    """A learner whose policy chooses among samples of a base."""

    base: SteerablePolicy
    choice: ActionChoice
    cache: SampleCache

    def act(self, state: Tensor) -> np.ndarray: ...

    def base_decision(self, state: Tensor) -> np.ndarray: ...


def train_choosing(
    kind: str,
    source: OnlineSource,
    learner: ChoosingLearner,
    run: Run,
    *,
    evaluate: Callable[[int, Path], Any] | None,
    stop_after: int | None,
) -> LoopState:
    """Let the base explore in the source's world, then the choice; what is saved chooses in the same way."""
    source.forget = learner.cache.forget
    source.explore = lambda: learner.base_decision(source.state_now())
    source.act = lambda: learner.act(source.state_now())
    policy = ChoosingPolicy(kind, learner.base, learner.choice)
    return train(
        source,
        learner,
        source.config.loop(),
        run,
        write_policy=lambda path, step: save_policy(path, policy, env_steps=step),
        evaluate=evaluate,
        stop_after=stop_after,
        title=kind,
    )
