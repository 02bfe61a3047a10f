"""Leaderboard: what five methods make of the same human time, on the chain of three narrow gates (T4).

Arms: `rac`, `hg_dagger`, `rlif`, `hil_serl`, and `residual`, ResFiT in a world where a person takes over. All of them
have the demonstrations, clone, starts and budget of human ticks of the gate `recovery`; RaC's person follows its two
rules, every other one takes over, drives on for some ticks and hands back. Where a method can learn on alone, it does,
up to `env_steps`; imitation and RLIF end with the human time. Success is told against human ticks and against
environment steps.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.gate_parts import share_row
from benchmarks.gates import load_gate
from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.checkpoint import load_policy
from policies.data.demonstrations import Demonstrations, collect_from
from policies.presets import with_tuples
from policies.recipes import hg_dagger, hil_serl, rac, resfit, rlif
from policies.run import Run
from policies.takeovers.budget import LimitedPerson
from policies.takeovers.shared_control import Watched
from policies.takeovers.shared_world import SharedWorld
from robot.rows import row
from tests.gates.three_gates import ThreeGates, hand, handing_person, recovering_person

recovery = load_gate("recovery")
ARMS = ("rac", "hg_dagger", "rlif", "hil_serl", "residual")
LEARN_ALONE = ("hil_serl", "residual")  # once the person's time is over
CELLS = [(arm, seed) for seed in (0, 1, 2) for arm in ARMS]
DEPENDS = [
    *recovery.DEPENDS,
    "benchmarks/gates/recovery.py",
    "policies/actor_policy.py",
    "policies/collection.py",
    "policies/decisions.py",
    "policies/learners/*.py",
    "policies/online.py",
    "policies/recipes/hil_serl.py",
    "policies/recipes/resfit.py",
    "policies/recipes/rlif.py",
    "policies/replay.py",
    "policies/residual_policy.py",
    "policies/takeovers/*.py",
]
HALF_WAY = 0.5  # success whose cost is told


class Counted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A world that counts its steps."""

    ticks = 0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.ticks += 1
        return self.env.step(action)


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Spend the human budget, learn, evaluate alone; `curve` is of [env_steps, success, n, human_ticks]."""
    torch.set_num_threads(1)
    began = time.monotonic()
    untouched, gates = ThreeGates(touch_ends=True), ThreeGates()
    demonstrations = collect_from(untouched, hand(untouched), "gates/three-gates", profile["demos"], seed)
    person: Any = recovering_person(gates) if arm == "rac" else handing_person(gates)
    if arm in LEARN_ALONE:
        person = LimitedPerson(person, profile["human_budget"])
    world = Counted(gates)

    def point(_progress: int, path: Path) -> list[float]:
        found = recovery.alone(load_policy(path), profile["points"])["success"]
        return [world.ticks, found["value"], found["n"], person.driven_ticks]

    with tempfile.TemporaryDirectory() as folder:
        clone = BehaviorCloningConfig(**with_tuples(profile["bc"]))
        base, _ = train_base(demonstrations, clone, Run(Path(folder) / "base", tensorboard=False), seed=seed)
        run = Run(Path(folder) / "run", tensorboard=False)
        state = learn(arm, Watched(world, person), base, demonstrations, profile, run, seed=seed, evaluate=point)
        found = recovery.alone(load_policy(run.policy_path), profile["episodes"])
        before = recovery.alone(base, profile["episodes"])
    return {
        "base_success": before["success"],
        "final_success": found["success"],
        "curve": state.curve,
        "human_ticks": person.driven_ticks,
        "demonstrated_ticks": demonstrations.ticks,
        "env_steps": world.ticks,
        "gradient_updates": state.updates,
        "learning_s": time.monotonic() - began,
    }


def learn(
    arm: str,
    world: Watched,
    base: Any,
    demonstrations: Demonstrations,
    profile: dict[str, Any],
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any],
) -> Any:
    """Run an arm's recipe with its settings; those without a base of their own are given none."""
    budget, settings = {"human_budget": profile["human_budget"]}, with_tuples(profile[arm])
    given: dict[str, tuple[Any, Any, Any, Any]] = {
        "rac": (rac.finetune, world, base, lambda: rac.RaCConfig(**settings, **budget)),
        "hg_dagger": (hg_dagger.finetune, world, base, lambda: hg_dagger.HGDAggerConfig(**settings, **budget)),
        "rlif": (rlif.finetune, world, None, lambda: rlif.RLIFConfig(**settings, **budget)),
        "hil_serl": (hil_serl.finetune, world, None, lambda: hil_serl.HILSERLConfig(**settings)),
        "residual": (resfit.finetune, SharedWorld(world), base, lambda: resfit.ResFiTConfig(**settings)),
    }
    finetune, env, start, config = given[arm]
    return finetune(env, start, demonstrations, config(), run, seed=seed, evaluate=evaluate)


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Tell success, and what half of it cost, best first; hold the human ticks of all methods together."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm in ARMS}
    success = {arm: float(np.mean([cell["final_success"]["value"] for cell in by_arm[arm]])) for arm in ARMS}
    ticks = {arm: float(np.mean([cell["human_ticks"] for cell in by_arm[arm]])) for arm in ARMS}
    base = float(np.mean([cell["base_success"]["value"] for cell in cells]))
    rows = []
    for arm in sorted(ARMS, key=lambda name: -success[name]):
        rows.append(share_row(f"{arm}: success, mean of seeds (told)", success[arm], None, True, base))
        steps = float(np.mean([cell["env_steps"] for cell in by_arm[arm]]))
        rows.append(row(f"{arm}: environment steps (told)", steps, "steps", target=None, ok=True))
        for column, name in ((3, "human ticks"), (0, "environment steps")):
            costs = [cost_of(cell["curve"], column) for cell in by_arm[arm]]
            cost = None if None in costs else float(np.mean(np.array(costs, float)))
            rows.append(row(f"{arm}: {name} until half succeed (told)", cost, "ticks", target=None, ok=True))
    spread = max(ticks.values()) / max(min(ticks.values()), 1.0) - 1.0
    rows.append(share_row("spread of human ticks between arms", spread, targets["spread"], spread <= targets["spread"]))
    return rows


def cost_of(curve: list[list[float]], column: int) -> float | None:
    """Return a column of the first point from which on half of the episodes succeed, None where there is none."""
    below = [index for index, point in enumerate(curve) if point[1] < HALF_WAY]
    first = below[-1] + 1 if below else 0
    return curve[first][column] if first < len(curve) else None
