"""Look through, sort, convert and cache recorded episodes. Nothing recorded is ever deleted or changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from policies.data import exchange
from policies.data.contact_sheet import write_sheet
from policies.data.score import OUTLIER, score
from robot.curation import copy_episodes, drop, read_flags, restore, set_flags
from robot.episode import EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.outcome_labels import read_labels
from robot.types import EndReason
from robot.verb import Verb, progress


@dataclass(frozen=True)
class Stored:
    """A store and which of its episodes; without names all that are not discarded."""

    store: tyro.conf.Positional[Path]
    """Folder of the episode store."""
    episodes: tuple[str, ...] = ()
    """Ids of the episodes meant."""
    task: str | None = None
    """Only episodes of this task."""

    def open(self) -> EpisodeStore:
        if not (self.store / "episodes").is_dir() and not (self.store / "open").is_dir():
            raise ConfigError(f"{self.store} is no episode store (a folder with episodes/ or open/); record one first")
        return EpisodeStore(self.store)

    def infos(self, store: EpisodeStore) -> list[EpisodeInfo]:
        if self.episodes:
            infos = [store.load(name).info for name in self.episodes]
        else:
            infos = [info for info in store.episodes() if not info.is_discarded]
        return [info for info in infos if self.task in (None, info.task)]


@dataclass(frozen=True)
class List(Stored):
    """List episodes: length, end, cameras, flags."""

    def run(self) -> dict[str, Any]:
        store = self.open()
        flags, labels = read_flags(self.store), read_labels(self.store)
        infos = self.infos(store) if self.episodes else [i for i in store.episodes() if self.task in (None, i.task)]
        rows = [_facts(info) | {"flag": flags[i].note if (i := info.episode_id) in flags else None} for info in infos]
        rows = [row | ({"label": labels[row["id"]].outcome} if row["id"] in labels else {}) for row in rows]
        for row in rows:
            print("  ".join(f"{value}" for value in row.values()))
        dropped = sorted(path.stem for path in (self.store / "dropped").glob("*.zarr"))
        steps = sum(info.steps for info in infos)
        print(f"{len(rows)} episodes, {steps} steps, {len(flags)} flagged, {len(dropped)} dropped")
        return {"episodes": rows, "dropped": dropped, "leftovers": [asdict(item) for item in store.leftovers]}


@dataclass(frozen=True)
class Browse(Stored):
    """Write a contact sheet of the images and a plot of the actions of every episode."""

    out: Path | None = None
    """Folder for the pictures; `<store>/browse` by default."""

    def run(self) -> dict[str, Any]:
        store, out = self.open(), self.out or self.store / "browse"
        infos = self.infos(store)
        pictures = [
            path
            for info in progress(infos, "contact sheets", len(infos))
            for path in write_sheet(store.load(info.episode_id), out)
        ]
        print(f"{len(pictures)} pictures in {out}")
        return {"out": out, "pictures": pictures}


@dataclass(frozen=True)
class Score(Stored):
    """Score episodes of one task against each other: jerk, stillness, length, end position."""

    flag: bool = False
    """Flag the episodes that stand out."""

    def run(self) -> dict[str, Any]:
        store = self.open()
        infos = self.infos(store)
        tasks = sorted({info.task for info in infos})
        if len(tasks) > 1:
            raise ConfigError(f"{self.store} has the tasks {', '.join(tasks)}: name one (--task), they do not compare")
        scores = score([store.load(info.episode_id) for info in infos])
        for item in scores:
            print(
                f"{item.episode_id}  {item.steps:5d} steps  jerk {item.jerk:.4f}  still {item.still:4.0%}  "
                f"end {item.end_distance:5.1f}  {' '.join(item.remarks)}"
            )
        marked = [item for item in scores if item.remarks]
        print(f"{len(marked)} of {len(scores)} stand out (robust z-score above {OUTLIER})")
        for item in marked if self.flag else ():
            set_flags(store, [item.episode_id], f"score: {', '.join(item.remarks)}")
        return {"scores": [asdict(item) for item in scores], "flagged": len(marked) if self.flag else 0}


@dataclass(frozen=True)
class Flag(Stored):
    """Flag episodes, so that training leaves them out, or clear their flags."""

    note: str = ""
    """Why."""
    clear: bool = False

    def run(self) -> dict[str, Any]:
        store = self.open()
        set_flags(store, _named(self), self.note, is_set=not self.clear)
        print(f"{len(self.episodes)} episodes {'cleared' if self.clear else 'flagged'}")
        return {"flags": {name: flag.note for name, flag in read_flags(self.store).items()}}


@dataclass(frozen=True)
class Drop(Stored):
    """Move episodes out of the store into its folder `dropped`, whole; `--restore` brings them back."""

    restore: bool = False

    def run(self) -> dict[str, Any]:
        store = self.open()
        moved = (restore if self.restore else drop)(store, _named(self))
        print("\n".join(f"moved to {path}" for path in moved))
        return {"moved": moved}


@dataclass(frozen=True)
class Split(Stored):
    """Copy episodes into two new stores, shuffled by a seed: OUT/first and OUT/second. The source is left as it is."""

    out: Path = Path("split")
    share: float = 0.9
    """Of the episodes for the first store, 0 to 1."""
    seed: int = 0

    def run(self) -> dict[str, Any]:
        if not 0 < self.share < 1:
            raise ConfigError(f"--share is {self.share}; it must lie between 0 and 1")
        source = self.open()
        names = sorted(info.episode_id for info in self.infos(source))
        if len(names) < 2:
            raise ConfigError(f"{self.store} has {len(names)} episodes; a split needs two and more")
        order = np.random.default_rng(self.seed).permutation(names).tolist()
        cut = min(max(round(self.share * len(names)), 1), len(names) - 1)
        counts = {}
        for part, chosen in (("first", order[:cut]), ("second", order[cut:])):
            counts[part] = len(copy_episodes(source, EpisodeStore(self.out / part), chosen))
            print(f"{counts[part]} episodes in {self.out / part}")
        return {"out": self.out, **counts}


@dataclass(frozen=True)
class Merge:
    """Copy the episodes of several stores into one; those that it has already, and discarded ones, are passed over."""

    stores: tyro.conf.Positional[tuple[Path, ...]]
    out: Path
    """Folder of the store to copy into; may exist."""

    def run(self) -> dict[str, Any]:
        sources = [(Stored(path), Stored(path).open()) for path in self.stores]
        target = EpisodeStore(self.out)
        before = len(target.episodes())
        for stored, source in sources:
            names = [info.episode_id for info in stored.infos(source)]
            copy_episodes(source, target, list(progress(names, f"{stored.store}", len(names))))
        total = len(target.episodes())
        print(f"{total - before} episodes copied, {total} in {self.out}")
        return {"out": self.out, "copied": total - before, "episodes": total, "store_sha256": target.content_hash()}


@dataclass(frozen=True)
class Export(Stored):
    """Write a LeRobotDataset v3 of successful episodes; needs lerobot (an environment of its own)."""

    out: Path = Path("lerobot-dataset")
    """Folder of the dataset; must not exist."""
    repo_id: str = "local/tandem"
    cameras: tuple[str, ...] | None = None
    """Cameras to export; all that the first episode has by default."""
    ends: tuple[EndReason, ...] = (EndReason.SUCCESS,)
    """Endings wanted."""

    def run(self) -> dict[str, Any]:
        self.open()
        return exchange.export(self.store, self.out, self.repo_id, self.cameras, self.task, self.ends)


@dataclass(frozen=True)
class Import:
    """Read a LeRobotDataset v3, robomimic's HDF5, diffusion policy's zarr or a bag (MCAP) into a store."""

    source: tyro.conf.Positional[Path]
    store: Path = Path("runs/episodes")
    """Folder of the store to import into; what it holds is kept."""
    format: Literal["auto", "lerobot", "robomimic", "zarr", "bag"] = "auto"
    station: str | None = None
    """Station that the data must fit: names, rate, cameras. None: the data's own names and limits are kept."""
    task: str = ""
    """Name of the task where the source gives none."""
    rate_hz: float | None = None
    """Rate of the steps where the source gives none."""
    outcome: Literal["success", "failure", "timeout"] = "success"
    """How an episode ended whose source does not say."""

    def run(self) -> dict[str, Any]:
        infos = list(exchange.read_in(**{name: getattr(self, name) for name in self.__dataclass_fields__}))
        steps = sum(info.steps for info in infos)
        print(f"{len(infos)} episodes, {steps} steps, in {self.store}")
        return {"store": self.store, "episodes": [_facts(info) for info in infos], "steps": steps}


