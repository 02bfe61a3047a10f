"""Early warning: is a person told before a takeover is needed, and is recovery told from correction without a key?

Arms, all on the chain of three narrow gates (T4) with a clone that nobody corrected yet: `warning`, a forecast learned
from recorded takeovers, its threshold chosen on other episodes, judged on episodes it never saw; `shuffled`, the same
with takeovers ascribed to ticks at random, which must foresee little; `split`, the person of RaC, whose marks the split
by demonstrated time is held against, beside one by time indices in random order.
"""

import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gate_parts import share_row
from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.data.demonstrations import collect_from
from policies.observations import flatten
from policies.presets import with_tuples
from policies.run import Run
from policies.starts import start_seed
from policies.takeovers.labels import recovery_share
from policies.takeovers.rounds import RolledOut
from policies.takeovers.shared_control import AT_WILL, RECOVER_FIRST, Watched, make_control
from policies.takeovers.splitting import DemonstratedTime, agreement, recovery_of
from policies.takeovers.warning import forecast as forecasts
from policies.takeovers.warning.forecast import ForecastConfig, TakeoverForecast, recorded_rows
from policies.takeovers.warning.foresight import calibration_error, foresee, lowest_threshold
from robot.rows import row
from robot.types import Segment
from tests.gates.three_gates import RATE_HZ, ThreeGates, hand, handing_person, recovering_person

