"""Tasks laid out for a ViperX-like arm, which reaches less far than the arm that the tasks are made for."""

from collections.abc import Mapping
from typing import Any

from sim.task import StartRange

START = StartRange((0.24, -0.06, 0.14), (0.32, 0.06, 0.22), 0.03)

LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "reach": {"start": START, "target_low_m": (0.24, -0.12, 0.10), "target_high_m": (0.34, 0.12, 0.25)},
}
