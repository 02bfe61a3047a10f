"""A sealed episode: one Zarr v3 group of a few arrays, written once and never changed.

    columns/<dtype>        (steps, width)  the columns of one dtype, side by side as the attribute `columns` says
    image/<camera>         (bytes,) uint8  the encoded images of a camera, one after the other
    image_offsets/<camera> (steps + 1,)    image of row i: bytes [offsets[i], offsets[i + 1]); empty: no new image

Everything else (end reason, metadata, events, content hash) is in the attributes of the group.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from robot.blobs import Blobs
from robot.errors import StoreError, unknown_name
from robot.images import decode_image
from robot.recording import Columns, Recording, check_schema, hash_content, image_offsets, is_discarded
from robot.types import EndReason

_RESTORE = "restore it from a copy"
ROWS_PER_CHUNK = 4096
BLOB_CHUNK = 2**18
BLOB_SHARD = 2**23  # a small shard keeps sealing from holding the interpreter for long at a time


@dataclass(frozen=True)
class EpisodeInfo:
    """What is known of an episode without reading its arrays. `lost_bytes`: of the journal, not in a whole record."""

    episode_id: str
    path: Path
    created_ns: int
    steps: int
    end_reason: EndReason
    is_discarded: bool
    cameras: tuple[str, ...]
    metadata: Mapping[str, Any]
    content_sha256: str
    lost_bytes: int

    @property
    def station(self) -> str:
        return self.metadata.get("station", "")

    @property
    def task(self) -> str:
        return self.metadata.get("task", "")


def read_info(path: Path) -> EpisodeInfo:
    """Read the attributes of a sealed episode; StoreError if it is damaged or of a schema this code cannot read."""
    facts = _attributes(path)
    try:
        info = EpisodeInfo(
            episode_id=path.stem,
            path=path,
            created_ns=int(facts["created_ns"]),
            steps=int(facts["steps"]),
            end_reason=EndReason[facts["end_reason"].upper()],
            is_discarded=facts["discarded"] is True,
            cameras=tuple(map(str, facts["cameras"])),
            metadata=dict(facts["metadata"]),
            content_sha256=str(facts["content_sha256"]),
            lost_bytes=int(facts["lost_bytes"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{path} has damaged attributes ({error!r}); {_RESTORE}") from error
    if info.is_discarded != is_discarded(info.end_reason, facts.get("events", ())):
        raise StoreError(f"{path}: 'discarded' does not fit its events; {_RESTORE}")
    return info


class Episode:
    """A sealed episode. Columns are read whole on first use, images one by one."""

    def __init__(self, path: Path) -> None:
        self.info = read_info(path)
        self._facts = _attributes(path)
        try:
            self._group = zarr.open_group(path, mode="r")
        except Exception as error:  # zarr lets through whatever its parsers raise on a damaged file
            raise StoreError(f"{path} cannot be opened ({error!r}); {_RESTORE}") from error

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.info.metadata

    @property
    def end_reason(self) -> EndReason:
        return self.info.end_reason

    @property
    def events(self) -> list[dict[str, Any]]:
        """Labels given while it was open, each with its `time_ns`."""
        return self._facts["events"]

    def __len__(self) -> int:
        return self.info.steps

    @cached_property
    def columns(self) -> Columns:
        """Arrays of shape (steps, ...), named as in `robot.record`."""
        try:
            index = self._facts["columns"]
            tables = {name: self._array(f"columns/{name}")[:] for name in {dtype for dtype, _, _ in index.values()}}
            columns = {name: _unpack(tables[dtype], start, shape) for name, (dtype, start, shape) in index.items()}
        except Exception as error:  # zarr lets through whatever its codecs raise on a damaged file
            raise StoreError(f"{self.info.path}: its columns cannot be read ({error!r}); {_RESTORE}") from error
        uneven = [name for name, column in columns.items() if len(column) != len(self)]
        if uneven:
            raise StoreError(f"{self.info.path} has {len(self)} steps, but not in {', '.join(uneven)}; {_RESTORE}")
        return columns

    def image(self, camera: str, step: int) -> np.ndarray:
        """Decode the newest image at row `step`: uint8 HWC RGB, or uint16 HW for depth."""
        return decode_image(self.image_bytes(camera, step))

    def image_bytes(self, camera: str, step: int) -> bytes:
        """Return the newest encoded image at row `step`, which may be of an earlier row.

        Raises:
            ConfigError: no such camera.
            StoreError: no such row, or no image of this camera up to it.
        """
        if camera not in self.info.cameras:
            raise unknown_name(f"camera of episode {self.info.episode_id}", camera, self.info.cameras)
        if not 0 <= step < len(self):
            raise StoreError(f"episode {self.info.episode_id} has no row {step}; it has {len(self)}, counted from 0")
        row = self._newest[camera][step]
        if row < 0:
            raise StoreError(f"episode {self.info.episode_id} has no image of {camera} up to row {step}")
        start, stop = self._offsets[camera][row : row + 2]
        return self._blobs[camera].read(int(start), int(stop))

    def image_rows(self, camera: str) -> np.ndarray:
        """Return the row of the newest image at each row, shape (steps,); -1 before the first."""
        if camera not in self.info.cameras:
            raise unknown_name(f"camera of episode {self.info.episode_id}", camera, self.info.cameras)
        return self._newest[camera]

    def first_image_row(self, camera: str) -> int:
        """Return the first row at which the camera had sent something; the episode's length if it never did."""
        rows = np.flatnonzero(self._newest[camera] >= 0)
        return int(rows[0]) if len(rows) else len(self)

    def content_hash(self) -> str:
        """Read everything and hash it: equal for equal content, whatever the name and time of recording."""
        images = {camera: (self._offsets[camera], self._slabs(camera)) for camera in self.info.cameras}
        return hash_content(self._facts, self.columns, images)

    def verify(self) -> None:
        """Compare the content with the hash taken when it was sealed; StoreError if they differ."""
        if self.content_hash() != self.info.content_sha256:
            raise StoreError(f"episode {self.info.path} is not what was sealed; {_RESTORE}")

    def _array(self, name: str) -> Any:
        return self._group[name]

    @cached_property
    def _blobs(self) -> dict[str, Blobs]:
        return {camera: Blobs(self.info.path / "image" / camera) for camera in self.info.cameras}

    @cached_property
    def _offsets(self) -> dict[str, np.ndarray]:
        try:
            offsets = {camera: self._array(f"image_offsets/{camera}")[:] for camera in self.info.cameras}
        except Exception as error:
            raise StoreError(f"{self.info.path}: its images cannot be found ({error!r}); {_RESTORE}") from error
        for camera, places in offsets.items():
            if places.shape != (len(self) + 1,) or places.dtype != np.int64 or places[0] or (np.diff(places) < 0).any():
                raise StoreError(f"{self.info.path}: image_offsets/{camera} is damaged; {_RESTORE}")
        return offsets

    @cached_property
    def _newest(self) -> dict[str, np.ndarray]:
        """Row of the newest image at each row, -1 before the first."""
        rows = np.arange(len(self))
        return {
            camera: np.maximum.accumulate(np.where(np.diff(offsets) > 0, rows, -1))
            for camera, offsets in self._offsets.items()
        }

    def _slabs(self, camera: str) -> Iterator[bytes]:
        end = int(self._offsets[camera][-1])
        for start in range(0, end, BLOB_SHARD):
            yield self._blobs[camera].read(start, min(start + BLOB_SHARD, end))


