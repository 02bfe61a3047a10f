"""The curves of a training run as one PNG: success in the loop, and every metric that was logged."""

import json
from pathlib import Path

from policies.run import Run

SPEED = "updates_per_s"


def read_metrics(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return each metric's (step, value) pairs in order of steps; of a step that was logged twice the last counts."""
    path = folder / Run.METRICS
    rows: dict[int, dict[str, float | None]] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        row = json.loads(line)
        rows.setdefault(int(row.pop("step")), {}).update(row)
    series: dict[str, list[tuple[int, float]]] = {}
    for step in sorted(rows):
        for name, value in rows[step].items():
            if value is not None:
                series.setdefault(name, []).append((step, value))
    return series


def draw_curves(folder: Path) -> Path | None:
    """Write `curves.png` into a run folder and return its path; None where nothing was logged."""
    from policies.report_figures import draw_success, plt  # matplotlib takes a second to load

    curve_file = folder / "curve.json"
    curve = json.loads(curve_file.read_text())["curve"] if curve_file.is_file() else []
    series = read_metrics(folder)
    series.pop("success", None)  # drawn with its intervals
    names = sorted(series, key=lambda name: (name == SPEED, name))
    count = len(names) + bool(curve)
    if count == 0:
        return None
    rows = -(-count // 2)
    figure, grid = plt.subplots(rows, 2, figsize=(10.0, 2.6 * rows), squeeze=False)
    places = list(grid.flat)
    if curve:
        axes = places.pop(0)
        draw_success(axes, curve)
        axes.set_title("success in the loop, 95 % intervals")
    for name in names:
        axes = places.pop(0)
        axes.plot(*zip(*series[name], strict=True), lw=1)
        axes.set_title(name.replace("_", " "))
    for axes in places:
        axes.set_axis_off()
    figure.tight_layout()
    path = folder / "curves.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path
