"""The file of an open episode: appended to, checksummed, readable after any crash of its writer.

A journal is a row of frames: magic, kind, payload length, crc32 of all three and the payload, payload. The first
frame is the header (JSON); every tick carries its own column layout, so each whole frame can be read alone and a
damaged one costs itself only. A frame that does not check is skipped, wherever it is; a torn tail is such a frame.

`append` writes to the page cache, which survives a kill of the process; a thread brings it to disk every
`SYNC_PERIOD_S`, which bounds what a power cut takes. The writer holds a lock on the file for as long as it lives.
"""

import errno
import fcntl
import json
import mmap
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robot.errors import StoreError

SYNC_PERIOD_S = 0.5
MAGIC = b"\xffTJ1"  # rare in coded images: the coded data of a JPEG never has 0xff 'T'
_FRAME = struct.Struct("<4sBII")  # magic, kind, payload length, crc32
_TICK = struct.Struct("<II")  # length of the layout, length of the table of images
_MAX_PAYLOAD = 2**32 - 1


class Kind(IntEnum):
    """What a frame holds. Values are on disk: never reuse one."""

    HEADER = 1
    TICK = 2
    EVENT = 3
    END = 4


class Tick(NamedTuple):
    """A decoded tick: its packed row of columns and its encoded images, both still in the journal's memory."""

    layout: bytes
    row: memoryview
    images: dict[str, memoryview]


class Journal:
    """Append frames to a new journal file. Threads may share it."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Create the file, locked and with its header on disk before it has its name; blocks on one fsync.

        Raises:
            StoreError: the file exists or cannot be written.
        """
        self.path = path
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sync_error: OSError | None = None
        self._fd = _create(path, encode_frame(Kind.HEADER, encode_json(header)))
        self._syncer = threading.Thread(target=self._sync_until_closed, name=f"sync {path.stem}", daemon=True)
        self._syncer.start()

    def append(self, kind: Kind, payload: bytes) -> None:
        """Write one frame to the page cache; never waits for the disk's fsync.

        Raises:
            StoreError: the disk is full or failing. The file still ends in a whole frame and can be sealed; a later
                append may succeed once there is space.
        """
        frame = encode_frame(kind, payload)
        with self._lock:
            if self._closing.is_set():
                raise StoreError(f"the journal {self.path} is closed; open a new episode to record more")
            if self._sync_error:
                raise store_error("bring to disk the journal", self.path, self._sync_error, _KEPT)
            size = os.fstat(self._fd).st_size
            try:
                _write_all(self._fd, frame)
            except OSError as error:
                with suppress(OSError):  # a reader passes over the torn frame if it has to stay
                    os.ftruncate(self._fd, size)
                raise store_error("append to the journal", self.path, error, _KEPT) from error

    def close(self) -> None:
        """Bring everything to disk and give up the lock; blocks on one fsync."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._syncer.join()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise store_error("bring to disk the journal", self.path, error, _KEPT) from error
        finally:
            os.close(self._fd)

    def _sync_until_closed(self) -> None:
        while not self._closing.wait(SYNC_PERIOD_S):
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._sync_error = error  # told by the next append: the kernel reports a lost write only once
                return


_KEPT = (
    "Every record before is kept. Free some space or move the store to another disk, then close the episode; "
    "it is sealed then, or when the store is next opened."
)


def _create(path: Path, header: bytes) -> int:
    unnamed = path.with_suffix(".new")
    fd = -1
    try:
        fd = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(fd, header)
        os.fsync(fd)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        unnamed.rename(path)
        sync_folder(path.parent)
        return fd
    except OSError as error:
        unnamed.unlink(missing_ok=True)
        if fd >= 0:
            os.close(fd)
        raise store_error("create the journal", path, error, "Nothing was recorded.") from error


def store_error(action: str, path: Path, error: OSError, advice: str) -> StoreError:
    """Say what failed where, with the bytes still free there, and what to do."""
    free = f"{shutil.disk_usage(path.parent).free:,} bytes free there" if path.parent.exists() else "no such folder"
    return StoreError(f"cannot {action} {path}: {error.strerror or error} ({free}). {advice}")


def encode_json(value: Mapping[str, Any] | list[Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def encode_frame(kind: Kind, payload: bytes) -> bytes:
    if len(payload) > _MAX_PAYLOAD:
        raise StoreError(f"a record of {len(payload):,} bytes is too large; the limit is {_MAX_PAYLOAD:,}")
    checksum = _checksum(kind, payload)
    return _FRAME.pack(MAGIC, kind, len(payload), checksum) + payload


def encode_layout(columns: Mapping[str, np.ndarray]) -> bytes:
    """Describe a row of columns: name, dtype and shape of each, in the order in which they are packed."""
    return encode_json([[name, column.dtype.str, column.shape] for name, column in columns.items()])


def encode_tick(layout: bytes, columns: Mapping[str, np.ndarray], images: Mapping[str, bytes]) -> bytes:
    table = encode_json({camera: len(blob) for camera, blob in images.items()})
    rows = (column.tobytes() for column in columns.values())
    return b"".join((_TICK.pack(len(layout), len(table)), layout, table, *rows, *images.values()))


def decode_tick(payload: memoryview) -> Tick:
    layout_size, table_size = _TICK.unpack_from(payload)
    row_at = _TICK.size + layout_size + table_size
    layout = bytes(payload[_TICK.size : _TICK.size + layout_size])
    image_at = row_at + row_dtype(layout).itemsize
    row, images = payload[row_at:image_at], {}
    for camera, size in json.loads(bytes(payload[row_at - table_size : row_at])).items():
        images[camera] = payload[image_at : image_at + size]
        image_at += size
    return Tick(layout, row, images)


@lru_cache(maxsize=64)
def row_dtype(layout: bytes) -> np.dtype[np.void]:
    """Return the packed numpy type of a row with this layout."""
    return np.dtype([(name, dtype, tuple(shape)) for name, dtype, shape in json.loads(layout)])


def map_file(path: Path) -> memoryview:
    """Map a journal into memory, read only."""
    if path.stat().st_size == 0:
        return memoryview(b"")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_frames(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield kind and payload of every whole frame, in order, passing over whatever does not check."""
    source: Any = data.obj  # bytes or mmap: both can search
    position = source.find(MAGIC)
    while position >= 0:
        frame = _read_frame(data, position)
        if frame:
            yield frame
        position = source.find(MAGIC, position + (_FRAME.size + len(frame[1]) if frame else 1))


def _read_frame(data: memoryview, position: int) -> tuple[int, memoryview] | None:
    start = position + _FRAME.size
    if start > len(data):
        return None
    _, kind, size, checksum = _FRAME.unpack_from(data, position)
    payload = data[start : start + size]
    whole = len(payload) == size and _checksum(kind, payload) == checksum
    return (kind, payload) if whole else None


def frame_size(payload: memoryview) -> int:
    return _FRAME.size + len(payload)


def _checksum(kind: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<BI", kind, len(payload))))


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
