"""Tasks laid out for a Koch-like arm, which is small and can point its tool straight down only close by and low."""

from collections.abc import Mapping
from typing import Any

from sim.task import StartRange

START = StartRange((0.125, -0.02, 0.03), (0.15, 0.02, 0.045), 0.015)

LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "reach": {"start": START, "target_low_m": (0.12, -0.05, 0.015), "target_high_m": (0.155, 0.05, 0.05)},
}
