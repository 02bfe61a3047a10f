"""`tandem imagine compare`: does imagined success rank policies as true success does (A13)?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from policies.checkpoint import load_policy
from policies.evaluation import Evaluation, evaluate
from policies.imagined import env_in
from policies.run import new_folder, write_json
from policies.starts import evaluation_starts
from robot.checkpoint_file import find_policy
from robot.errors import ConfigError
from robot.machine import machine
from world_models.acceptance.rows import Report, in_words, read_targets
from world_models.exchange import exchange
from world_models.loading import load_world_model
from world_models.metrics.ranking import MIN_POLICIES, Ranking, rank
from world_models.trust import read_trust

EPISODES = 48


@dataclass(frozen=True)
class ComparePolicies:
    """Evaluate policies in imagination and in the true world from the same starts, and compare the two orders."""

    model: tyro.conf.Positional[Path]
    """A run folder of `tandem imagine train`."""
    policies: tuple[Path, ...] = ()
    """Policy files or run folders, at least eight: with three a test proves nothing."""
    env: str = ""
    """The true world; the model's own task by default."""
    episodes: int = EPISODES
    exchanged: int = 0
    """Starts of each policy at which the worlds are also given each other's actions, to tell why they part."""
    tier: str = "cpu"
    out: Path | None = None
    """Folder for result.json and the scatter plot; None: a new one under runs/."""

    def __post_init__(self) -> None:
        if len(self.policies) < MIN_POLICIES or self.episodes < 1 or self.exchanged < 0:
            raise ConfigError(
                f"a ranking needs at least {MIN_POLICIES} policies and 1 episode of each, exchanged >= 0; got "
                f"{len(self.policies)}, {self.episodes} and {self.exchanged}"
            )

    def run(self) -> dict[str, Any]:
        """Evaluate every policy twice, compare, draw."""
        torch.set_num_threads(1)
        env = self.env or f"tandem/{load_world_model(self.model).spec.task}"
        world, starts = env_in("imagined", env, self.model), evaluation_starts(self.episodes)
        out = self.out or new_folder(Path("runs"), "imagine-compare")
        out.mkdir(parents=True, exist_ok=True)
        print(f"imagine compare: {len(self.policies)} policies, {self.episodes} starts each, into {out}")
        paths = [find_policy(path) for path in self.policies]
        imagined, true = ([evaluate(place, path, starts) for path in paths] for place in (world, env))
        report = Report(read_targets(self.tier))
        found = rank(*(np.array([item.success.value for item in side]) for side in (imagined, true)))
        add_ranking(found, report)
        for row in report.rows:
            print(in_words(row), flush=True)
        exchanged = self._exchange(paths, env)
        plot = draw_scatter(out / "ranking.png", imagined, true)
        result = {
            "name": "imagine-compare",
            "ok": not report.failed(),
            "rows": report.rows,
            "policies": [
                {"policy": path, "imagined": asdict(first.success), "true": asdict(second.success)}
                for path, first, second in zip(paths, imagined, true, strict=True)
            ],
            "exchanged": exchanged,
            "plot": plot,
            "machine": machine(),
        }
        write_json(out / "result.json", result)
        return result

    def _exchange(self, paths: Sequence[Path], env: str) -> list[dict[str, Any]]:
        """Return, per policy, which share of the first starts is solved in which of four ways; print it."""
        if not self.exchanged:
            return []
        model, trust, found = load_world_model(self.model), read_trust(self.model), []
        for path in paths:
            starts = evaluation_starts(self.exchanged)
            shares = exchange(model, trust, load_policy(path), env, starts).shares()
            print(f"{path}: " + ", ".join(f"{name} {value:.2f}" for name, value in shares.items()), flush=True)
            found.append({"policy": path, "n": self.exchanged} | shares)
        return found


def add_ranking(found: Ranking, report: Report) -> None:
    """Add the rows of A13."""
    report.add("A13", "Spearman", found.spearman, "", key="spearman")
    report.add("A13", "Kendall", found.kendall, "", key="kendall")
    report.add("A13", "Pearson", found.pearson, "")
    report.add("A13", "mean maximum rank violation", found.mmrv, "share")
    report.add("A13", "mean gap", found.mean_gap, "share", key="gap_max")
    report.add("A13", "mean imagined minus true", found.mean_bias, "share")


def draw_scatter(path: Path, imagined: Sequence[Evaluation], true: Sequence[Evaluation]) -> Path:
    """Draw imagined over true success with both Wilson intervals; return the file."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.5, 4.5))
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for first, second in zip(imagined, true, strict=True):
        x, y = second.success, first.success
        axes.errorbar(
            [x.value],
            [y.value],
            xerr=[[x.value - x.low], [x.high - x.value]],
            yerr=[[y.value - y.low], [y.high - y.value]],
            fmt="o",
            color="tab:blue",
        )
    axes.set(xlabel="true success", ylabel="imagined success", xlim=(0, 1), ylim=(0, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
