"""Read diffusion policy's replay buffer (its `common/replay_buffer.py`): episodes one after the other in flat arrays.

    data/<key>            (T, ...) over all episodes: `action`, `state`, `keypoint`, `robot_eef_pose`, ...; images are
                          (T, H, W, 3), uint8 or float32 with values 0 to 255
    meta/episode_ends     (episodes,) one past the last row of each episode, rising

A folder (Zarr 2 or 3) or its `.zarr.zip`. The format has neither rate, task nor outcome.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import ZipStore

from policies.data.foreign import ForeignEpisode
from robot.errors import ConfigError

REWARDS = ("reward", "rewards")
BLOCK = 64  # images


def read_diffusion_policy(path: Path, *, task: str = "", rate_hz: float | None = None) -> Iterator[ForeignEpisode]:
    """Yield the episodes in order.

    Args:
        path: the zarr folder or zip file.
        task: name of the task; the file's name by default.
        rate_hz: of the steps; has to be given.

    Raises:
        ConfigError: not such a buffer, or a part that is absent or damaged; it names the part.
    """
    if rate_hz is None:
        raise ConfigError(f"{path}: this format does not say at what rate it was recorded; give --rate-hz")
    stem = path.name.partition(".zarr")[0]
    try:
        store = ZipStore(path, mode="r") if path.is_file() else str(path)
        yield from _episodes(zarr.open_group(store, mode="r"), stem, task or stem, rate_hz)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:  # zarr lets through whatever its codecs and stores raise on a damaged file
        text = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} cannot be read as a zarr replay buffer: {type(error).__name__}: {text}") from error


def _episodes(root: zarr.Group, stem: str, task: str, rate_hz: float) -> Iterator[ForeignEpisode]:
    arrays = {name: _array(root, f"data/{name}") for name in _names(root)}
    if "action" not in arrays:
        raise ConfigError(f"data has no 'action'; it has {', '.join(arrays) or 'nothing'}")
    ends = np.asarray(_array(root, "meta/episode_ends")[:])
    rows = arrays["action"].shape[0]
    is_rising = ends.ndim == 1 and ends.dtype.kind in "iu" and len(ends) and (np.diff([0, *ends.tolist()]) > 0).all()
    if not is_rising or ends[-1] != rows:
        raise ConfigError(
            f"meta/episode_ends must rise to {rows}, the rows of data/action; it is {ends.tolist()[:8]}..."
        )
    for name, array in arrays.items():
        if array.shape[0] != rows:
            raise ConfigError(f"data/{name} has {array.shape[0]} rows, data/action has {rows}")
    starts = [0, *ends[:-1].tolist()]
    for number, (start, stop) in enumerate(zip(starts, ends.tolist(), strict=True)):
        yield _episode(arrays, f"{stem}-{number:06}", task, rate_hz, slice(start, stop))


def _names(root: zarr.Group) -> list[str]:
    data = root.get("data")
    if not isinstance(data, zarr.Group):
        raise ConfigError("there is no group 'data'")
    return sorted(data.array_keys())


def _array(root: zarr.Group, name: str) -> Any:
    found = root.get(name)
    if not isinstance(found, zarr.Array) or not found.ndim:
        raise ConfigError(f"there is no array '{name}'")
    return found


def _episode(arrays: dict[str, Any], name: str, task: str, rate_hz: float, rows: slice) -> ForeignEpisode:
    images = {key: array for key, array in arrays.items() if array.ndim == 4 and array.shape[3] == 3}
    kept = {key: array for key, array in arrays.items() if key not in (*images, *REWARDS, "action")}
    reward = next((arrays[key][rows] for key in REWARDS if key in arrays), None)
    return ForeignEpisode(
        name=name,
        observation={key: array[rows] for key, array in kept.items()},
        action=arrays["action"][rows],
        rate_hz=rate_hz,
        task=task,
        reward=None if reward is None else reward.reshape(len(reward), -1)[:, 0],
        images={key: _Images(array, key, rows) for key, array in images.items()},
    )


class _Images:
    """Images of one episode, read a block at a time: a chunk of the array holds many."""

    def __init__(self, array: Any, name: str, rows: slice) -> None:
        self._array, self._name, self._rows = array, name, rows
        self._begin, self._block = 0, np.empty(0)

    def __call__(self, step: int) -> np.ndarray:
        row = self._rows.start + step
        if not self._begin <= row < self._begin + len(self._block):
            self._begin, self._block = row, np.asarray(self._array[row : min(row + BLOCK, self._rows.stop)])
        image = self._block[row - self._begin]
        if image.dtype.kind == "f":
            if not np.isfinite(image).all() or image.min() < 0 or image.max() > 255:
                raise ConfigError(f"data/{self._name}, row {row}: values must be finite, 0 to 255")
            image = image.round().astype(np.uint8)
        return image
