"""Before anything moves: what a checkpoint declares against what station and world have, and the first chunk.

`compare` makes the lines of the table, `check` refuses by the first that differs. Where one side declares nothing
(joints and units of worlds and of old checkpoints) the line says so and fits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robot.checkpoint_file import read_declared
from robot.chunk_runner import Execution
from robot.errors import CheckpointMismatch
from robot.policy import ActionChunk, PolicySpec
from robot.specs import StationSpec
from robot.types import Array
from robot.units import field_units
from robot.worlds import Interface

IMAGE, DEPTH = "image/", "depth/"
NOTHING, UNDECLARED = "nothing", "not declared"
POINTS_SHOWN = 4
SHOWN = 44  # characters of a value


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that must agree before anything moves."""

    field: str
    expected: str
    found: str
    fits: bool


def compare(spec: PolicySpec, world: Interface, execution: str = "") -> list[Line]:
    """Return every line of the comparison; ConfigError where the policy's chunks cannot be executed so.

    Args:
        spec: the policy's.
        world: what is there.
        execution: how chunks are to be executed; "" takes the policy's own way.
    """
    return [
        *_fields(spec, world),
        _declared("joints", " ".join(spec.joint_names), " ".join(world.joint_names)),
        _line("action", " ".join(spec.action_names), " ".join(world.action_names)),
        *(_declared(f"units of {name}", unit, world.units.get(name, "")) for name, unit in spec.units.items()),
        Line(
            "rate",
            f"{spec.rate_hz:g} Hz",
            f"{world.rate_hz:g} Hz",
            abs(spec.rate_hz - world.rate_hz) <= 1e-6 * world.rate_hz,
        ),
        Line(
            "horizons",
            f"sees {spec.obs_horizon}, predicts {spec.action_horizon}, executes {spec.execution_horizon}",
            str(Execution.of(spec, execution)),
            True,
        ),
    ]


def _fields(spec: PolicySpec, world: Interface) -> Iterable[Line]:
    for name, shape in spec.observation_shapes.items():
        found = world.observation_shapes.get(name)
        label = f"camera {name.removeprefix(IMAGE)}" if name.startswith(IMAGE) else f"observation {name}"
        yield _line(label, str(tuple(shape)), NOTHING if found is None else str(tuple(found)))


def _line(name: str, expected: str, found: str) -> Line:
    return Line(name, expected, found or NOTHING, expected == found)


def _declared(name: str, expected: str, found: str) -> Line:
    return Line(name, expected or UNDECLARED, found or UNDECLARED, not expected or not found or expected == found)


def check(lines: Sequence[Line], where: str) -> None:
    """Raise CheckpointMismatch, one line, that names the first field that differs."""
    wrong = [line for line in lines if not line.fits]
    if wrong:
        first, more = wrong[0], f" ({len(wrong) - 1} more differ)" if len(wrong) > 1 else ""
        raise CheckpointMismatch(
            f"the policy does not fit {where}: {first.field}: the checkpoint expects {first.expected}, "
            f"found {first.found}{more}; train it for this station or give another checkpoint"
        )


def table(lines: Sequence[Line]) -> str:
    """Return the lines as text, one below the other; long values that fit are cut."""
    rows = [("", "expected", "found", "")]
    for line in lines:
        expected, found = (_cut(text) if line.fits else text for text in (line.expected, line.found))
        rows.append((line.field, expected, found, "ok" if line.fits else "DIFFERS"))
    return _aligned(rows)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def check_chunk(chunk: ActionChunk, spec: PolicySpec, low: Array, high: Array) -> None:
    """Raise CheckpointMismatch for a chunk of another shape, not finite, or so far out that its units must be others.

    Args:
        chunk: the policy's first answer.
        spec: the policy's.
        low: of the world's action box, shape (action_dim,); infinite where there is none.
        high: of the same.
    """
    actions = np.asarray(chunk.actions)
    wanted = (spec.action_horizon, len(spec.action_names))
    if actions.ndim != 2 or not 1 <= len(actions) <= wanted[0] or actions.shape[1] != wanted[1]:
        raise CheckpointMismatch(f"the first chunk has shape {actions.shape}, expected {wanted}")
    if not np.isfinite(actions).all():
        raise CheckpointMismatch("the first chunk holds values that are not finite: the checkpoint cannot be used")
    span = high - low
    for i, name in enumerate(spec.action_names):
        worst = actions[np.abs(actions[:, i] - (low[i] + high[i]) / 2).argmax(), i]
        if np.isfinite(span[i]) and not low[i] - span[i] <= worst <= high[i] + span[i]:
            raise CheckpointMismatch(
                f"the first chunk asks {worst:.4g} of action {name}, the station takes {low[i]:.4g} to {high[i]:.4g}: "
                "the checkpoint was trained in other units or for another station"
            )


def chunk_table(chunk: ActionChunk, spec: PolicySpec, low: Array, high: Array) -> str:
    """Return the first points of a chunk as text, beside what the station takes."""
    units = spec.units.get("action", "").split() or [""] * len(spec.action_names)
    points = chunk.actions[:POINTS_SHOWN]
    rows = [("first chunk", "unit", "allowed", *(f"{(i + 1) * 1e3 / spec.rate_hz:.0f} ms" for i in range(len(points))))]
    for i, name in enumerate(spec.action_names):
        rows.append((name, units[i], f"{low[i]:.3g} to {high[i]:.3g}", *(f"{value:.4f}" for value in points[:, i])))
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"  {line.rstrip()}" for line in lines)


def station_interface(station: StationSpec, spec: PolicySpec, cameras: Sequence[str] | None = None) -> Interface:
    """Return what the graph of a station will offer a policy, as far as it is known before the first observation.

    The graph gives square images of any one size; the size of `object_state` is the task's and taken as expected.
    """
    names = [camera.name for camera in station.cameras] if cameras is None else list(cameras)
    n = len(station.joint_names)
    sizes = {"joint_position": (n,), "joint_velocity": (n,), "tcp_position": (3 * len(station.sides),)}
    shapes = {name: sizes.get(name, spec.observation_shapes.get(name, ())) for name in station.observation}
    wanted = {spec.observation_shapes[IMAGE + name] for name in names if IMAGE + name in spec.observation_shapes}
    side = min((shape[0] for shape in wanted), default=0)
    shapes |= {IMAGE + name: (side, side, 3) for name in names}
    shapes |= {DEPTH + name: (side, side) for name in names if station.camera(name).has_depth}
    return Interface(
        shapes, station.action_names, station.control_rate_hz, 0, station.joint_names, field_units(station)
    )


def examine_file(
    path: Path, station: StationSpec, *, cameras: Sequence[str] | None = None, execution: str = ""
) -> None:
    """Read a checkpoint without building its policy, print its table for a station, and refuse what does not fit."""
    declared = read_declared(path)
    lines = compare(declared.spec, station_interface(station, declared.spec, cameras), execution)
    print(f"{declared.path} ({declared.kind}, sha256 {declared.sha256[:12]}) on {station.name}:")
    print(table(lines), flush=True)
    check(lines, f"station {station.name}")
