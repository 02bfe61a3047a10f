"""Read robomimic's HDF5 demonstrations (robomimic documentation, "Dataset structure").

data                 attribute `env_args`: JSON with `env_name` and `env_kwargs` (`control_freq` [Hz])
data/demo_<i>        attribute `num_samples`
    obs/<key>        (T, ...); images are uint8 (T, H, W, 3)
    actions          (T, A)
    rewards, dones   (T,); a demonstration succeeded where a reward is positive or its last `dones` is set
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from policies.data.foreign import ForeignEpisode
from robot.errors import ConfigError


def read_robomimic(path: Path, *, task: str = "", rate_hz: float | None = None) -> Iterator[ForeignEpisode]:
    """Yield the demonstrations in the order of their numbers.

    Args:
        path: the HDF5 file.
        task: name of the task; the file's `env_name` by default.
        rate_hz: of the steps; the file's `control_freq` by default.

    Raises:
        ConfigError: not such a file, or a part that is absent or damaged; it names the part.
    """
    try:
        with h5py.File(path, "r") as file:
            yield from _demonstrations(file, path.stem, task, rate_hz)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise ConfigError(f"{path} cannot be read as robomimic's HDF5: {_short(error)}") from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _demonstrations(file: h5py.File, stem: str, task: str, rate_hz: float | None) -> Iterator[ForeignEpisode]:
    data = _group(file, "data")
    env_args = json.loads(data.attrs.get("env_args", "{}"))
    rate_hz = rate_hz or env_args.get("env_kwargs", {}).get("control_freq")
    if not isinstance(rate_hz, (int, float)):
        raise ConfigError("data has no env_args with env_kwargs.control_freq; give --rate-hz")
    names = sorted((name for name in data if re.fullmatch(r"demo_\d+", name)), key=lambda name: int(name[5:]))
    if not names:
        raise ConfigError(f"data has no demo_<number>; it has {', '.join(data) or 'nothing'}")
    for name in names:
        yield _demonstration(_group(data, name), f"{stem}-{name}", task or env_args.get("env_name", ""), float(rate_hz))


def _group(parent: Any, name: str) -> Any:
    found = parent.get(name)
    if not isinstance(found, h5py.Group):
        raise ConfigError(f"{parent.name} has no group '{name}'; it has {', '.join(parent) or 'nothing'}")
    return found


def _array(parent: Any, name: str) -> Any:
    found = parent.get(name)
    if not isinstance(found, h5py.Dataset):
        raise ConfigError(f"{parent.name} has no dataset '{name}'; it has {', '.join(parent) or 'nothing'}")
    return found


def _demonstration(demo: Any, name: str, task: str, rate_hz: float) -> ForeignEpisode:
    observations = _group(demo, "obs")
    actions = _array(demo, "actions")[:]
    steps = int(demo.attrs.get("num_samples", len(actions)))
    if steps != len(actions):
        raise ConfigError(f"{demo.name}: num_samples is {steps}, actions has {len(actions)} rows; it is cut off")
    arrays = {key: _array(observations, key) for key in observations}
    images = {key: array for key, array in arrays.items() if array.ndim == 4 and array.dtype == np.uint8}
    for key, array in images.items():
        if len(array) != steps:
            raise ConfigError(f"{demo.name}: obs/{key} has {len(array)} images, actions has {steps} rows")
    ends = [_array(demo, key)[:] for key in ("rewards", "dones") if key in demo]
    return ForeignEpisode(
        name=name,
        observation={key: array[:] for key, array in arrays.items() if key not in images},
        action=actions,
        rate_hz=rate_hz,
        task=task,
        reward=_array(demo, "rewards")[:] if "rewards" in demo else None,
        is_success=any(bool(np.max(end) > 0) for end in ends) if ends else None,
        images={key.removesuffix("_image"): array.__getitem__ for key, array in images.items()},
    )
