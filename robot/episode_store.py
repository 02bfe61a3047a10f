"""The episode store: a folder of sealed episodes and the journals of those still open.

    open/<id>.journal     being recorded, or left over from a crash; see `robot.journal`
    sealing/<id>/*.zarr   half-written copies of a journal, never read
    episodes/<id>.zarr    sealed; see `robot.episode`

An episode moves from its journal to `episodes` in one rename, after the copy was brought to disk, read back and
compared; only then the journal is removed. So every recorded tick is in one whole file at any moment.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robot.episode import Episode, EpisodeInfo, read_info, write_episode
from robot.errors import ConfigError, StoreError, unknown_name
from robot.journal import Journal, Kind, encode_json, encode_layout, encode_tick, store_error, sync_folder
from robot.record import SCHEMA_VERSION, TickRecord
from robot.recording import read_recording
from robot.types import EndReason

log = logging.getLogger(__name__)


class EpisodeWriter:
    """Record one episode. `append` and `event` may come from different threads."""

    def __init__(self, store: "EpisodeStore", journal: Journal, episode_id: str) -> None:
        self.episode_id = episode_id
        self.steps = 0
        self._store = store
        self._journal = journal
        self._layout = b""
        self._shapes: dict[str, tuple[int, ...]] = {}

    def append(self, record: TickRecord, images: Mapping[str, bytes] | None = None) -> None:
        """Record one tick; never waits for the disk's fsync.

        Args:
            record: the tick. Optional columns may come and go, but may not change shape.
            images: per camera, an encoded image if there is a new one since the last tick.

        Raises:
            StoreError: the tick cannot be stored; those before it are kept and can be sealed.
        """
        columns = record.columns()
        layout = encode_layout(columns)
        if layout != self._layout:
            self._check(columns)
            self._layout = layout
        self._journal.append(Kind.TICK, encode_tick(layout, columns, images or {}))
        self.steps += 1

    def event(self, time_ns: int, payload: Mapping[str, Any]) -> None:
        """Record a label given while the episode is open; `{"mark": Mark.DISCARD}` discards the episode."""
        named = {key: value.name.lower() if isinstance(value, Enum) else value for key, value in payload.items()}
        self._journal.append(Kind.EVENT, encode_json(_plain({**named, "time_ns": time_ns}, "event")))

    def finish(self, end_reason: EndReason) -> None:
        """End the episode and leave its journal to whoever next opens the store; blocks on one fsync.

        This is for a process that has a control loop: let another process open the store to seal.
        """
        if end_reason is EndReason.OPEN:
            raise ConfigError(
                f"an episode cannot end as OPEN; allowed: {', '.join(r.name for r in list(EndReason)[1:])}"
            )
        try:
            self._journal.append(Kind.END, encode_json({"end_reason": end_reason.name.lower()}))
        finally:
            self._journal.close()

    def close(self, end_reason: EndReason) -> EpisodeInfo:
        """End the episode and seal it in the calling thread; not for a control loop.

        Takes about a second per minute of two VGA cameras at 20 Hz, and delays other threads by some 30 ms.

        Raises:
            StoreError: it could not be sealed (disk full); the journal is kept and sealed at the next opening.
        """
        self.finish(end_reason)
        return self._store.seal(self.episode_id)

    def _check(self, columns: Mapping[str, np.ndarray]) -> None:
        for name, column in columns.items():
            shape = self._shapes.setdefault(name, column.shape)
            if column.dtype.kind not in "biuf" or column.dtype.itemsize > 8:
                raise StoreError(
                    f"column {name} is {column.dtype}; allowed: bool, int, float. Put text into the metadata"
                )
            if column.shape != shape:
                raise StoreError(f"column {name} has shape {column.shape}, but had {shape} earlier in this episode")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A journal found when a store was opened, and what became of it."""

    episode_id: str
    outcome: Literal["sealed", "still open", "not sealed"]
    detail: str


