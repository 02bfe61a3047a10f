"""The leaderboard as a page: success at equal human time, against human ticks and against environment steps."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policies.report_page import table

Cells = Mapping[str, Sequence[Mapping[str, Any]]]
AXES = ((3, "human ticks"), (0, "environment steps"))  # columns of a curve's points


def read_cells(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the cells of the gate `leaderboard` in a folder by arm, most successful first; none: an empty dict."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("leaderboard-*.json")):
        cell = json.loads(path.read_text())
        found.setdefault(cell["arm"], []).append(cell)
    return dict(sorted(found.items(), key=lambda item: -mean_of(item[1], "final_success")))


def mean_of(cells: Iterable[Mapping[str, Any]], key: str) -> float:
    """Return the mean over cells of a number, or of a share that is told with its interval."""
    values = [cell[key] for cell in cells]
    return float(np.mean([value["value"] if isinstance(value, Mapping) else value for value in values]))


def build_leaderboard(cells: Cells) -> Iterable[str]:
    """Return the parts of the page: a table, and a figure for each axis; a line is a seed."""
    from policies.report_figures import success_of_methods

    yield "<h1>Learning from takeovers at equal human time</h1>"
    head = ("", "success", "its clone", "episodes", "seeds", "human ticks", "environment steps")
    yield table([head, *(_row(arm, mine) for arm, mine in cells.items())])
    yield "<div class=row>"
    for column, name in AXES:
        lines = {arm: [[(p[column], p[1]) for p in cell["curve"]] for cell in mine] for arm, mine in cells.items()}
        yield success_of_methods(lines, name)
    yield "</div>"


def _row(arm: str, cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    shares = (f"{100 * mean_of(cells, key):.0f} %" for key in ("final_success", "base_success"))
    episodes = sum(cell["final_success"]["n"] for cell in cells)
    spent = (f"{mean_of(cells, key):,.0f}" for key in ("human_ticks", "env_steps"))
    return (arm, *shares, str(episodes), str(len(cells)), *spent)
