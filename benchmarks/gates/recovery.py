"""Recovery gate: RaC against HG-DAgger at equal human ticks on a chain of three narrow gates that swing (T4).

Arms: `rac`; `hg_dagger`, whose person takes over, drives on for some ticks and hands back; `no_recovery`, RaC whose
person goes straight on from where they took over (R1 off). Every arm has the same base, demonstrations, starts and
budget of human ticks; evaluation counts how often a policy gets free of a wall by itself.
"""

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gate_parts import share_row
from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.checkpoint import load_policy
from policies.data.demonstrations import collect_from
from policies.presets import with_tuples
from policies.recipes import hg_dagger, rac
from policies.run import Run
from policies.starts import evaluation_starts
from policies.takeovers.shared_control import Watched
from robot.evaluation import Success
from sim.people.recovering import RecoveringPerson
from tests.gates.three_gates import ThreeGates, hand, handing_person, recovering_person

ARMS = ("rac", "hg_dagger", "no_recovery")
CELLS = [(arm, seed) for seed in (0, 1, 2) for arm in ARMS]
DEPENDS = [
    "tests/gates/three_gates.py",
    "robot/chunk_runner.py",
    "robot/operator/person.py",
    "robot/ownership.py",
    "sim/people/*.py",
    "policies/base/behavior_cloning.py",
    "policies/data/chunks.py",
    "policies/data/demonstrations.py",
    "policies/learners/supervised.py",
    "policies/normalization.py",
    "policies/recipes/hg_dagger.py",
    "policies/recipes/rac.py",
    "policies/starts.py",
    "policies/steerable.py",
    "policies/takeovers/labels.py",
    "policies/takeovers/rounds.py",
    "policies/takeovers/shared_control.py",
    "policies/takeovers/splitting.py",
    "policies/takeovers/ticks.py",
    "policies/takeovers/weights.py",
    "policies/training.py",
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Clone the base, spend the human budget in rounds, evaluate alone."""
    torch.set_num_threads(1)
    began = time.monotonic()
    untouched = ThreeGates(touch_ends=True)
    demonstrations = collect_from(untouched, hand(untouched), "gates/three-gates", profile["demos"], seed)
    clone = BehaviorCloningConfig(**with_tuples(profile["bc"]))
    gates = ThreeGates()
    person: Any = handing_person(gates) if arm == "hg_dagger" else recovering_person(gates, recovers=arm == "rac")
    world = Watched(gates, person)
    with tempfile.TemporaryDirectory() as folder:
        base, _ = train_base(demonstrations, clone, Run(Path(folder) / "base", tensorboard=False), seed=seed)
        run = Run(Path(folder) / "run", tensorboard=False)
        if arm == "hg_dagger":
            config: Any = hg_dagger.HGDAggerConfig(**profile["rounds"])
            state = hg_dagger.finetune(world, base, demonstrations, config, run, seed=seed)
        else:
            config = rac.RaCConfig(**profile["rounds"])
            state = rac.finetune(world, base, demonstrations, config, run, seed=seed)
        found = alone(load_policy(run.policy_path), profile["episodes"])
        before = alone(base, profile["episodes"])
    recovered = person.recovery_ticks if isinstance(person, RecoveringPerson) else 0
    return {
        "base_success": before["success"],
        "final_success": found["success"],
        "gates_passed": found["gates_passed"],
        "recoveries_per_success": found["recoveries_per_success"],
        "human_ticks": person.driven_ticks,
        "recovery_share": recovered / max(person.driven_ticks, 1),
        "gradient_updates": state.updates,
        "learning_s": time.monotonic() - began,
    }


def alone(policy: Any, episodes: int) -> dict[str, Any]:
    """Roll a policy out by itself; count gates, and how often it got free of a wall in episodes that succeeded."""
    env, wins, freed, passed = ThreeGates(), 0, [], []
    for start in evaluation_starts(episodes):
        seen, _ = env.reset(seed=start)
        policy.reset()
        was_caught, times, is_over, info = False, 0, False, {}
        while not is_over:
            seen, _, terminated, truncated, info = env.step(policy.act(seen).actions[0])
            is_caught = bool(seen["touch"][0])
            times += was_caught and not is_caught
            was_caught, is_over = is_caught, terminated or truncated
        wins += info["success"]
        passed.append(info["passed"])
        freed += [times] * info["success"]
    return {
        "success": asdict(Success.of(wins, episodes)),
        "gates_passed": float(np.mean(passed)),
        "recoveries_per_success": float(np.mean(freed)) if freed else 0.0,
    }


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold RaC above HG-DAgger and above itself without recovery, at human ticks that agree."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm in ARMS}
    success = {arm: float(np.mean([cell["final_success"]["value"] for cell in by_arm[arm]])) for arm in ARMS}
    base = float(np.mean([cell["base_success"]["value"] for cell in cells]))
    ticks = {arm: float(np.mean([cell["human_ticks"] for cell in by_arm[arm]])) for arm in ARMS}
    retries = float(np.mean([cell["recoveries_per_success"] for cell in by_arm["rac"]]))
    recovery = float(np.mean([cell["recovery_share"] for cell in by_arm["no_recovery"]]))
    spread = max(ticks.values()) / min(ticks.values()) - 1.0
    gains = {arm: success["rac"] - success[arm] for arm in ("hg_dagger", "no_recovery")}
    rows = [share_row(f"{arm}: success, mean of seeds (told)", success[arm], None, True, base) for arm in ARMS]
    rows += [
        share_row(f"rac above {arm}", gain, targets[f"above_{arm}"], gain >= targets[f"above_{arm}"])
        for arm, gain in gains.items()
    ]
    rows.append(
        share_row("rac: recoveries per success", retries, targets["recoveries"], retries > targets["recoveries"])
    )
    rows.append(
        share_row(
            "no_recovery: recovery's share of human ticks", recovery, targets["share"], recovery < targets["share"]
        )
    )
    rows.append(share_row("spread of human ticks between arms", spread, targets["spread"], spread <= targets["spread"]))
    return rows
