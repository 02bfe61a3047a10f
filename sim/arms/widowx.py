"""Tasks laid out for a WidowX-like arm, which reaches less far than the arm that the tasks are made for."""

from collections.abc import Mapping
from typing import Any

from sim.task import StartRange

START = StartRange((0.21, -0.05, 0.12), (0.27, 0.05, 0.19), 0.018)

LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "reach": {"start": START, "target_low_m": (0.20, -0.10, 0.09), "target_high_m": (0.29, 0.10, 0.21)},
}