ARMS = ("warning", "shuffled", "split")
CELLS = [(arm, seed) for seed in (0, 1, 2) for arm in ARMS]
DEPENDS = [
    "tests/gates/three_gates.py",
    "robot/operator/person.py",
    "robot/ownership.py",
    "sim/people/*.py",
    "policies/base/behavior_cloning.py",
    "policies/data/chunks.py",
    "policies/data/demonstrations.py",
    "policies/learners/supervised.py",
    "policies/normalization.py",
    "policies/starts.py",
    "policies/steerable.py",
    "policies/takeovers/labels.py",
    "policies/takeovers/shared_control.py",
    "policies/takeovers/splitting.py",
    "policies/takeovers/success.py",
    "policies/takeovers/ticks.py",
    "policies/takeovers/warning/*.py",
    "policies/training.py",
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Clone, roll the clone out under the arm's person, and judge what is made of the record."""
    torch.set_num_threads(1)
    began = time.monotonic()
    untouched, gates = ThreeGates(touch_ends=True), ThreeGates()
    demonstrations = collect_from(untouched, hand(untouched), "gates/three-gates", profile["demos"], seed)
    clone = BehaviorCloningConfig(**with_tuples(profile["bc"]))
    with tempfile.TemporaryDirectory() as folder:
        base, _ = train_base(demonstrations, clone, Run(Path(folder), tensorboard=False), seed=seed)
    if arm == "split":
        watched = watch(gates, recovering_person(gates), base, starts(seed, 0, profile["tested"]), RECOVER_FIRST)
        found = split(watched, DemonstratedTime(demonstrations.trajectories, base.states), seed)
    else:
        parts = [profile["learned"], profile["chosen"], profile["tested"]]
        first = np.cumsum([0, *parts])
        person = handing_person(gates)
        sets = [watch(gates, person, base, starts(seed, *ends)) for ends in pairwise(first)]
        found = warn(
            sets, ForecastConfig(**with_tuples(profile["forecast"])), profile, seed, shuffled=arm == "shuffled"
        )
    return {**found, "wall_learning_s": time.monotonic() - began}


def starts(seed: int, first: int, end: int) -> list[int]:
    """Return starts of one seed's recordings."""
    return [start_seed("training", seed, index) for index in range(first, end)]


def watch(world: ThreeGates, person: Any, policy: Any, seeds: Sequence[int], rules: Any = AT_WILL) -> list[RolledOut]:
    """Roll the policy out under a person's eyes, one episode from each start."""
    control, shapes = make_control(Watched(world, person), rules), world.interface.observation_shapes
    episodes = []
    for start in seeds:
        seen = control.reset(start)
        states, records, is_over = [flatten(seen, shapes)], [], False
        while not is_over:
            seen, record = control.step(policy.act(seen).actions[0])
            states.append(flatten(seen, shapes))
            records.append(record)
            is_over = record.terminated or record.truncated
        episodes.append(RolledOut(np.array(states), records, []))
    return episodes


def warn(
    sets: list[list[RolledOut]], config: ForecastConfig, profile: dict[str, Any], seed: int, *, shuffled: bool
) -> dict[str, Any]:
    """Learn from the first set, choose the threshold on the second, judge on the third."""
    learned, chosen, tested = sets
    if shuffled:
        shuffle_labels(seed)
    forecast = TakeoverForecast.fit(learned, config, seed=seed)
    forecasts.recorded_rows = recorded_rows
    limit = profile["false_alarms_per_min"]
    threshold = lowest_threshold(forecast, chosen, RATE_HZ, false_alarms_per_min=limit)
    risks = [forecast.risks(episode) for episode in tested]
    found = foresee(tested, risks, threshold, RATE_HZ)
    return {
        "takeovers": len(found.leads_s),
        "warned": found.warned(profile["lead_s"]),
        "median_lead_s": found.median_lead_s,
        "false_alarms_per_min": found.false_alarms_per_min,
        "policy_s": found.policy_s,
        "threshold": threshold,
        "calibration_error": calibration_error(forecast, *recorded_rows(tested, config)),
    }


def shuffle_labels(seed: int) -> None:
    """Ascribe takeovers to ticks at random, in this process alone."""

    def shuffled(episodes: Sequence[Any], config: ForecastConfig) -> tuple[np.ndarray, np.ndarray]:
        rows, is_near = recorded_rows(episodes, config)
        return rows, np.random.default_rng([seed, 40]).permutation(is_near)

    forecasts.recorded_rows = shuffled


def split(watched: list[RolledOut], times: DemonstratedTime, seed: int) -> dict[str, Any]:
    """Return the agreement of the split with the person's marks, over all ticks that they drove."""
    rng = np.random.default_rng([seed, 41])
    found, jumbled, marked = [], [], []
    for episode in watched:
        ticks = episode.ticks
        for intervention in np.unique(ticks.intervention_id[ticks.is_human]):
            mine = np.flatnonzero(ticks.is_human & (ticks.intervention_id == intervention))
            index = times.of(episode.states[mine])
            found.append(recovery_of(index))
            jumbled.append(recovery_of(rng.permutation(index)))
            marked.append(ticks.segment[mine] == Segment.RECOVERY)
    return {
        "agreement": agreement(np.concatenate(found), np.concatenate(marked)),
        "agreement_jumbled": agreement(np.concatenate(jumbled), np.concatenate(marked)),
        "interventions": len(marked),
        "recovery_share": float(np.nanmean([recovery_share(episode.ticks) for episode in watched])),
    }


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold warnings, false alarms and calibration, and the agreement of the split, means of seeds."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm in ARMS}

    def mean(arm: str, name: str) -> float:
        return float(np.mean([cell[name] for cell in by_arm[arm]]))

    warned, control = mean("warning", "warned"), mean("shuffled", "warned")
    alarms, error = mean("warning", "false_alarms_per_min"), mean("warning", "calibration_error")
    agreed, jumbled = mean("split", "agreement"), mean("split", "agreement_jumbled")
    limit = targets["false_alarms_per_min"]
    return [
        share_row("takeovers warned of 0.5 s before", warned, targets["warned"], warned >= targets["warned"]),
        share_row("shuffled: the same", control, targets["shuffled"], control <= targets["shuffled"]),
        row("warnings for nothing", alarms, "1/min", target=limit, ok=alarms <= limit),
        row("median lead (told)", mean("warning", "median_lead_s"), "s", target=None, ok=True),
        share_row("calibration error of the risk", error, targets["calibration"], error <= targets["calibration"]),
        share_row("split: F1 with the person's marks", agreed, targets["agreement"], agreed >= targets["agreement"]),
        share_row("split by jumbled times (told)", jumbled, None, True),
    ]
