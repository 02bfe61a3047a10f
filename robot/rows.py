"""One row of what a benchmark or a gate found: the same seven facts in all of them."""

from typing import Any


def row(
    metric: str, value: float | None, unit: str, *, target: Any, ok: bool, reference: float | None = None
) -> dict[str, Any]:
    """Return one row; `ratio` is that of the value to the reference, None where either is not there.

    Args:
        metric: what was measured, in words.
        value: what was found; None: not measured here.
        unit: of the value.
        target: what it is held to; None: it is told, not held.
        ok: whether the target is met.
        reference: what a peer or a baseline gave in the same run.
    """
    ratio = value / reference if value is not None and reference else None
    names = ("metric", "value", "unit", "reference", "ratio", "target", "ok")
    return dict(zip(names, (metric, value, unit, reference, ratio, target, ok), strict=True))
