"""Read bytes of a one-dimensional, uncompressed, sharded Zarr v3 array straight from its files.

The Zarr library answers a slice in about 3 ms whatever its size; a training batch asks for a hundred. The layout is
that of the Zarr v3 sharding codec: chunks, then an index of (offset, length) per chunk, then the index's crc32c.
"""

import json
from pathlib import Path

import numpy as np
from numcodecs.checksum32 import CRC32C

from robot.errors import StoreError

_ABSENT = 2**64 - 1  # a chunk that was never written, all zeros
_ENTRY = np.dtype([("offset", "<u8"), ("size", "<u8")])
_CHECKSUM_BYTES = 4


class Blobs:
    """Bytes [0, size) of an array that `robot.episode` wrote. Opens a file per read, so that thousands may exist."""

    def __init__(self, path: Path) -> None:
        """Read the array's description; StoreError where it is damaged or not of this layout."""
        self._path = path
        self._indices: dict[int, np.ndarray] = {}
        try:
            facts = json.loads((path / "zarr.json").read_text())
            (sharding,) = facts["codecs"]
            settings = sharding["configuration"]
            (self._size,), (self._shard,) = facts["shape"], facts["chunk_grid"]["configuration"]["chunk_shape"]
            (self._chunk,) = settings["chunk_shape"]
            names = [codec["name"] for codec in (*settings["codecs"], *settings["index_codecs"])]
            layout, kind = sharding["name"], facts["data_type"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} is not an array of images ({error!r}); restore the episode from a copy"
            ) from error
        known = (layout, kind, names) == ("sharding_indexed", "uint8", _CODECS)
        sizes = (self._size, self._shard, self._chunk)
        if not known or not all(isinstance(size, int) and size > 0 for size in sizes) or self._shard % self._chunk:
            raise StoreError(f"{path} is {kind} {sizes} with {names}; expected uint8 with {_CODECS}")

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop); StoreError where the files do not hold them."""
        if not 0 <= start <= stop <= self._size:
            raise StoreError(
                f"{self._path} has {self._size} bytes, asked for {start} to {stop}; the episode is damaged"
            )
        pieces = []
        while start < stop:
            shard, place = divmod(start, self._shard)
            inside = place % self._chunk
            count = min(stop - start, self._chunk - inside)
            pieces.append(self._read(shard, place // self._chunk, inside, count))
            start += count
        return b"".join(pieces)

    def _read(self, shard: int, chunk: int, inside: int, count: int) -> bytes:
        path = self._path / "c" / str(shard)
        try:
            if shard not in self._indices:
                self._indices[shard] = _read_index(path, self._shard // self._chunk)
            offset, size = self._indices[shard][chunk]
            if offset == _ABSENT:
                return bytes(count)
            with path.open("rb") as file:
                file.seek(int(offset) + inside)
                piece = file.read(count) if inside + count <= size else b""
        except FileNotFoundError:
            return bytes(count)  # Zarr writes no file for zeros alone; one that was lost does not pass `verify`
        except (OSError, OverflowError) as error:
            raise StoreError(f"cannot read {path}: {error}; restore the episode from a copy") from error
        if len(piece) < count:
            raise StoreError(f"{path} is shorter than its index says; restore the episode from a copy")
        return piece


_CODECS = ["bytes", "bytes", "crc32c"]  # of the chunks, then of the index


def _read_index(path: Path, chunks: int) -> np.ndarray:
    size = chunks * _ENTRY.itemsize + _CHECKSUM_BYTES
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() < size:
            raise StoreError(f"{path} is cut off; restore the episode from a copy")
        file.seek(-size, 2)
        data = file.read()
    try:
        return np.asarray(CRC32C(location="end").decode(data)).view(_ENTRY)
    except (RuntimeError, ValueError) as error:
        raise StoreError(f"the index of {path} is damaged ({error}); restore the episode from a copy") from error