def write_episode(path: Path, recording: Recording) -> None:
    """Write a recording as a new Zarr group; neither atomic nor on disk when it returns."""
    tables, index = _pack(recording.columns)
    attributes = {
        **recording.facts,
        "steps": recording.steps,
        "discarded": recording.is_discarded,
        "cameras": list(recording.images),
        "columns": index,
        "content_sha256": recording.content_hash(),
        "lost_bytes": recording.lost_bytes,
    }
    group = zarr.create_group(path, zarr_format=3, attributes=attributes)
    for name, table in tables.items():
        chunks = (min(len(table), ROWS_PER_CHUNK), table.shape[1])
        shards = (-(-len(table) // chunks[0]) * chunks[0], table.shape[1])
        group.create_array(f"columns/{name}", data=table, chunks=chunks, shards=shards)
    for camera, blobs in recording.images.items():
        _write_blobs(group, camera, blobs)


def _write_blobs(group: zarr.Group, camera: str, blobs: list[memoryview]) -> None:
    offsets = image_offsets(blobs)
    size = int(offsets[-1])
    chunk = min(size, BLOB_CHUNK)
    shard = min(BLOB_SHARD, -(-size // chunk) * chunk)
    group.create_array(f"image_offsets/{camera}", data=offsets)
    array = group.create_array(
        f"image/{camera}", shape=(size,), dtype="uint8", chunks=(chunk,), shards=(shard,), compressors=None
    )
    start = 0
    for slab in _shards(blobs, shard):
        array[start : start + len(slab)] = np.frombuffer(slab, np.uint8)
        start += len(slab)


def _shards(blobs: Iterable[memoryview], size: int) -> Iterator[bytes]:
    """Join blobs and cut them anew into pieces of `size` bytes, so that each shard is written once."""
    slab = bytearray()
    for blob in blobs:
        slab += blob
        while len(slab) >= size:
            yield bytes(slab[:size])
            del slab[:size]
    if slab:
        yield bytes(slab)


def _pack(columns: Columns) -> tuple[Columns, dict[str, tuple[str, int, list[int]]]]:
    """Put columns of one dtype side by side; the index has dtype, first place and shape of each."""
    parts: dict[str, list[np.ndarray]] = {}
    index: dict[str, tuple[str, int, list[int]]] = {}
    for name, column in columns.items():
        flat = column.reshape(len(column), int(np.prod(column.shape[1:])))
        start = sum(part.shape[1] for part in parts.setdefault(column.dtype.name, []))
        parts[column.dtype.name].append(flat)
        index[name] = (column.dtype.name, start, list(column.shape[1:]))
    return {dtype: np.concatenate(flats, axis=1) for dtype, flats in parts.items()}, index


def _unpack(table: np.ndarray, start: int, shape: list[int]) -> np.ndarray:
    flat = table[:, start : start + int(np.prod(shape))]
    return np.ascontiguousarray(flat).reshape(len(table), *shape)


def _attributes(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads((path / "zarr.json").read_text())["attributes"]
        version = facts["schema_version"]
        check_schema(version, path)
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is not a sealed episode ({error!r}); move it away or restore it") from error
    return facts
