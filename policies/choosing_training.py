"""What EXPO, IBRL and PA-RL share of their runs: the base explores, the choice acts, learns and is saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from policies.calibration import Calibrated
from policies.choosing_policy import ChoosingPolicy
from policies.learners.choosing import ChoosingLearner
from policies.online import OnlineSource
from policies.recipe_training import train_recipe
from policies.run import Run
from policies.training import LoopState


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
    watched = Calibrated(source, learner.critics)
    return train_recipe(kind, watched, learner, policy, run, evaluate=evaluate, stop_after=stop_after)
