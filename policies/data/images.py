"""Images of recorded episodes for training: decoded when asked for, or once into a cache that is mapped into memory."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from policies.data.image_rows import ImageRows
from robot.episode import Episode
from robot.errors import ConfigError, StoreError
from robot.images import decode_image
from robot.journal import encode_json, store_error
from robot.machine import usable_cores
from robot.observation import square

CACHE_VERSION = 1  # of what is in a cache folder; another one is built anew
CRC_BYTES = 2**24
CACHE = "cache"  # the folder inside a store
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class ImageReader(Protocol):
    """Where the images of some episodes come from."""

    def rows(self, camera: str, number: int) -> ImageRows:
        """Return the newest image at every row of an episode, (n, H, W, 3) uint8, or (n, H, W) uint16 for depth.

        Rows before a camera's first image show some image of the store: leave them out (`seen_stretches`).
        """
        ...


class DecodedStack:
    """The images of one camera, one place per row of the episodes, decoded by a pool whenever they are taken."""

    def __init__(
        self, episodes: Sequence[Episode], camera: str, image_size: int, pool: ThreadPoolExecutor, threads: int
    ) -> None:
        self._episodes, self._camera, self._size = episodes, camera, image_size
        self._pool, self._threads = pool, threads
        self._starts = np.cumsum([0, *(len(episode) for episode in episodes)])
        first = resized(episodes[0].image(camera, episodes[0].first_image_row(camera)), image_size)
        self.shape, self.dtype = (int(self._starts[-1]), *first.shape), first.dtype

    def places(self, number: int) -> np.ndarray:
        """Return the places of the rows of an episode."""
        return np.arange(self._starts[number], self._starts[number + 1])

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        wanted = list(zip(numbers.tolist(), (places - self._starts[numbers]).tolist(), strict=True))
        share = max(1, -(-len(wanted) // self._threads))
        parts = [wanted[start : start + share] for start in range(0, len(wanted), share)]
        images = [image for found in self._pool.map(self._decode, parts) for image in found]
        return np.stack(images) if images else np.empty((0, *self.shape[1:]), self.dtype)

    def _decode(self, wanted: list[tuple[int, int]]) -> list[np.ndarray]:
        return [resized(self._episodes[number].image(self._camera, row), self._size) for number, row in wanted]


class StoredImages:
    """Reads and decodes the recorded images at every access; `image_size` as `robot.observation.square`, 0: none.

    Opening verifies every episode against the hash it was sealed with.
    """

    def __init__(self, episodes: Sequence[Episode], cameras: Sequence[str], image_size: int, threads: int = 1) -> None:
        check_cameras(episodes, cameras)
        for episode in episodes:
            episode.verify()
        pool = ThreadPoolExecutor(threads, "decode")  # decoding gives up the interpreter's lock
        self._stacks = {camera: DecodedStack(episodes, camera, image_size, pool, threads) for camera in cameras}

    def rows(self, camera: str, number: int) -> ImageRows:
        stack = self._stacks[camera]
        return ImageRows(stack, stack.places(number))


class CachedImages:
    """Decoded images of a set of episodes, one flat file per camera, mapped into memory; may be deleted at any time."""

    def __init__(self, folder: Path, episodes: Sequence[Episode], cameras: Sequence[str], image_size: int) -> None:
        """Open the cache of exactly these episodes under `folder`, building it where there is none or it is damaged.

        Raises:
            ConfigError: an episode lacks a camera, or its images have another size.
            StoreError: an episode is damaged, or there is no space.
        """
        check_cameras(episodes, cameras)
        key = [CACHE_VERSION, image_size, *cameras, *(episode.info.content_sha256 for episode in episodes)]
        path = folder / hashlib.sha256(encode_json(key)).hexdigest()[:24]
        if not _is_whole(path):
            _build(path, episodes, cameras, image_size)
        facts = json.loads((path / "cache.json").read_text())["cameras"]
        self._images = {
            name: np.memmap(
                path / f"{name}.raw", np.dtype(facts[name]["dtype"]), "r", shape=tuple(facts[name]["shape"])
            )
            for name in cameras
        }
        self._places = {camera: [_ordinals(episode, camera) for episode in episodes] for camera in cameras}
        for camera in cameras:
            starts = np.cumsum([0, *(image_count(episode, camera) for episode in episodes)])
            self._places[camera] = [o + start for o, start in zip(self._places[camera], starts)]

    def rows(self, camera: str, number: int) -> ImageRows:
        return ImageRows(self._images[camera], self._places[camera][number])

    def read(self, camera: str, episodes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the newest image at each (episode, row), shape (n, H, W, 3) uint8, or (n, H, W) uint16 for depth."""
        places = self._places[camera]
        index = [places[episode][row] for episode, row in zip(episodes.tolist(), rows.tolist(), strict=True)]
        return np.asarray(self._images[camera][index])


