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

from benchmarks.gate_parts import RESIDUAL_FILES, pooled, share_row
from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.data.demonstrations import collect_from
from policies.evaluation import Evaluator
from policies.presets import with_tuples
from policies.recipes.resfit import ResFiTConfig, finetune
from policies.replay import NStep, Step, Transition
from policies.run import Run
from policies.starts import evaluation_starts
from tests.gates.blocked_peg import BlockedPeg, BlockedPegExpert

CELLS = [(arm, seed) for arm in ("resfit", "store_residual") for seed in (0, 1, 2)]
DEPENDS = ["tests/gates/blocked_peg.py", *RESIDUAL_FILES]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Train the base, fine-tune it, evaluate all the way; the curve counts steps from the end of the warm-up."""
    torch.set_num_threads(1)
    if arm == "store_residual":
        NStep.push = _push_residual  # type: ignore[method-assign]
    config = ResFiTConfig(**with_tuples(profile["resfit"]))
    clone = BehaviorCloningConfig(**with_tuples(profile["bc"]))
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
        pooled(by_arm["resfit"], "base_success"),
        pooled(by_arm["resfit"], "final_success"),
        pooled(by_arm["store_residual"], "final_success"),
    )
    low, high = targets["base_low"], targets["base_high"]
    rows = [share_row("base success, all seeds", base, f"{low} to {high}", low <= base <= high)]
    for cell in by_arm["resfit"]:
        value = cell["final_success"]["value"]
        metric = f"success after {cell['curve'][-1][0]} steps, seed {cell['seed']}"
        rows.append(share_row(metric, value, targets["final"], value >= targets["final"], reference=base))
        worst = min(point[1] for point in cell["curve"] if point[0] > 0)
        rows.append(share_row(f"worst point of the curve, seed {cell['seed']}", worst, None, True))
    gap = final - mutant
    rows.append(
        share_row("success above the store_residual mutant", gap, targets["mutant_gap"], gap >= targets["mutant_gap"])
    )
    return rows
