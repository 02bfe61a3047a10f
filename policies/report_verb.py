"""Turn the folder of a run into one self-contained HTML report.

Reads what verbs left there: `results.json` (of `tandem demo`: one result by step) or `result.json` (of `tandem
finetune`), and the episode stores named in them. A folder with cells of the gate `leaderboard` becomes its page.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from policies.report_leaderboard import build_leaderboard, read_cells
from policies.report_page import page, table, text
from robot.episode import Episode
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.types import Owner
from robot.verb import Verb


@dataclass(frozen=True)
class ReportConfig:
    """Which run, and where the page goes."""

    run: Annotated[Path, tyro.conf.Positional]  # folder of `tandem demo` or `tandem finetune`, or of leaderboard cells
    out: Path | None = None  # default: report.html in the folder


def run(config: ReportConfig) -> dict[str, Any]:
    cells = read_cells(config.run)
    whole = page("leaderboard", build_leaderboard(cells)) if cells else build_page(config.run, read_results(config.run))
    path = config.out or config.run / "report.html"
    print(f"report of {config.run} -> {path}")
    path.write_text(whole)
    print(f"open file://{path.resolve()}")
    return {"report": path.resolve(), "bytes": path.stat().st_size}


VERB = Verb(ReportConfig, run, "Turn the folder of a run into one self-contained HTML report.")


def read_results(folder: Path) -> dict[str, Any]:
    """Return the results of a run folder by step; ConfigError says what a run folder has."""
    if (folder / "results.json").is_file():
        return json.loads((folder / "results.json").read_text())
    if (folder / "result.json").is_file():
        return {"finetune": json.loads((folder / "result.json").read_text())}
    raise ConfigError(f"{folder} has no results.json and no result.json: give the folder that demo or finetune printed")


def build_page(folder: Path, results: Mapping[str, Any]) -> str:
    """Return the HTML; everything it shows is inside it."""
    parts = [
        *_headline(results),
        *_curves(results),
        *_episodes(results),
        *_provenance(results),
        *_places(folder, results),
    ]
    return page("report", parts)


def _headline(results: Mapping[str, Any]) -> Iterable[str]:
    tuned = results["finetune"]
    yield f"<h1>{text(tuned.get('env', 'run'))}: {text(tuned.get('recipe', 'finetune'))}</h1>"
    rows = [] if tuned["base_success"] is None else [("base, lock-step", tuned["base_success"])]
    rows += [("finetuned, lock-step", tuned["final_success"])]
    rows += [(name, results[key]["success"]) for key, name in GRAPH_STEPS.items() if "success" in results.get(key, {})]
    cells = "".join(f"<figure><div class=big>{100 * s['value']:.1f} %</div><figcaption>{text(name)}<br>"
                    f"95 % {100 * s['low']:.1f} to {100 * s['high']:.1f}, n = {s['n']}</figcaption></figure>"
                    for name, s in rows)  # fmt: skip
    yield f"<div class=row>{cells}</div>"
    cost = [(key, tuned[key]) for key in ("env_steps", "gradient_updates", "human_ticks", "wall_s") if key in tuned]
    yield table([(key.replace("_", " "), f"{value:,.0f}") for key, value in cost])


GRAPH_STEPS = {"graph_base": "base, through the graph", "graph_final": "finetuned, through the graph"}


def _curves(results: Mapping[str, Any]) -> Iterable[str]:
    from policies.report_figures import success_curve

    tuned = results["finetune"]
    yield "<h2>Learning curve</h2>"
    base = (tuned["base_success"] or {}).get("value")
    yield success_curve(tuned["curve"], base, "success while learning, 95 % Wilson intervals")


def _episodes(results: Mapping[str, Any]) -> Iterable[str]:
    """Show before and after as videos, then timing of every episode that went through the graph."""
    from policies.report_video import OWNER_RGB

    stores = [(name, results[key]["store"]) for key, name in EPISODE_STEPS.items() if "store" in results.get(key, {})]
    if not stores:
        return
    yield "<h2>Before and after, through the graph</h2><div class=key>in control:"
    for owner in (Owner.POLICY, Owner.HUMAN, Owner.HOLD):
        yield f"<span style='background:rgb{OWNER_RGB[owner]}'></span>{owner.name.lower()}"
    yield "</div><div class=row>"
    recorded = [(name, list(_load_all(Path(store)))) for name, store in stores]
    for name, episodes in recorded:
        if episodes:
            yield _video(name, _most_telling(episodes))
    yield "</div>"
    yield from _timing([episode for _, episodes in recorded for episode in episodes])


EPISODE_STEPS = {"record_graph": "demonstration", **GRAPH_STEPS, "graph_takeover": "finetuned, with a takeover"}


def _load_all(root: Path) -> Iterable[Episode]:
    store = EpisodeStore(root)
    for info in store.episodes():
        if info.steps > 2 and info.cameras:
            yield store.load(info.episode_id)


def _most_telling(episodes: Sequence[Episode]) -> Episode:
    """Prefer an episode in which control changed hands."""
    return max(episodes, key=lambda episode: len(np.unique(episode.columns["owner"])))


def _video(name: str, episode: Episode) -> str:
    from policies.report_video import encode_episode

    times = episode.columns["tick_time_ns"]
    rate_hz = 1e9 / float(np.median(np.diff(times)))
    data = base64.b64encode(encode_episode(episode, rate_hz=rate_hz)).decode()
    caption = f"{name}: {episode.end_reason.name.lower()}, {len(episode)} ticks, {episode.info.episode_id}"
    return (f"<figure><img alt='{text(name)}' src='data:image/webp;base64,{data}'>"
            f"<figcaption>{text(caption)}</figcaption></figure>")  # fmt: skip


def _timing(episodes: Sequence[Episode]) -> Iterable[str]:
    from policies.report_figures import histogram

    periods = np.concatenate([np.diff(episode.columns["tick_time_ns"]) / 1e6 for episode in episodes])
    misses = sum(int(episode.columns["deadline_miss"].sum()) for episode in episodes)
    ages = {name: age for name, age in _ages_ms(episodes).items() if len(age)}
    yield "<h2>Loop timing and ages, through the graph</h2>"
    yield table(
        [("", "p50", "p99", "max"), ("tick period [ms]", *_spread(periods))]
        + [(f"age of {name} [ms]", *_spread(age)) for name, age in ages.items()]
        + [("late ticks", f"{misses} of {sum(map(len, episodes))}", "", "")]
    )
    yield "<div class=row>" + histogram(periods.tolist(), "tick period")
    yield "".join(histogram(age.tolist(), f"age of {name}") for name, age in ages.items()) + "</div>"


def _ages_ms(episodes: Sequence[Episode]) -> dict[str, np.ndarray]:
    """Return how old each stream was at its tick, over all episodes."""
    ages: dict[str, list[np.ndarray]] = {}
    for episode in episodes:
        columns = episode.columns
        for name in columns:
            if name.startswith("time_ns/"):
                ages.setdefault(name.removeprefix("time_ns/"), []).append(
                    (columns["tick_time_ns"] - columns[name]) / 1e6
                )
    return {name: np.concatenate(parts) for name, parts in ages.items()}


def _spread(values: np.ndarray) -> tuple[str, str, str]:
    p50, p99 = np.percentile(values, [50, 99])
    return f"{p50:.1f}", f"{p99:.1f}", f"{values.max():.1f}"


def _provenance(results: Mapping[str, Any]) -> Iterable[str]:
    """List every hash that any step reported."""
    rows = [
        (f"{step}: {key.replace('_', ' ')}", f"<code>{text(value)}</code>")
        for step, result in results.items()
        if isinstance(result, Mapping)
        for key, value in result.items()
        if "sha256" in key or key.endswith("_hash")
    ]
    yield "<h2>Hashes of demonstrations and checkpoints</h2>"
    yield table(rows, is_html=True)


def _places(folder: Path, results: Mapping[str, Any]) -> Iterable[str]:
    yield "<h2>Where everything is</h2>"
    rows = [("this run", str(folder.resolve()))]
    for step, result in results.items():
        if isinstance(result, Mapping):
            rows += [
                (f"{step}: {key}", str(value))
                for key, value in result.items()
                if key in ("store", "run", "policy", "report", "page", "checkpoint", "base_checkpoint")
            ]
    yield table(rows)
