"""Figures of a report, as inline SVG."""

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robot.evaluation import wilson

BLUE, GREY, RED = "#3478f6", "#8a8f98", "#d94a4a"


def success_curve(curve: Sequence[Sequence[float]], base: float | None, title: str) -> str:
    """Draw success over env steps with Wilson intervals and the worst point after the start.

    Args:
        curve: rows of (env_steps, success, n).
        base: success of the untouched base, drawn as a line; None: there is none.
        title: above the figure.
    """
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    draw_success(axes, curve)
    if base is not None:
        axes.axhline(base, color=GREY, ls="--", lw=1, label=f"base {100 * base:.0f} %")
    axes.set(xlabel="env steps", title=title)
    axes.legend(frameon=False, loc="lower right")
    return _svg(figure)


def draw_success(axes: Axes, curve: Sequence[Sequence[float]]) -> None:
    """Draw rows of (steps, success, n) with their Wilson intervals; the worst point after the start is marked."""
    steps, values = [row[0] for row in curve], [row[1] for row in curve]
    bounds = [wilson(round(success * n), int(n)) for _, success, n in curve]
    axes.fill_between(steps, [low for low, _ in bounds], [high for _, high in bounds], color=BLUE, alpha=0.18, lw=0)
    axes.plot(steps, values, color=BLUE, marker="o", ms=4)
    if len(curve) > 1:
        worst = min(range(1, len(curve)), key=values.__getitem__)
        axes.plot(steps[worst], values[worst], "v", color=RED, ms=9, label=f"worst {100 * values[worst]:.0f} %")
    axes.set(ylabel="success", ylim=(-0.02, 1.02))


def success_of_methods(lines: Mapping[str, Sequence[Sequence[tuple[float, float]]]], xlabel: str) -> str:
    """Draw success of several methods, one colour each; every line is one seed's points (cost, success)."""
    figure, axes = plt.subplots(figsize=(5.4, 3.4))
    for index, (name, seeds) in enumerate(lines.items()):
        for place, points in enumerate(seeds):
            label = name if place == 0 else None
            axes.plot(*zip(*points, strict=True), color=f"C{index}", marker="o", ms=3, label=label)
    axes.set(xlabel=xlabel, ylabel="success", ylim=(-0.02, 1.02))
    axes.legend(frameon=False)
    return _svg(figure)


def histogram(values_ms: Sequence[float], title: str, unit: str = "ms") -> str:
    """Draw how a time is spread."""
    figure, axes = plt.subplots(figsize=(3.5, 2.2))
    axes.hist(values_ms, bins=40, color=BLUE)
    axes.set(xlabel=unit, title=title)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    out = io.StringIO()
    figure.tight_layout()
    figure.savefig(out, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]
