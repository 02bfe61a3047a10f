"""16-bit depth as an 8-bit colour picture, without loss, for formats that know colour alone.

A reading is counted in steps from the nearest one seen. Red has the whole steps, so it is a depth image of 8 bits that
a network can look at; green has the rest within a step; blue is 255 where there was no reading (0). Red and green are 0
there. With at most 256 readings to a step every 16-bit value has a place. The picture has to stay exact: PNG, no video.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.errors import ConfigError

LEVELS = 256


@dataclass(frozen=True, slots=True)
class DepthPacking:
    """The nearest reading and the readings to a step of red, both in the unit of the depth image (our cameras: mm)."""

    nearest: int
    step: int

    def __post_init__(self) -> None:
        if not (0 <= self.nearest < LEVELS**2 and 1 <= self.step <= LEVELS):
            raise ConfigError(
                f"depth packing: nearest {self.nearest} and step {self.step}; allowed: 0 to 65535 and 1 to 256"
            )

    @classmethod
    def over(cls, images: Iterable[NDArray[np.uint16]]) -> "DepthPacking":
        """Return the packing that spreads red over the readings of these images."""
        nearest, farthest = LEVELS**2, 0
        for image in images:
            readings = image[image > 0]
            if readings.size:
                nearest, farthest = min(nearest, int(readings.min())), max(farthest, int(readings.max()))
        if farthest == 0:
            return cls(0, 1)
        return cls(nearest, -(-(farthest - nearest + 1) // LEVELS))

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "DepthPacking":
        return cls(int(facts["nearest"]), int(facts["step"]))

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    def pack(self, depth: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return (H, W, 3) of depth (H, W); ConfigError for a reading outside of what the packing was made for."""
        is_seen = depth > 0
        above = np.where(is_seen, depth.astype(np.int64) - self.nearest, 0)
        if above.min(initial=0) < 0 or above.max(initial=0) >= LEVELS * self.step:
            raise ConfigError(
                f"depth readings reach from {depth[is_seen].min()} to {depth.max()}; this packing has a place for "
                f"{self.nearest} to {self.nearest + LEVELS * self.step - 1}"
            )
        missing = np.where(is_seen, 0, LEVELS - 1)
        return np.stack([above // self.step, above % self.step, missing], axis=-1).astype(np.uint8)

    def unpack(self, picture: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return depth (H, W) of what `pack` made; ConfigError for a picture that it cannot have made."""
        red, green, blue = np.moveaxis(picture.astype(np.int64), -1, 0)
        is_seen = blue == 0
        depth = np.where(is_seen, self.nearest + red * self.step + green, 0)
        is_whole = np.isin(blue, (0, LEVELS - 1)).all() and (green < self.step).all() and depth.max(initial=0) < 2**16
        if not is_whole or ((red + green)[~is_seen] != 0).any() or (depth[is_seen] == 0).any():
            raise ConfigError("a picture of packed depth is not what was packed; it must not pass a lossy codec")
        return depth.astype(np.uint16)