class EpisodeStore:
    """A folder of episodes. Opening it seals what a crash left open; `leftovers` tells what was found."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        for folder in (self._open, self._sealing, self._sealed):
            folder.mkdir(parents=True, exist_ok=True)
        self.leftovers = self.seal_leftovers()

    def open_episode(self, metadata: Mapping[str, Any], *, episode_id: str | None = None) -> EpisodeWriter:
        """Start an episode; blocks on one fsync.

        Args:
            metadata: JSON values that describe it; `station` and `task` are shown by `EpisodeInfo`.
            episode_id: its name, made of letters, digits, `_`, `-` and `.`; from time and chance if not given.
        """
        created_ns = time.time_ns()
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(created_ns // 10**9))
        episode_id = episode_id or f"{moment}-{secrets.token_hex(4)}"
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", episode_id):
            raise ConfigError(f"episode_id {episode_id!r} is not made of letters, digits, '_', '-' and '.'")
        if self._path(episode_id).exists():
            raise StoreError(f"episode {episode_id} is already in {self.root}; choose another episode_id")
        header = {
            "schema_version": SCHEMA_VERSION,
            "episode_id": episode_id,
            "created_ns": created_ns,
            "metadata": _plain(metadata, "metadata"),
        }
        return EpisodeWriter(self, Journal(self._journal(episode_id), header), episode_id)

    def seal_leftovers(self) -> tuple[Leftover, ...]:
        """Seal every journal that no living process is writing; one that cannot be sealed is kept and told of."""
        found = []
        for journal in sorted(self._open.glob("*.journal")):
            episode_id = journal.name.removesuffix(".journal")
            try:
                info = self.seal(episode_id, wait=False)
                detail = f"{info.steps} steps, ended as {info.end_reason.name}, {info.lost_bytes} bytes were not whole"
                found.append(Leftover(episode_id, "sealed", detail))
            except BlockingIOError:
                found.append(Leftover(episode_id, "still open", "another writer is recording it"))
            except StoreError as error:
                found.append(Leftover(episode_id, "not sealed", str(error)))
            log.warning("journal %s: %s (%s)", episode_id, found[-1].outcome, found[-1].detail)
        return tuple(found)

    def seal(self, episode_id: str, *, wait: bool = True) -> EpisodeInfo:
        """Turn a journal into a sealed episode, in the calling thread.

        Raises:
            StoreError: it cannot be read, or copied; the journal is kept.
            BlockingIOError: it is being written and `wait` is false.
        """
        journal, sealed = self._journal(episode_id), self._path(episode_id)
        with _locked(journal, wait) as is_there:
            if is_there:
                if not sealed.exists():
                    _copy(journal, self._sealing / episode_id, sealed)
                elif read_recording(journal).content_hash() != read_info(sealed).content_sha256:
                    raise StoreError(f"{sealed} is not what {journal} holds; rename the journal to seal both")
                journal.unlink()
        return read_info(sealed)

    def episodes(self) -> list[EpisodeInfo]:
        """List the sealed episodes, oldest first, discarded ones included."""
        infos = []
        for path in self._sealed.glob("*.zarr"):
            try:
                infos.append(read_info(path))
            except StoreError:
                if path.exists():  # else it was dropped meanwhile
                    raise
        return sorted(infos, key=lambda info: (info.created_ns, info.episode_id))

    def load(self, episode_id: str) -> Episode:
        """Open a sealed episode; arrays are read when first used."""
        if not self._path(episode_id).exists():
            raise unknown_name("episode", episode_id, [info.episode_id for info in self.episodes()])
        return Episode(self._path(episode_id))

    def content_hash(self, episode_ids: list[str] | None = None) -> str:
        """Hash a set of episodes (all, if not given) by what was sealed; their names and order do not count."""
        infos = self.episodes() if episode_ids is None else [self.load(name).info for name in episode_ids]
        return hashlib.sha256("".join(sorted(info.content_sha256 for info in infos)).encode()).hexdigest()

    @property
    def _open(self) -> Path:
        return self.root / "open"

    @property
    def _sealing(self) -> Path:
        return self.root / "sealing"

    @property
    def _sealed(self) -> Path:
        return self.root / "episodes"

    def _journal(self, episode_id: str) -> Path:
        return self._open / f"{episode_id}.journal"

    def _path(self, episode_id: str) -> Path:
        return self._sealed / f"{episode_id}.zarr"


def _copy(journal: Path, workplace: Path, sealed: Path) -> None:
    shutil.rmtree(workplace, ignore_errors=True)
    half = workplace / f"{secrets.token_hex(4)}.zarr"  # a new name: Zarr's threads may outlive a failed attempt
    try:
        write_episode(half, read_recording(journal))
        sync_tree(half)
        Episode(half).verify()
        half.rename(sealed)
        sync_folder(sealed.parent)
    except StoreError:
        raise
    except OSError as error:
        raise store_error("seal", journal, error, _RETRY) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


_RETRY = "The journal is kept; free some space and open the store again to seal it."


@contextmanager
def _locked(journal: Path, wait: bool) -> Iterator[bool]:
    """Hold a journal's lock; false where it is gone, sealed by somebody else meanwhile."""
    try:
        fd = os.open(journal, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield journal.exists()
    finally:
        os.close(fd)


def sync_tree(path: Path) -> None:
    """Bring a folder and everything in it to disk."""
    for folder, _, files in os.walk(path):
        for file in files:
            with Path(folder, file).open("rb") as opened:
                os.fsync(opened.fileno())
        sync_folder(Path(folder))


def _plain(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the value as JSON gives it back."""
    try:
        return json.loads(encode_json(value))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{what} must be made of JSON values (text, finite numbers, lists, mappings): {error}"
        ) from error
