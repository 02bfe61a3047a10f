"""Helped reach: RLIF and HG-DAgger on Meta-World's reach under a biased and a sound operator (T2), and HIL-SERL (T3).

Arms of T2, in a world that goes on after success: `rlif`, `hg_dagger`, and `rlif_sound`, `hg_dagger_sound` with an
operator without bias. Arms of T3, success ends the episode and pays 1: `hil_serl`, whose operator watches three
episodes in ten; `hil_serl_alone`, without operator and without demonstrations in its batches; `hil_serl_no_half`,
without demonstrations in its batches.
"""

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gate_parts import share_row, success_curve
from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.checkpoint import load_policy
from policies.data.demonstrations import Demonstrations, demonstrate
from policies.evaluation import Evaluation, roll_out_all
from policies.presets import with_tuples
from policies.recipes import hg_dagger, hil_serl, rlif
from policies.run import Run
from policies.starts import evaluation_starts, start_seed
from policies.takeovers.collector import TakeoverCollector
from policies.takeovers.shared_control import Watched
from robot.types import Owner
from tests.gates.helped_reach import REACH, hand, person, reach_world

T2 = ("rlif", "hg_dagger", "rlif_sound", "hg_dagger_sound")
T3 = ("hil_serl", "hil_serl_alone", "hil_serl_no_half")
CELLS = [(arm, seed) for seed in (0, 1, 2) for arm in (*T2, *T3)]
DEPENDS = [
    "tests/gates/helped_reach.py",
    "robot/operator/person.py",
    "robot/ownership.py",
    "sim/people/*.py",
    "sim/suites/metaworld.py",
    "policies/actor_policy.py",
    "policies/base/behavior_cloning.py",
    "policies/data/chunks.py",
    "policies/decisions.py",
    "policies/learners/critics.py",
    "policies/learners/sac.py",
    "policies/learners/squashed_gaussian.py",
    "policies/learners/supervised.py",
    "policies/learners/temperature.py",
    "policies/learners/value_heads.py",
    "policies/normalization.py",
    "policies/online.py",
    "policies/recipes/hg_dagger.py",
    "policies/recipes/hil_serl.py",
    "policies/recipes/rlif.py",
    "policies/recipes/sac.py",
    "policies/replay.py",
    "policies/starts.py",
    "policies/takeovers/*.py",
    "policies/training.py",
]
THIRDS = 3


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Learn with the arm's operator, then evaluate alone; `human_share` is that of each third of the learning."""
    torch.set_num_threads(1)
    is_sound, goes_on = arm.endswith("_sound") or arm in T3, arm in T2
    lapse = profile["unwatched"] if arm in T3 else 0.0
    somebody = person(biased=not is_sound, lapse=lapse, watches=arm != "hil_serl_alone")
    demonstrations = shown(profile["demos"], seed, is_sound=is_sound, goes_on=goes_on)
    began = time.monotonic()
    counted = count_owners()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", tensorboard=False)
        state = _learn(arm, seed, profile, Watched(reach_world(goes_on=goes_on), somebody), demonstrations, run)
        starts = evaluation_starts(profile["episodes"])
        after = Evaluation(tuple(roll_out_all(reach_world(), load_policy(run.policy_path), starts)))
    thirds = np.array_split(np.array(counted, float), THIRDS) if counted else []
    return {
        "final_success": asdict(after.success),
        "human_ticks": somebody.driven_ticks,
        "human_share": [float(part.mean()) for part in thirds],
        "curve": state.curve,
        "gradient_updates": state.updates,
        "learning_s": time.monotonic() - began,
    }


def _learn(arm: str, seed: int, profile: dict[str, Any], world: Any, shown: Demonstrations, run: Run) -> Any:
    common = {"seed": seed, "evaluate": success_curve(reach_world, profile["points"])}
    if arm.startswith("hg_dagger"):
        clone = BehaviorCloningConfig(**with_tuples(profile["bc"]))
        base, _ = train_base(shown, clone, Run(run.folder / "base", tensorboard=False), seed=seed)
        config: Any = hg_dagger.HGDAggerConfig(**profile["hg_dagger"])
        return hg_dagger.finetune(world, base, shown, config, run, **common)
    if arm.startswith("rlif"):
        return rlif.finetune(world, None, shown, rlif.RLIFConfig(**with_tuples(profile["rlif"])), run, **common)
    changes: dict[str, Any] = {} if arm == "hil_serl" else {"demo_fraction": 0.0}
    config = hil_serl.HILSERLConfig(**with_tuples(profile["hil_serl"]) | changes)
    return hil_serl.finetune(world, None, shown, config, run, **common)


def shown(count: int, seed: int, *, is_sound: bool, goes_on: bool) -> Demonstrations:
    """Return episodes of the arm's operator, failed ones too."""
    env, hands = reach_world(goes_on=goes_on), hand(biased=not is_sound)
    kept = [demonstrate(env, hands, start_seed("demonstration", seed, index)) for index in range(count)]
    interface: Any = env.unwrapped.interface  # type: ignore[attr-defined]
    box = np.ones(len(interface.action_names))
    shapes = dict(interface.observation_shapes)
    return Demonstrations(REACH, shapes, interface.action_names, -box, box, interface.rate_hz, kept, count)


def count_owners() -> list[bool]:
    """Return a list that grows by whether a person drove, tick by tick of an off-policy learner."""
    counted: list[bool] = []
    tick = TakeoverCollector._tick

    def counting(self: TakeoverCollector, command: np.ndarray) -> Any:
        found = tick(self, command)
        counted.append(self._records[-1].owner is Owner.HUMAN)
        return found

    TakeoverCollector._tick = counting  # type: ignore[method-assign]
    return counted


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the acceptance of T2 and T3, means of seeds."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm in (*T2, *T3)}
    mean = {arm: float(np.mean([cell["final_success"]["value"] for cell in by_arm[arm]])) for arm in by_arm}
    gap = mean["rlif"] - mean["hg_dagger"]
    shares = np.mean([cell["human_share"] for cell in by_arm["rlif"]], axis=0)
    sound = abs(mean["rlif_sound"] - mean["hg_dagger_sound"])
    falls = float(shares[-1] / max(shares[0], 1e-9))
    rows = [
        share_row("rlif", mean["rlif"], targets["rlif"], mean["rlif"] >= targets["rlif"]),
        share_row("hg_dagger", mean["hg_dagger"], targets["hg_dagger"], mean["hg_dagger"] <= targets["hg_dagger"]),
        share_row("rlif above hg_dagger", gap, targets["gap"], gap >= targets["gap"]),
        share_row("rlif: last third of takeovers by first", falls, targets["falls"], falls <= targets["falls"]),
        share_row(
            "sound operator: difference", sound, targets["sound_difference"], sound <= targets["sound_difference"]
        ),
    ]
    for arm in ("rlif_sound", "hg_dagger_sound", "hil_serl"):
        rows.append(share_row(arm, mean[arm], targets[arm], mean[arm] >= targets[arm]))
    for arm in ("hil_serl_alone", "hil_serl_no_half"):
        loss = mean["hil_serl"] - mean[arm]
        rows.append(share_row(f"hil_serl above {arm}", loss, targets[f"above_{arm}"], loss >= targets[f"above_{arm}"]))
    return rows
