"""Resolve a preset by name and apply `name=value` overrides from a command line."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from robot.errors import ConfigError, unknown_name

Config = TypeVar("Config")


def resolve(presets: Mapping[str, Config], name: str, overrides: Sequence[str] = (), **changes: Any) -> Config:
    """Return the preset with overrides applied; changes that are None leave the preset's value.

    Raises:
        ConfigError: wrong preset, wrong field, or a value of the wrong type; names what is allowed.
    """
    if name not in presets:
        raise unknown_name("preset", name, presets)
    config = presets[name]
    parsed = {key: _parse(config, key, text) for key, text in (_pair(override) for override in overrides)}
    wanted = parsed | {key: value for key, value in changes.items() if value is not None}
    return replace(config, **wanted)  # type: ignore[type-var]


def with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings read from JSON or TOML as a configuration holds them: tuples in the place of lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _pair(override: str) -> tuple[str, str]:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"override '{override}' is not of the form name=value")
    return key.strip(), text.strip()


def _parse(config: Any, key: str, text: str) -> Any:
    names = [field.name for field in fields(config)]
    if key not in names:
        raise unknown_name(f"setting of {type(config).__name__}", key, names)
    hint = get_type_hints(type(config))[key]
    try:
        return _value(hint, text)
    except ValueError:
        raise ConfigError(f"setting {key}: got '{text}', expected {getattr(hint, '__name__', hint)}") from None


def _value(hint: Any, text: str) -> Any:
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return tuple(_value(item, part) for part in text.split(",") if part)
    if isinstance(hint, UnionType):
        return None if text == "none" else _value(get_args(hint)[0], text)
    if hint is bool:
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _refuse()
    return hint(text)


def _refuse() -> bool:
    raise ValueError
