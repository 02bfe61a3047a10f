"""Hard-peg gate: each part of residual fine-tuning is removed in turn, and its loss must show (off_policy spec, 8.2).

Arms: `resfit`, the reference (recipe resfit_fine); `no_layer_norm`, in actor and critic; `one_step` returns; `no_demos`
in the batches; and `store_residual`, which keeps the residual of every step, demonstrated or made online, in place of
the executed action.
All have the demonstrations, the base and the budget of their seed. The mutation score is the share of the mutants that
end as far below the reference as the target says.
"""

import tempfile
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
from policies.recipes.resfit_fine import FineResFiTConfig, finetune
from policies.replay import NStep, Step, Transition
from policies.run import Run
from policies.starts import evaluation_starts
from tests.gates.hard_peg import HardPeg, HardPegExpert

MUTANTS: dict[str, dict[str, Any]] = {
    "no_layer_norm": {"layer_norm": False},
    "one_step": {"n_step": 1},
    "no_demos": {"demo_fraction": 0.0},
    "store_residual": {},
}
CELLS = [(arm, seed) for seed in (0, 1, 2) for arm in ("resfit", *MUTANTS)]
DEPENDS = [
    "tests/gates/blocked_peg.py",
    "tests/gates/hard_peg.py",
    "policies/fine_residual.py",
    "policies/recipes/resfit_fine.py",
    "policies/state_waves.py",
    *RESIDUAL_FILES,
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Clone the base, fine-tune it, evaluate all the way; the curve counts steps from the end of the warm-up."""
    torch.set_num_threads(1)
    if arm == "store_residual":
        NStep.push = _push_residual  # type: ignore[method-assign]
    config = FineResFiTConfig(**(with_tuples(profile["resfit"]) | MUTANTS.get(arm, {})))
    clone = BehaviorCloningConfig(**with_tuples(profile["bc"]))
    demonstrations = collect_from(HardPeg(), HardPegExpert(), "gates/hard-peg", profile["demos"], seed)
    starts, few = evaluation_starts(profile["episodes"]), evaluation_starts(profile["curve_episodes"])
    with tempfile.TemporaryDirectory() as folder, Evaluator(HardPeg) as evaluator:

        def point(env_steps: int, policy: Path) -> list[float]:
            found = evaluator.evaluate(policy, few).success
            return [env_steps - config.warmup_steps, found.value, found.n]

        base_run, run = (Run(Path(folder) / name, tensorboard=False) for name in ("base", "run"))
        base, _ = train_base(demonstrations, clone, base_run, seed=seed)
        before = evaluator.evaluate(base_run.policy_path, starts)
        state = finetune(HardPeg(), base, demonstrations, config, run, seed=seed, evaluate=point)
        after = evaluator.evaluate(run.policy_path, starts)
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


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the base's range, the reference's end, and every mutant's distance to it against the targets."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm, _ in CELLS}
    base, final = (pooled(by_arm["resfit"], key) for key in ("base_success", "final_success"))
    low, high = targets["base"]
    rows = [share_row("base success, all seeds", base, f"{low} to {high}", low <= base <= high)]
    for cell in by_arm["resfit"]:
        value, seed = cell["final_success"]["value"], cell["seed"]
        metric = f"success after {cell['curve'][-1][0]} steps, seed {seed}"
        rows.append(share_row(metric, value, targets["final"], value >= targets["final"], reference=base))
        worst = min(point[1] for point in cell["curve"] if point[0] > 0)
        rows.append(share_row(f"worst point of the curve, seed {seed}", worst, None, True))
    gaps = {arm: final - pooled(by_arm[arm], "final_success") for arm in MUTANTS}
    wanted = targets["mutant_gap"]
    rows += [share_row(f"success above {arm}", gap, wanted, gap >= wanted) for arm, gap in gaps.items()]
    score = sum(gap >= wanted for gap in gaps.values()) / len(gaps)
    return [*rows, share_row("mutation score", score, 1.0, score == 1.0)]
