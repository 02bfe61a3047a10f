"""A station's file as a tree, with what it takes over from another station filled in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from robot.errors import ConfigError

LIKE = "like"


def read_tree(path: Path, find: Callable[[str], Path], above: tuple[Path, ...] = ()) -> Any:
    """Return the YAML of a station file; `like: NAME` takes over from another station what this one does not say.

    Mappings are merged, everything else (a list, a number) is replaced whole, so that no joint is written twice.

    Args:
        path: of the file.
        find: gives the path of the station with a name, or raises ConfigError.
        above: the files that led here.
    """
    if path in above:
        raise ConfigError(f"station file {path} is like itself: {' -> '.join(one.name for one in (*above, path))}")
    try:
        tree = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"station file {path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict) or LIKE not in tree:
        return tree
    own = {key: value for key, value in tree.items() if key != LIKE}
    return merged(read_tree(find(str(tree[LIKE])), find, (*above, path)), own)


def merged(base: Any, own: Any) -> Any:
    """Return `own` laid over `base`."""
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    return {**base, **{key: merged(base.get(key), value) for key, value in own.items()}}
