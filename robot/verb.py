"""One verb of the command `tandem`: a frozen configuration dataclass and the function that runs it.

A module offers a verb by a module-level `VERB = Verb(Config, run, "one line of help")` and an entry point in the group
`tandem.verbs`. `run(config)` prints what a person wants to read and returns what a program wants: a mapping that
`--json` turns into the last line of standard output. A false `"ok"` in it makes the exit code 1.
"""

import contextlib
import dataclasses
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from robot.errors import ConfigError

Item = TypeVar("Item")
BOX = "╭╮╰╯│─├┤ "


@dataclasses.dataclass(frozen=True, slots=True)
class Verb:
    """`config` is a frozen dataclass, or a union of them (`Show | Check`) where the verb has sub-verbs."""

    config: Any
    run: Callable[[Any], Mapping[str, Any] | None]
    help: str


def parse_config(verb: Verb, name: str, args: Sequence[str]) -> Any:
    """Build the verb's configuration from command line words.

    Raises ConfigError, one line, for words that do not fit, and SystemExit(0) after `--help`.
    """
    import tyro

    complaint = io.StringIO()
    description = f"{verb.help}\n\nEvery verb takes --json: one JSON object is the last line of standard output."
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(verb.config, prog=f"tandem {name}", description=description, args=list(args))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(f"{_unboxed(complaint.getvalue())} (all flags: tandem {name} --help)") from None


def _unboxed(text: str) -> str:
    """Flatten the parser's framed message to one line, without its title and its pointer to the help."""
    lines = [line.strip(BOX) for line in text.splitlines() if not line.startswith("╭")]
    blocks = "\n".join(lines).split("\n\n")
    sections = [" ".join(block.split()) for block in blocks]
    return "; ".join(part for part in sections if part and not part.startswith("For full helptext"))


def progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items behind a progress bar on standard error; no bar where that is not a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(items, description, total=total, console=console, disable=not console.is_terminal)


def json_line(result: Mapping[str, Any]) -> str:
    """Return strict JSON on one line; numbers that are not finite become null."""
    return json.dumps(_plain(result), allow_nan=False)


def _plain(value: Any) -> Any:
    """Reduce containers to dict and list, and what they hold to what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(_scalar(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> bool | int | float | str | None:
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"a verb's result holds {value!r} of type {type(value).__name__}, which JSON has no form for")


def run_verb(verb: Verb, name: str, args: Sequence[str], as_json: bool) -> int:
    """Parse, run and return the exit code; with `as_json` whatever the verb prints goes to standard error."""
    config = parse_config(verb, name, args)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        result = verb.run(config) or {}
    if as_json:
        print(json_line(result), flush=True)
    return 0 if result.get("ok", True) else 1
