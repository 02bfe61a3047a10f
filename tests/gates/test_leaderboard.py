"""What the leaderboard says of a curve, and of cells whose people did not work equally long."""

from typing import Any

import pytest

from benchmarks.gates import load_gate, targets_of

leaderboard = load_gate("leaderboard")


def test_half_way_counts_from_where_success_stays_there() -> None:
    dips = [[0, 0.6, 50, 0], [500, 0.2, 50, 200], [1000, 0.5, 50, 400], [1500, 0.9, 50, 600]]
    assert leaderboard.cost_of(dips, 0) == 1000
    assert leaderboard.cost_of(dips, 3) == 400
    assert leaderboard.cost_of(dips[:1], 0) == 0
    assert leaderboard.cost_of(dips[:2], 0) is None


@pytest.mark.parametrize(("ticks_of_one", "holds"), [(640, True), (700, False)])
def test_the_best_comes_first_and_human_ticks_are_held_together(ticks_of_one: int, holds: bool) -> None:
    def cell(arm: str, success: float) -> dict[str, Any]:
        ticks = ticks_of_one if arm == "rac" else 600
        told = {"base_success": {"value": 0.4}, "final_success": {"value": success}, "env_steps": 5000}
        return told | {"arm": arm, "human_ticks": ticks, "curve": [[0, 0.4, 50, 0], [5000, success, 50, ticks]]}

    cells = [cell(arm, 0.1 * place) for place, arm in enumerate(leaderboard.ARMS)]
    rows = leaderboard.judge(cells, targets_of("leaderboard"))
    told = [row["metric"].split(":")[0] for row in rows if "success" in row["metric"]]
    assert told == list(reversed(leaderboard.ARMS))
    assert rows[-1]["ok"] == holds
    assert all(row["value"] is None for row in rows if "until half" in row["metric"]), "none of them gets there"
