"""To and from other formats by name; the library of a format is imported when its format is asked for."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from policies.data.episodes import open_episodes
from policies.data.foreign import ImportRules, Outcome, import_episodes
from robot.episode import EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, MissingDependency
from robot.specs import load_station
from robot.types import EndReason

FORMATS = (
    "a LeRobotDataset v3 (folder with meta/info.json), *.hdf5 (robomimic), *.zarr (diffusion policy), *.mcap (bag)"
)


def export(
    store: Path, out: Path, repo_id: str, cameras: Sequence[str] | None, task: str | None, ends: Sequence[EndReason]
) -> dict[str, Any]:
    """Write a LeRobotDataset and tell what went into it."""
    _need_lerobot()
    from policies.data.lerobot_export import export_lerobot

    chosen = open_episodes(store, task=task, end_reasons=ends)
    wanted = chosen.episodes[0].info.cameras if cameras is None else cameras
    print(
        f"exporting {len(chosen.episodes)} episodes with the cameras {', '.join(wanted) or 'none'} to {out}", flush=True
    )
    written = export_lerobot(chosen, out, cameras=wanted, repo_id=repo_id)
    print(
        f"{written.episodes} episodes, {written.frames} frames; left out: {written.left_out_ticks} ticks that executed "
        "no action or came before the first image"
    )
    print(f"next: lerobot-train --dataset.repo_id={repo_id} --dataset.root={out} --dataset.video_backend=pyav ...")
    return {name: getattr(written, name) for name in written.__dataclass_fields__}


def read_in(
    source: Path,
    store: Path,
    *,
    format: str = "auto",
    station: str | None = None,
    task: str = "",
    rate_hz: float | None = None,
    outcome: Outcome = "success",
) -> Iterator[EpisodeInfo]:
    """Yield the episodes of a source as they are sealed in the store; arguments as of `tandem data import`."""
    if not source.exists():
        raise ConfigError(f"{source} does not exist; readable: {FORMATS}")
    kind = _format_of(source) if format == "auto" else format
    rules = ImportRules(load_station(station) if station else None, outcome, source.name)
    print(f"importing {source} ({kind}) into {store}", flush=True)
    target = EpisodeStore(store)
    if kind == "lerobot":
        _need_lerobot()
        from policies.data.lerobot_import import import_lerobot

        yield from import_lerobot(source, target, rules)
    elif kind == "robomimic":
        from policies.data.robomimic import read_robomimic

        yield from import_episodes(target, read_robomimic(source, task=task, rate_hz=rate_hz), rules)
    elif kind == "zarr":
        from policies.data.diffusion_policy_zarr import read_diffusion_policy

        yield from import_episodes(target, read_diffusion_policy(source, task=task, rate_hz=rate_hz), rules)
    else:
        from robot.ros.bag_import import import_bag

        yield from import_bag(source, target, station=rules.station)


def _need_lerobot() -> None:
    if find_spec("lerobot") is None:
        raise MissingDependency(
            "needs lerobot, which has an environment of its own: make install CONSTRAINTS=constraints/lerobot.txt, "
            "then .venv-lerobot/bin/tandem data"
        )


def _format_of(source: Path) -> str:
    name = source.name.lower()
    if (source / "meta" / "info.json").exists():
        return "lerobot"
    if name.endswith((".hdf5", ".h5")):
        return "robomimic"
    if name.endswith((".zarr", ".zarr.zip")):
        return "zarr"
    if name.endswith(".mcap") or (source / "metadata.yaml").exists():
        return "bag"
    raise ConfigError(f"{source}: format not recognised; readable: {FORMATS}; or name it (--format)")
