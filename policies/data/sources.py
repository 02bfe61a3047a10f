"""Where demonstrations of a verb come from: a file, an episode store, or the world's scripted expert."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from policies.data.demonstrations import Demonstrations, collect
from policies.data.episodes import read_store
from policies.observations import image_shapes
from robot.errors import ConfigError


@dataclass(frozen=True)
class DemonstrationOptions:
    """Which demonstrations a verb learns from, and what of them a base reads."""

    demos: int = 50
    """Successful demonstrations to collect where no --data is given."""
    data: Path | None = None
    """A demonstrations file or the folder of an episode store."""
    fields: tuple[str, ...] = ()
    """Vectors of the observation that the base reads; none named: all."""
    images: tuple[str, ...] = ()
    """Cameras that the base sees through; none named: none."""
    image_size: int = 84
    """Side of its square images [pixels]."""


def obtain(
    env_id: str | None,
    data: Path | None,
    episodes: int,
    seed: int,
    keep: Path,
    *,
    fields: Sequence[str] = (),
    images: Sequence[str] = (),
    image_size: int = 84,
) -> tuple[Demonstrations, str]:
    """Return demonstrations and their sha256; collected ones are saved at `keep`, and found there again.

    Args:
        env_id: the world to collect in; may be None where `data` is given.
        data: a demonstrations file or the folder of an episode store; None to collect.
        episodes: how many successes to collect.
        seed: of the starts and of the expert.
        keep: file for collected demonstrations.
        fields: vectors that the policy shall read; none named: all.
        images: cameras it shall see through; none named: none.
        image_size: side of its images [pixels].
    """
    if data is None and keep.is_file():
        data = keep
    if data is not None:
        if not data.exists():
            raise ConfigError(f"no demonstrations at {data}: give a demonstrations file or an episode store's folder")
        is_store = data.is_dir()
        found = read_store(data, images=images, image_size=image_size) if is_store else Demonstrations.load(data)
        sha256 = found.sha256
    elif env_id is None:
        raise ConfigError("nothing to learn from: give --env (its scripted expert demonstrates) or --data")
    else:
        found = collect(env_id, episodes, seed, images=images, image_size=image_size)
        sha256 = found.save(keep)
    return found.select(fields, images_from(found, images)), sha256


def images_from(demonstrations: Demonstrations, cameras: Sequence[str]) -> list[str]:
    """Return the image fields of the named cameras, depth included; ConfigError where a camera has none."""
    names = [name for name in image_shapes(demonstrations.observation_shapes) if name.partition("/")[2] in cameras]
    absent = set(cameras) - {name.partition("/")[2] for name in names}
    if absent:
        raise ConfigError(f"the demonstrations have no images of {sorted(absent)}: record them, or leave out --images")
    return names
