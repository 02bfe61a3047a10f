"""What gates have in common: rows, settings out of a profile, success of several cells, curves of success."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from policies.checkpoint import load_policy
from policies.evaluation import Evaluation, roll_out_all
from policies.starts import evaluation_starts
from robot.evaluation import Success
from robot.rows import row

# Files that residual fine-tuning of a clone in lock-step depends on.
RESIDUAL_FILES = [
    "robot/chunk_runner.py",
    "policies/base/behavior_cloning.py",
    "policies/data/chunks.py",
    "policies/data/demonstrations.py",
    "policies/data/trajectories.py",
    "policies/learners/critics.py",
    "policies/learners/residual.py",
    "policies/learners/supervised.py",
    "policies/recipes/resfit.py",
    "policies/collection.py",
    "policies/evaluation.py",
    "policies/network.py",
    "policies/normalization.py",
    "policies/observations.py",
    "policies/replay.py",
    "policies/residual_policy.py",
    "policies/steerable.py",
    "policies/starts.py",
    "policies/training.py",
]


def share_row(metric: str, value: float, target: Any, ok: bool, reference: float | None = None) -> dict[str, Any]:
    """Return the row of a share, such as a success rate or the difference of two."""
    return row(metric, value, "share", target=target, ok=ok, reference=reference)


def pooled(cells: Iterable[Mapping[str, Any]], key: str) -> float:
    """Return the success of all episodes of these cells together; `key` names theirs."""
    found = [cell[key] for cell in cells]
    wins = sum(round(item["value"] * item["n"]) for item in found)
    return Success.of(wins, sum(item["n"] for item in found)).value


def success_curve(world: Callable[[], Any], episodes: int) -> Callable[[int, Path], list[float]]:
    """Return what makes a point of a curve, [env_steps, success, n], of a policy file, from the first fixed starts."""
    starts = evaluation_starts(episodes)

    def evaluate(env_steps: int, path: Path) -> list[float]:
        success = Evaluation(tuple(roll_out_all(world(), load_policy(path), starts))).success
        return [env_steps, success.value, success.n]

    return evaluate