@dataclass(frozen=True)
class Warn:
    """Learn from recorded takeovers when a policy is about to need one, and write the policy with that warning."""

    store: tyro.conf.Positional[Path]
    """Folder of the episode store."""
    policy: Path
    """Policy file or run folder: whom people took over from."""
    out: Path = Path("warned.safetensors")
    """The policy that warns: `tandem up --policy`; the operator's page draws its risk."""
    task: str | None = None
    """Needed only where the store holds several."""
    false_alarms_per_min: float = 2.0
    """How often at most it may warn for nothing, per minute that the policy drives."""
    seed: int = 0

    def run(self) -> dict[str, Any]:
        from policies.takeovers.warning.stored import learn_warning

        wanted = {name: getattr(self, name) for name in ("task", "false_alarms_per_min", "seed")}
        found = learn_warning(self.store, self.policy, self.out, **wanted)
        print(
            f"warns 0.5 s ahead of {found['warned']:.0%} of {found['judged_takeovers']} takeovers kept aside, "
            f"{found['false_alarms_per_min']:.1f} times a minute for nothing; {self.out}"
        )
        return found


def _named(stored: Stored) -> tuple[str, ...]:
    if not stored.episodes:
        raise ConfigError(f"name the episodes: --episodes ID ... (tandem data list {stored.store} shows them)")
    return stored.episodes


def _facts(info: EpisodeInfo) -> dict[str, Any]:
    return {
        "id": info.episode_id,
        "task": info.task,
        "steps": info.steps,
        "end_reason": info.end_reason.name.lower(),
        "discarded": info.is_discarded,
        "cameras": list(info.cameras),
    }


Config = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Browse, tyro.conf.subcommand("browse")]
    | Annotated[Score, tyro.conf.subcommand("score")]
    | Annotated[Flag, tyro.conf.subcommand("flag")]
    | Annotated[Drop, tyro.conf.subcommand("drop")]
    | Annotated[Split, tyro.conf.subcommand("split")]
    | Annotated[Merge, tyro.conf.subcommand("merge")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Warn, tyro.conf.subcommand("warn")]
)


def run(config: Any) -> Mapping[str, Any]:
    return config.run()


VERB = Verb(Config, run, "Look through, sort, convert and cache recorded episodes.")
