"""Sort the episodes of a store without changing one: flags beside them, and dropped ones moved aside.

    flags.jsonl            appended to: one line per flag set or cleared; the last line of an episode counts
    dropped/<id>.zarr      taken out of the store by one rename, whole; `restore` brings it back

Nothing recorded is deleted or rewritten here.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from robot.episode import Episode
from robot.episode_store import EpisodeStore, sync_tree
from robot.errors import StoreError, unknown_name
from robot.journal import store_error, sync_folder

FLAGS = "flags.jsonl"
DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Flag:
    """A person's remark on an episode: training leaves it out until the flag is cleared."""

    episode_id: str
    note: str
    time_ns: int
    is_set: bool = True


def read_flags(root: Path) -> dict[str, Flag]:
    """Return the flags that are set, by episode; StoreError names a line that cannot be read."""
    path, flags = Path(root) / FLAGS, {}
    if not path.exists():
        return {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            facts = json.loads(line)
            flag = Flag(str(facts["episode_id"]), str(facts["note"]), int(facts["time_ns"]), facts["is_set"] is True)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}, line {number} is not a flag ({error!r}); mend or remove that line") from None
        flags[flag.episode_id] = flag
    return {name: flag for name, flag in flags.items() if flag.is_set}


def set_flags(store: EpisodeStore, episode_ids: Sequence[str], note: str, *, is_set: bool = True) -> None:
    """Flag episodes, or clear their flags."""
    flags = [Flag(store.load(name).info.episode_id, note, time.time_ns(), is_set) for name in episode_ids]
    lines = "".join(json.dumps(asdict(flag)) + "\n" for flag in flags)
    try:
        with (store.root / FLAGS).open("a", encoding="utf-8") as file:
            file.write(lines)
    except OSError as error:
        raise store_error("write the flags", store.root / FLAGS, error, "No flag was changed.") from error


def drop(store: EpisodeStore, episode_ids: Sequence[str]) -> list[Path]:
    """Move sealed episodes to `dropped/`, all or none of the names being right; readers no longer find them."""
    paths = [store.load(name).info.path for name in episode_ids]
    return [_move(path, store.root / DROPPED / path.name) for path in paths]


def restore(store: EpisodeStore, episode_ids: Sequence[str]) -> list[Path]:
    """Bring dropped episodes back."""
    dropped = {path.stem: path for path in (store.root / DROPPED).glob("*.zarr")}
    for name in episode_ids:
        if name not in dropped:
            raise unknown_name("dropped episode", name, dropped)
    return [_move(dropped[name], store.root / "episodes" / dropped[name].name) for name in episode_ids]


def copy_episodes(source: EpisodeStore, target: EpisodeStore, episode_ids: Sequence[str]) -> list[Path]:
    """Copy sealed episodes into another store, each verified before it gets its name there.

    Raises:
        StoreError: an episode of that name is in the target and holds something else, or a copy failed.
    """
    return [_copy(source.load(name), target) for name in episode_ids]


def _copy(episode: Episode, target: EpisodeStore) -> Path:
    wanted = target.root / "episodes" / episode.info.path.name
    if wanted.exists():
        if Episode(wanted).info.content_sha256 == episode.info.content_sha256:
            return wanted
        raise StoreError(f"{wanted} is there already and differs from {episode.info.path}; rename one of them")
    half = target.root / "sealing" / episode.info.path.name
    shutil.rmtree(half, ignore_errors=True)
    try:
        shutil.copytree(episode.info.path, half)
        sync_tree(half)
        Episode(half).verify()
        return _move(half, wanted)
    except StoreError:
        raise
    except OSError as error:
        raise store_error("copy to", wanted, error, "The source is untouched; free some space.") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _move(path: Path, target: Path) -> Path:
    if target.exists():
        raise StoreError(f"{target} is already there; rename or remove one of the two by hand")
    try:
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise store_error("move to", target, error, "The episode is where it was.") from error
    return target
