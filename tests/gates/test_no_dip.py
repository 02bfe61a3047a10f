"""The no-dip gate judges what it says: intervals wholly below, late learners, and an unguarded arm without a dip."""

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import gates  # noqa: E402

TARGETS = {"dip": -0.05, "delay": 1.25}
LEARNS = [[0, 0.4, 200, 0.0, -0.02, 0.02], [3000, 0.95, 200, 0.55, 0.45, 0.6]]
DIPS = [[0, 0.4, 200, 0.0, -0.02, 0.02], [2500, 0.2, 200, -0.2, -0.28, -0.12], [3000, 0.95, 200, 0.55, 0.45, 0.6]]
LATE = [[0, 0.4, 200, 0.0, -0.02, 0.02], [3000, 0.5, 200, 0.1, 0.0, 0.2], [4000, 0.95, 200, 0.55, 0.45, 0.6]]


def verdicts(guarded: list[list[float]], unguarded: list[list[float]]) -> dict[str, bool]:
    gate: Any = gates.load_gate("no_dip")
    curves = {"guarded": guarded, "unguarded": unguarded}
    cells = [
        {"arm": f"{task}-{kind}", "seed": 0, "curve": curve} for task in gate.TASKS for kind, curve in curves.items()
    ]
    rows = gate.judge(cells, TARGETS)
    return {row["metric"].partition(": ")[2]: row["ok"] for row in rows}


@pytest.mark.parametrize(
    ("guarded", "unguarded", "missed"),
    [
        (LEARNS, DIPS, set()),
        (DIPS, DIPS, {"upper end of the worst paired interval"}),
        (LATE, DIPS, {"steps to 90 %"}),
        (LEARNS[:1], LEARNS, {"steps to 90 %", "unguarded falls below its base"}),
    ],
)
def test_each_line_is_missed_by_its_own_fault_alone(
    guarded: list[list[float]], unguarded: list[list[float]], missed: set[str]
) -> None:
    assert {metric for metric, ok in verdicts(guarded, unguarded).items() if not ok} == missed
