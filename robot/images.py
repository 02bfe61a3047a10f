"""Camera images as stored and sent: JPEG for colour, PNG for 16-bit depth."""

import cv2
import numpy as np
from numpy.typing import NDArray

from robot.errors import RobotError

PNG_LEVEL = 1  # 16-bit VGA depth in about 8 ms; higher levels cost far more time than they save space


class ImageError(RobotError, ValueError):
    """An image that cannot be encoded, or bytes that are not an image."""


def encode_image(image: NDArray[np.uint8] | NDArray[np.uint16], *, jpeg_quality: int = 90) -> bytes:
    """Encode uint8 HWC RGB as JPEG, or uint16 HW depth as lossless PNG.

    Raises:
        ImageError: any other dtype or shape, or a quality outside 1..100.
    """
    if not 1 <= jpeg_quality <= 100:
        raise ImageError(f"jpeg_quality is {jpeg_quality}, allowed: 1 to 100")
    if image.size and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        rgb = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1].tobytes()
    if image.size and image.dtype == np.uint16 and image.ndim == 2:
        return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1].tobytes()
    raise ImageError(
        f"cannot encode an image of {image.dtype} {image.shape}; allowed: uint8 (height, width, 3) RGB, "
        "or uint16 (height, width) depth"
    )


def decode_image(blob: bytes) -> np.ndarray:
    """Decode what `encode_image` made: uint8 HWC RGB, or uint16 HW depth."""
    image = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_UNCHANGED) if blob else None
    if image is None:
        raise ImageError(f"{len(blob)} bytes that start with {blob[:8]!r} are neither a JPEG nor a PNG image")
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
