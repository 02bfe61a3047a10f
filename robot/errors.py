"""Errors that say what failed, what was given, what would be accepted and what to do."""

import difflib
from collections.abc import Iterable


class RobotError(Exception):
    """Root of every error that Tandem raises on purpose."""


class DeviceNotFound(RobotError, LookupError):
    """A device named in the station file is not there."""


class DeviceDisconnected(RobotError, ConnectionError):
    """A device that was there stopped answering."""


class StaleObservation(RobotError, TimeoutError):
    """A required stream is older than its limit; no observation was made."""


class ActionRejected(RobotError, ValueError):
    """A command was refused as a whole; nothing moved because of it."""


class ConfigError(RobotError, ValueError):
    """A station, preset, flag or name that cannot be used."""


class CheckpointMismatch(RobotError, ValueError):
    """A checkpoint does not fit the station, the world or the code that loads it."""


class StoreError(RobotError, OSError):
    """An episode store that cannot be written or read; what was written before is kept."""


class MissingDependency(RobotError, ImportError):
    """An optional package is absent; the message names the extra to install."""


def unknown_name(kind: str, given: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a wrong name, with the nearest valid ones first.

    >>> str(unknown_name("task", "reech", ["reach", "lift"]))
    "unknown task 'reech': did you mean 'reach'? (known: lift, reach)"
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = " or ".join(f"'{name}'" for name in near)
    meant = f": did you mean {hint}?" if near else ";"
    return ConfigError(f"unknown {kind} '{given}'{meant} (known: {', '.join(names) or 'none'})")
