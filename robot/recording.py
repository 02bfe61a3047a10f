"""What a journal holds, read back: the content of an episode before it is sealed, and the hash of any content."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robot.errors import StoreError
from robot.journal import Kind, Tick, decode_tick, encode_json, frame_size, map_file, read_frames, row_dtype
from robot.record import SCHEMA_VERSION
from robot.types import EndReason

OLDEST_SCHEMA = 1
FACTS = ("schema_version", "end_reason", "metadata", "events")  # with columns and images: the content of an episode

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Recording:
    """What a journal holds. `images` has one blob per tick and camera, empty where there was no new image."""

    header: Mapping[str, Any]
    columns: Columns
    images: Mapping[str, list[memoryview]]
    events: list[dict[str, Any]]
    end_reason: EndReason
    lost_bytes: int

    @property
    def steps(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def is_discarded(self) -> bool:
        return is_discarded(self.end_reason, self.events)

    @property
    def facts(self) -> dict[str, Any]:
        return {**self.header, "end_reason": self.end_reason.name.lower(), "events": self.events}

    def content_hash(self) -> str:
        images = {camera: (image_offsets(blobs), blobs) for camera, blobs in self.images.items()}
        return hash_content(self.facts, self.columns, images)


def is_discarded(end_reason: EndReason, events: Iterable[Mapping[str, Any]]) -> bool:
    """Say whether an episode was thrown away: by its end, or by a mark given while it was open."""
    return end_reason is EndReason.DISCARD or any(event.get("mark") in ("discard", "rerecord") for event in events)


def read_recording(journal: Path) -> Recording:
    """Read every whole record of a journal; columns that not every tick has are filled up and get a `present/` twin."""
    data = map_file(journal)
    frames = list(read_frames(data))
    by_kind = {kind: [payload for k, payload in frames if k == kind] for kind in Kind}
    if not by_kind[Kind.HEADER]:
        raise StoreError(f"the journal {journal} has no readable header; it is left as it is")
    header = json.loads(bytes(by_kind[Kind.HEADER][0]))
    check_schema(header["schema_version"], journal)
    ticks = [decode_tick(payload) for payload in by_kind[Kind.TICK]]
    cameras = sorted({camera for tick in ticks for camera, blob in tick.images.items() if blob})
    columns = _stack(ticks)
    ends = [json.loads(bytes(payload))["end_reason"] for payload in by_kind[Kind.END]]
    return Recording(
        header=header,
        columns=columns,
        images={camera: [tick.images.get(camera, memoryview(b"")) for tick in ticks] for camera in cameras},
        events=[json.loads(bytes(payload)) for payload in by_kind[Kind.EVENT]],
        end_reason=EndReason[ends[-1].upper()] if ends else _end_of_ticks(columns),
        lost_bytes=len(data) - sum(frame_size(payload) for _, payload in frames),
    )


def _end_of_ticks(columns: Columns) -> EndReason:
    """Return the reason the last tick gives; CRASH where nothing was ended."""
    last = EndReason(int(columns["end_reason"][-1])) if columns else EndReason.OPEN
    return EndReason.CRASH if last is EndReason.OPEN else last


def _stack(ticks: list[Tick]) -> Columns:
    rows: dict[bytes, list[int]] = {}
    for row, tick in enumerate(ticks):
        rows.setdefault(tick.layout, []).append(row)
    parts: dict[str, list[tuple[list[int], np.ndarray]]] = {}
    for layout, index in rows.items():
        table = np.frombuffer(b"".join(ticks[row].row for row in index), row_dtype(layout))
        for name in table.dtype.names or ():
            parts.setdefault(name, []).append((index, table[name]))
    columns: Columns = {}
    for name, pieces in parts.items():
        columns[name] = _merge(len(ticks), pieces)
        if sum(len(index) for index, _ in pieces) < len(ticks):
            columns[f"present/{name}"] = _merge(len(ticks), [(index, np.ones(len(index), bool)) for index, _ in pieces])
    return columns


def _merge(steps: int, pieces: list[tuple[list[int], np.ndarray]]) -> np.ndarray:
    dtype = np.result_type(*(values.dtype for _, values in pieces)).newbyteorder("=")
    column = np.full((steps, *pieces[0][1].shape[1:]), np.nan if dtype.kind == "f" else 0, dtype)
    for index, values in pieces:
        column[index] = values
    return column


def image_offsets(blobs: list[memoryview]) -> np.ndarray:
    return np.cumsum([0, *map(len, blobs)], dtype=np.int64)


def hash_content(
    facts: Mapping[str, Any], columns: Columns, images: Mapping[str, tuple[np.ndarray, Iterable[Any]]]
) -> str:
    """Hash facts, columns and, per camera, offsets and bytes (in pieces of any size)."""
    digest = hashlib.sha256(json.dumps({key: facts[key] for key in FACTS}, sort_keys=True).encode())
    for name in sorted(columns):
        digest.update(encode_json([name, columns[name].dtype.str, columns[name].shape]))
        digest.update(np.ascontiguousarray(columns[name]).data)
    for camera in sorted(images):
        offsets, pieces = images[camera]
        digest.update(encode_json([camera, len(offsets)]))
        digest.update(offsets.data)
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def check_schema(version: int, path: Path) -> None:
    if not OLDEST_SCHEMA <= version <= SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version}, this Tandem reads {OLDEST_SCHEMA} to {SCHEMA_VERSION}; "
            "read it with the version that wrote it, or update"
        )
