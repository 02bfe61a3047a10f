"""Easy-peg gate: residual fine-tuning of a cloned base on the blocked peg, and a mutant that must fail.

Arms: `resfit`, and `store_residual`, which keeps the residual of every step, demonstrated or made online, in place of
the executed action. A mutant that spoils the online steps alone ends within 6 points of the recipe on this easy task
(99, 100 and 98 % against 93, 95 and 92 %, seeds 0-2): the demonstrations' half of each batch is enough here. That one
is for the hard peg, and for the exact tests R1 and R5.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.data.demonstrations import collect_from
from policies.evaluation import Evaluator
from policies.recipes.resfit import ResFiTConfig, finetune
from policies.replay import NStep, Step, Transition
from policies.run import Run
from policies.starts import evaluation_starts
from robot.evaluation import Success
from tests.gates.blocked_peg import BlockedPeg, BlockedPegExpert

CELLS = [(arm, seed) for arm in ("resfit", "store_residual") for seed in (0, 1, 2)]
DEPENDS = [
    "tests/gates/blocked_peg.py",
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


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Train the base, fine-tune it, evaluate all the way; the curve counts steps from the end of the warm-up."""
    torch.set_num_threads(1)
    if arm == "store_residual":
        NStep.push = _push_residual  # type: ignore[method-assign]
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in profile["resfit"].items()
    }
    config = ResFiTConfig(**settings)
    clone = BehaviorCloningConfig(**{**profile["bc"], "hidden": tuple(profile["bc"]["hidden"])})
    demonstrations = collect_from(BlockedPeg(), BlockedPegExpert(), "gates/blocked-peg", profile["demos"], seed)
    with tempfile.TemporaryDirectory() as folder, Evaluator(BlockedPeg) as evaluator:
        base, _ = train_base(demonstrations, clone, Run(Path(folder) / "base", tensorboard=False), seed=seed)
        run = Run(Path(folder) / "run", tensorboard=False)
        before = evaluator.evaluate(Path(folder) / "base/policy.safetensors", evaluation_starts(profile["episodes"]))
        state = finetune(
            BlockedPeg(), base, demonstrations, config, run, seed=seed, evaluate=_curve(evaluator, config, profile)
        )
        after = evaluator.evaluate(run.policy_path, evaluation_starts(profile["episodes"]))
    return {
        "base_success": asdict(before.success),
        "final_success": asdict(after.success),
        "success_steps": [before.success_steps, after.success_steps],
        "curve": state.curve,
        "env_steps": config.env_steps,
        "gradient_updates": state.updates,
    }


_push = NStep.push


def _push_residual(self: NStep, step: Step, *after: np.ndarray, **ends: bool) -> list[Transition]:
    return _push(self, replace(step, action=step.action - step.base), *after, **ends)


def _curve(evaluator: Evaluator, config: ResFiTConfig, profile: dict[str, Any]) -> Callable[[int, Path], list[float]]:
    def evaluate(env_steps: int, policy: Path) -> list[float]:
        success = evaluator.evaluate(policy, evaluation_starts(profile["curve_episodes"])).success
        return [env_steps - config.warmup_steps, success.value, success.n]

    return evaluate


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the base's range, every seed's end, and the distance to the mutant against the targets."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm, _ in CELLS}
    base, final, mutant = (
        _pooled(by_arm["resfit"], "base_success"),
        _pooled(by_arm["resfit"], "final_success"),
        _pooled(by_arm["store_residual"], "final_success"),
    )
    low, high = targets["base_low"], targets["base_high"]
    rows = [_row("base success, all seeds", base.value, f"{low} to {high}", low <= base.value <= high)]
    for cell in by_arm["resfit"]:
        value = cell["final_success"]["value"]
        metric = f"success after {cell['curve'][-1][0]} steps, seed {cell['seed']}"
        rows.append(_row(metric, value, targets["final"], value >= targets["final"], reference=base.value))
        worst = min(point[1] for point in cell["curve"] if point[0] > 0)
        rows.append(_row(f"worst point of the curve, seed {cell['seed']}", worst, None, True))
    gap = final.value - mutant.value
    rows.append(
        _row("success above the store_residual mutant", gap, targets["mutant_gap"], gap >= targets["mutant_gap"])
    )
    return rows


def _pooled(cells: list[dict[str, Any]], key: str) -> Success:
    episodes = sum(cell[key]["n"] for cell in cells)
    return Success.of(sum(round(cell[key]["value"] * cell[key]["n"]) for cell in cells), episodes)


def _row(metric: str, value: float, target: Any, ok: bool, reference: float | None = None) -> dict[str, Any]:
    ratio = value / reference if reference else None
    return {
        "metric": metric,
        "value": value,
        "unit": "share",
        "reference": reference,
        "ratio": ratio,
        "target": target,
        "ok": ok,
    }
