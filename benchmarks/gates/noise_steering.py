"""Noise-steering gate: DSRL on the two-gap task with the lower gap closed, and controls that must fail.

Arms: `sac` and `na`; `narrow_box` (box 0.5); `stochastic` (the decoder redraws its noise); `shuffled` (the stored noise
is another decision's); `no_reward` (success is paid like failure); `lower_only` (demonstrations through the closed gap
alone). Curves count decisions of the world; every point is success with noise drawn from the actor and with its mean.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.base import diffusion
from policies.checkpoint import read_content
from policies.data.demonstrations import collect_from
from policies.evaluation import Evaluation, roll_out_all
from policies.noise_decoder import NoiseDecoder
from policies.noise_policy import restore
from policies.noise_source import NoiseSource
from policies.recipes.dsrl import DSRLConfig, finetune
from policies.run import Run
from policies.starts import evaluation_starts
from robot.evaluation import Success
from tests.gates.two_gaps import OneGap, TwoGaps, TwoGapsExpert

METHODS = ("sac", "na")
CONTROLS = ("narrow_box", "stochastic", "shuffled", "no_reward", "lower_only")
CELLS = [(arm, seed) for arm in METHODS for seed in (0, 1, 2)] + [(arm, 0) for arm in CONTROLS]
DEPENDS = [
    "tests/gates/two_gaps.py",
    "policies/base/denoisers.py",
    "policies/base/diffusion.py",
    "policies/data/chunks.py",
    "policies/data/demonstrations.py",
    "policies/data/trajectories.py",
    "policies/decisions.py",
    "policies/evaluation.py",
    "policies/learners/critics.py",
    "policies/learners/noise_steering.py",
    "policies/learners/sac.py",
    "policies/learners/squashed_gaussian.py",
    "policies/learners/supervised.py",
    "policies/learners/temperature.py",
    "policies/learners/value_heads.py",
    "policies/network.py",
    "policies/noise_*.py",
    "policies/normalization.py",
    "policies/online.py",
    "policies/recipes/dsrl.py",
    "policies/replay.py",
    "policies/starts.py",
    "policies/steerability.py",
    "policies/steerable.py",
    "policies/training.py",
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Train the base, steer it in the world with one gap, evaluate all the way."""
    torch.set_num_threads(1)
    gaps = ("lower",) if arm == "lower_only" else ("upper", "lower")
    demonstrations = collect_from(TwoGaps(), TwoGapsExpert(gaps), "gates/two-gaps", profile["demos"], seed)
    config = settings(arm, profile)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        base, _ = diffusion.train_base(
            demonstrations,
            replace(diffusion.PRESETS["cpu"], **profile["diffusion"]),
            Run(Path(folder) / "base", tensorboard=False),
            seed=seed,
        )
        run, starts = Run(Path(folder) / "run", tensorboard=False), evaluation_starts(profile["episodes"])
        spoil(arm, seed)
        state = finetune(
            OneGap(), base, demonstrations, config, run, seed=seed, evaluate=_curve(starts[: profile["points"]])
        )
        found = {name: asdict(one.success) for name, one in _both(run.policy_path, starts).items()}
        found["base"] = asdict(Evaluation(tuple(roll_out_all(OneGap(), base, starts))).success)
    steps = base.spec.execution_horizon
    return found | {
        "curve": [[point[0] / steps, *point[1:]] for point in state.curve],
        "config": asdict(config),
        "env_steps": config.env_steps,
        "gradient_updates": state.updates,
        "learning_s": time.monotonic() - began,
    }


