"""Damage done to files, and what a reader makes of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robot.errors import RobotError

KINDS = ("flip", "zero", "cut", "insert", "swap", "empty")


def mutate(data: bytes, chance: np.random.Generator) -> bytes:
    """Damage a file as disks, copies and editors do."""
    kind = KINDS[chance.integers(len(KINDS))]
    if not data or kind == "empty":
        return b""
    start = int(chance.integers(len(data)))
    stop = min(len(data), start + int(chance.integers(1, 40)))
    if kind == "flip":
        return data[:start] + bytes([data[start] ^ (1 << int(chance.integers(8)))]) + data[start + 1 :]
    if kind == "cut":
        return data[:start]
    if kind == "insert":
        return data[:start] + chance.bytes(stop - start) + data[start:]
    if kind == "swap":
        return data[:start] + data[start:stop][::-1] + data[stop:]
    return data[:start] + bytes(stop - start) + data[stop:]


def damaged(paths: list[Path], count: int, seed: int) -> Iterator[bool]:
    """Damage one of the files at a time, `count` times, and mend it again; False where the damage changed nothing."""
    chance = np.random.default_rng(seed)
    for _ in range(count):
        path = paths[int(chance.integers(len(paths)))]
        whole = path.read_bytes()
        broken = mutate(whole, chance)
        path.write_bytes(broken)
        yield broken != whole
        path.write_bytes(whole)


def outcome(read: Callable[[], Any]) -> Any:
    """Return what was read, or the error, which has to be ours and one line of help."""
    try:
        return read()
    except RobotError as error:
        assert len(str(error)) > 20
        return error
