"""The end of every recipe here: the loop, with the policy that it saves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from policies.checkpoint import SavablePolicy, save_policy
from policies.online import OnlineSource
from policies.run import Run
from policies.training import Learner, LoopState, train


def train_recipe(
    kind: str,
    source: OnlineSource,
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
