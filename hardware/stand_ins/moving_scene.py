"""What every camera stand-in shows: one colour with a grey bar that moves on with each picture, and a stepped depth."""

import numpy as np

RED = (200, 0, 0)
BAR = 255
STRIDE = 8  # columns per picture
FAR_MM, NEAR_MM = 1000, 500


def color_image(number: int, width: int, height: int, background: tuple[int, int, int] = RED) -> np.ndarray:
    """Return picture `number`, uint8 (height, width, 3) RGB."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = background
    image[:, bar(number, width)] = BAR
    return image


def depth_image(number: int, width: int, height: int) -> np.ndarray:
    """Return the depth of picture `number`, uint16 (height, width) [mm]: the bar stands in front."""
    depth = np.full((height, width), FAR_MM, np.uint16)
    depth[:, bar(number, width)] = NEAR_MM
    return depth


def bar(number: int, width: int) -> slice:
    """Return the columns of the bar in picture `number`."""
    start = number * STRIDE % (width - STRIDE)
    return slice(start, start + STRIDE)
