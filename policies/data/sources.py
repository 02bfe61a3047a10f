"""Where demonstrations of a verb come from: a file, an episode store, or the world's scripted expert."""

from pathlib import Path

from policies.data.demonstrations import Demonstrations, collect
from policies.data.episodes import read_store
from robot.errors import ConfigError


def obtain(env_id: str | None, data: Path | None, episodes: int, seed: int, keep: Path) -> tuple[Demonstrations, str]:
    """Return demonstrations and their sha256; collected ones are saved at `keep`, and found there again.

    Args:
        env_id: the world to collect in; may be None where `data` is given.
        data: a demonstrations file or the folder of an episode store; None to collect.
        episodes: how many successes to collect.
        seed: of the starts and of the expert.
        keep: file for collected demonstrations.
    """
    if data is None and keep.is_file():
        data = keep
    if data is not None:
        if not data.exists():
            raise ConfigError(f"no demonstrations at {data}: give a demonstrations file or an episode store's folder")
        demonstrations = read_store(data) if data.is_dir() else Demonstrations.load(data)
        return demonstrations, demonstrations.sha256
    if env_id is None:
        raise ConfigError("nothing to learn from: give --env (its scripted expert demonstrates) or --data")
    demonstrations = collect(env_id, episodes, seed)
    return demonstrations, demonstrations.save(keep)