def open_images(
    store: Path, episodes: Sequence[Episode], cameras: Sequence[str], image_size: int, *, cached: bool = True
) -> ImageReader:
    """Return the images of a store's episodes, decoded once into its cache and mapped, or decoded at every access.

    A store that may only be read, and has no cache of these episodes, is decoded at every access too.
    """
    if cached:
        try:
            return CachedImages(store / CACHE, episodes, cameras, image_size)
        except StoreError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in READ_ONLY:
                raise
            print(f"{store} may not be written to: images are decoded at every access, which is slower")
    return StoredImages(episodes, cameras, image_size, threads=usable_cores())


def check_cameras(episodes: Sequence[Episode], cameras: Sequence[str]) -> None:
    """Refuse an episode that lacks a camera, by name."""
    for episode in episodes:
        for camera in cameras:
            if camera not in episode.info.cameras:
                raise ConfigError(
                    f"episode {episode.info.episode_id} has no camera '{camera}' "
                    f"(it has: {', '.join(episode.info.cameras) or 'none'}); choose other cameras or drop the episode"
                )


def image_count(episode: Episode, camera: str) -> int:
    """Return how many different images the camera sent."""
    return len(_image_rows(episode, camera))


def resized(image: np.ndarray, size: int) -> np.ndarray:
    return square(image, size) if size else image


def _image_rows(episode: Episode, camera: str) -> np.ndarray:
    newest = episode.image_rows(camera)
    return np.flatnonzero(newest == np.arange(len(newest)))


def _ordinals(episode: Episode, camera: str) -> np.ndarray:
    """Return at each row the place of its newest image among those of the episode."""
    return np.searchsorted(_image_rows(episode, camera), episode.image_rows(camera))


def _build(path: Path, episodes: Sequence[Episode], cameras: Sequence[str], image_size: int) -> None:
    half = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    try:
        half.mkdir(parents=True)
        for episode in episodes:
            episode.verify()
        facts = {camera: _write_camera(half, episodes, camera, image_size) for camera in cameras}
        (half / "cache.json").write_text(json.dumps({"version": CACHE_VERSION, "cameras": facts}))
        shutil.rmtree(path, ignore_errors=True)
        half.rename(path)
    except StoreError:
        raise
    except OSError as error:
        if not _is_whole(path):  # else another process was faster
            raise store_error(
                "build the cache",
                path,
                error,
                "The episodes are untouched; free some space, make it writable.",
            ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _write_camera(folder: Path, episodes: Sequence[Episode], camera: str, image_size: int) -> dict[str, Any]:
    """Write one camera's decoded images one after the other and return what they are."""
    dtype, shape, count, checksum = "", (), 0, 0
    with (folder / f"{camera}.raw").open("wb") as file:
        for episode in episodes:
            for row in _image_rows(episode, camera):
                image = resized(decode_image(episode.image_bytes(camera, int(row))), image_size)
                dtype, shape = dtype or image.dtype.str, shape or image.shape
                if (image.dtype.str, image.shape) != (dtype, shape):
                    raise ConfigError(
                        f"episode {episode.info.episode_id}, row {row}: image of '{camera}' is {image.dtype.str} "
                        f"{image.shape}, others are {dtype} {shape}; give an image_size or drop the episode"
                    )
                data = np.ascontiguousarray(image).data
                checksum = zlib.crc32(data, checksum)
                file.write(data)
                count += 1
    return {"dtype": dtype, "shape": [count, *shape], "crc32": checksum}


def _is_whole(path: Path) -> bool:
    """Say whether a cache is there and holds what was written, reading all of it."""
    try:
        cameras = json.loads((path / "cache.json").read_text())["cameras"]
        return all(_crc32(path / f"{name}.raw") == facts["crc32"] for name, facts in cameras.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(CRC_BYTES):
            checksum = zlib.crc32(piece, checksum)
    return checksum