def settings(arm: str, profile: dict[str, Any]) -> DSRLConfig:
    """Return the recipe's settings of one arm."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in profile["dsrl"].items()}
    changes: dict[str, Any] = {
        "sac": {"variant": "sac"},
        "narrow_box": {"variant": "sac", "box": 0.5},
        "stochastic": {"variant": "sac"},
        "shuffled": {"variant": "sac"},
        "no_reward": {"reward_scale": 0.0, "reward_bias": 0.0},  # a price per chunk alone would pay for ending it
        "lower_only": {"min_successes": 0},
    }
    return DSRLConfig(**(values | changes.get(arm, {})))


def spoil(arm: str, seed: int) -> None:
    """Break what an arm is named for, in this process alone."""
    rng = np.random.default_rng(seed)
    if arm == "stochastic":
        decode = NoiseDecoder.__call__
        NoiseDecoder.__call__ = lambda self, features, coordinates: decode(  # type: ignore[method-assign]
            self, features, self.space.prior(len(coordinates), torch.default_generator)
        )
    if arm == "shuffled":
        execute, earlier = NoiseSource.execute, []

        def swapped(self: NoiseSource, coordinates: np.ndarray) -> Any:
            made = execute(self, coordinates)
            earlier.append(coordinates)
            row = self.online.split(torch.from_numpy(self.online.rows))["noise"][(self.online.added - 1)]
            row.copy_(torch.from_numpy(np.float32(earlier[rng.integers(len(earlier))])))
            return made

        NoiseSource.execute = swapped  # type: ignore[method-assign]


def _both(path: Path, starts: list[int]) -> dict[str, Evaluation]:
    """Evaluate a saved policy with noise drawn from the actor and with the actor's mean."""
    content = read_content(path)
    policies = {
        name: restore(replace(content, config=content.config | {"sampling": name})) for name in ("actor", "mean")
    }
    return {name: Evaluation(tuple(roll_out_all(OneGap(), policy, starts))) for name, policy in policies.items()}


def _curve(starts: list[int]) -> Callable[[int, Path], list[float]]:
    def evaluate(env_steps: int, path: Path) -> list[float]:
        found = _both(path, starts)
        drawn, mean = found["actor"].success, found["mean"].success
        return [env_steps, drawn.value, drawn.n, mean.value]

    return evaluate


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every seed's success at 6 000 decisions, NA against SAC at 2 600, and the controls, against the targets."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm, _ in CELLS}
    low, high = targets["base"]
    base = _pooled(by_arm["sac"] + by_arm["na"], "base")
    rows = [_row("base success, one gap closed", base, f"{low} to {high}", low <= base <= high)]
    for arm in METHODS:
        for cell in by_arm[arm]:
            value = cell["actor"]["value"]
            metric = f"{arm}: success at {cell['curve'][-1][0]:.0f} decisions, seed {cell['seed']}"
            rows.append(_row(metric, value, targets["final"], value >= targets["final"], cell["base"]["value"]))
    early = {arm: float(np.mean([_at(cell, targets["early_decisions"]) for cell in by_arm[arm]])) for arm in METHODS}
    rows.append(
        _row("na: success early, mean of seeds", early["na"], "sac's", early["na"] >= early["sac"], early["sac"])
    )
    for arm in CONTROLS:
        value = _pooled(by_arm[arm], "actor")
        rows.append(_row(f"control {arm}: success", value, targets["controls"][arm], value <= targets["controls"][arm]))
    return rows


def _at(cell: dict[str, Any], decisions: float) -> float:
    """Return the success at the point of the curve that is nearest to so many decisions."""
    return min(cell["curve"], key=lambda point: abs(point[0] - decisions))[1]


def _pooled(cells: list[dict[str, Any]], key: str) -> float:
    total = sum(cell[key]["n"] for cell in cells)
    return Success.of(sum(round(cell[key]["value"] * cell[key]["n"]) for cell in cells), total).value


def _row(metric: str, value: float, target: Any, ok: bool, reference: float | None = None) -> dict[str, Any]:
    ratio = value / reference if reference else None
    names = ("metric", "value", "unit", "reference", "ratio", "target", "ok")
    return dict(zip(names, (metric, value, "share", reference, ratio, target, ok), strict=True))
