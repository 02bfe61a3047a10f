"""A YAML tree as frozen dataclasses, or one line that names the part that is missing, unknown or of another type."""

from dataclasses import fields, is_dataclass
from types import GenericAlias, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from robot.errors import ConfigError, unknown_name


def build(kind: Any, value: Any, where: str) -> Any:
    """Return a YAML tree as a value of `kind`; ConfigError names the place in it that does not fit.

    Args:
        kind: a dataclass, a union of such, a tuple of values, a literal or a plain type.
        value: what YAML gave.
        where: what the place is called, the file's name to begin with.
    """
    if is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    dataclasses = [one for one in get_args(kind) if is_dataclass(one)]
    if isinstance(kind, UnionType) and dataclasses:
        return _build_dataclass(_fitting(dataclasses, value), value, where)
    if get_origin(kind) is tuple or isinstance(kind, GenericAlias):
        return _build_tuple(kind, value, where)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ConfigError(f"{where}: got {value!r}, allowed: {', '.join(map(repr, get_args(kind)))}")
        return value
    allowed = get_args(kind) or (kind,)
    if float in allowed and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not np.isfinite(value):
            raise ConfigError(f"{where}: got {value!r}, a finite number is needed")
        return float(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in allowed)
        raise ConfigError(f"{where}: got {value!r}, expected {names}")
    return value


def _fitting(kinds: list[Any], value: Any) -> Any:
    """Return the kind that knows most of a mapping's keys."""
    keys = set(value) if isinstance(value, dict) else set()
    return max(kinds, key=lambda kind: len(keys & {f.name for f in fields(kind)}))


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: got {value!r}, expected a mapping with {[f.name for f in fields(kind) if f.init]}")
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind) if f.init}
    for key in value:
        if key not in known:
            raise unknown_name(f"key in {where}", str(key), known)
    try:
        return kind(**{key: build(hints[key], item, f"{where}: {key}") for key, item in value.items()})
    except TypeError as error:
        raise ConfigError(f"{where}: {str(error).partition('() ')[2] or error}") from error


def _build_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    items = get_args(kind)
    if not isinstance(value, list):
        raise ConfigError(f"{where}: got {value!r}, expected a list")
    if items[-1] is not Ellipsis and len(value) != len(items):
        raise ConfigError(f"{where}: got {len(value)} values, expected {len(items)}")
    return tuple(build(items[0], item, f"{where}[{i}]") for i, item in enumerate(value))
