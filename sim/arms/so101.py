"""Tasks laid out for an SO-101-like arm: small things, close by and low, where its tool can point straight down."""

from collections.abc import Mapping
from typing import Any

from sim.objects import Bin, Cube
from sim.task import StartRange

CUBE = Cube(half_m=0.0125, mass_kg=0.02)
START = StartRange((0.18, -0.03, 0.055), (0.22, 0.03, 0.070), 0.03)

LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "reach": {"start": START, "target_low_m": (0.17, -0.08, 0.02), "target_high_m": (0.22, 0.08, 0.07)},
    "lift": {
        "start": START,
        "cube": CUBE,
        "cube_low_m": (0.17, -0.07),
        "cube_high_m": (0.22, 0.07),
        "lift_m": 0.04,
    },
    "place-in-bin": {
        "start": START,
        "cube": CUBE,
        "bin": Bin(inner_half_m=0.04, height_m=0.02),
        "cube_low_m": (0.16, -0.11),
        "cube_high_m": (0.21, -0.05),
        "bin_low_m": (0.17, 0.08),
        "bin_high_m": (0.20, 0.11),
    },
}
