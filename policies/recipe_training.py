"""The end of every recipe here: the loop, with the policy that it saves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from policies.checkpoint import SavablePolicy, save_policy
from policies.run import Run
from policies.training import Learner, LoopConfig, LoopState, Source, train


class Amounts(Protocol):
    """Settings that say how long a recipe runs."""

    def loop(self) -> LoopConfig: ...


class RecipeSource(Source, Protocol):
    """A source that has its recipe's settings."""

    @property
    def config(self) -> Amounts: ...


def train_recipe(
    kind: str,
    source: RecipeSource,
    learner: Learner,
    policy: SavablePolicy,
    run: Run,
    *,
    evaluate: Callable[[int, Path], Any] | None,
    stop_after: int | None,
) -> LoopState:
    """Learn for the source's `env_steps`; `policy`, whose weights are the learner's, is what is saved and evaluated."""
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
