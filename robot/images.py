"""Camera images as stored and sent: WebP or JPEG for colour, PNG for 16-bit depth."""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, WebPImagePlugin

from robot.errors import RobotError
from robot.specs import ImageSpec

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

DEFAULT = ImageSpec()

RICH = 0.3  # bytes per pixel as JPEG; `auto` keeps what takes more: WebP would be slow to decode and save a third
PNG_LEVEL = 1  # 16-bit VGA depth in about 8 ms; higher levels cost far more time than they save space
WEBP_METHOD = 1  # of 0 to 6; VGA in 5 to 10 ms. 4, the usual one, takes three times as long to save a tenth


class ImageError(RobotError, ValueError):
    """An image that cannot be encoded, or bytes that are not an image."""


def encode_image(image: Pixels, *, jpeg_quality: int = 90) -> bytes:
    """Encode uint8 HWC RGB as JPEG, the fastest, or uint16 HW depth as lossless PNG.

    Raises:
        ImageError: any other dtype or shape, or a quality outside 1..100.
    """
    if not _is_colour(image):
        return _encode_depth(image)
    rgb = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    quality = _checked("jpeg_quality", jpeg_quality)
    return cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_for_store(image: Pixels, images: ImageSpec = DEFAULT) -> bytes:
    """Encode uint8 HWC RGB as the station wants it kept, or uint16 HW depth as lossless PNG.

    Raises:
        ImageError: any other dtype or shape, or a quality outside 1..100.
    """
    if not _is_colour(image):
        return _encode_depth(image)
    if images.codec == "webp":
        return _encode_webp(image, images.webp_quality)
    jpeg = encode_image(image, jpeg_quality=images.jpeg_quality)
    is_rich = len(jpeg) > RICH * image.shape[0] * image.shape[1]
    return jpeg if images.codec == "jpeg" or is_rich else _encode_webp(image, images.webp_quality)


def decode_image(blob: bytes) -> np.ndarray:
    """Decode what was encoded here: uint8 HWC RGB, or uint16 HW depth."""
    image = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_UNCHANGED) if blob else None
    if image is None:
        raise ImageError(f"{len(blob)} bytes that start with {blob[:8]!r} are neither a WebP, a JPEG nor a PNG image")
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_colour(image: Pixels) -> bool:
    return bool(image.size) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def _encode_webp(image: Pixels, webp_quality: int) -> bytes:
    blob = io.BytesIO()
    quality = _checked("webp_quality", webp_quality)
    Image.fromarray(image).save(blob, WebPImagePlugin.WebPImageFile.format, quality=quality, method=WEBP_METHOD)
    return blob.getvalue()


def _encode_depth(image: Pixels) -> bytes:
    if image.size and image.dtype == np.uint16 and image.ndim == 2:
        return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1].tobytes()
    raise ImageError(
        f"cannot encode an image of {image.dtype} {image.shape}; allowed: uint8 (height, width, 3) RGB, "
        "or uint16 (height, width) depth"
    )


def _checked(name: str, quality: int) -> int:
    if not 1 <= quality <= 100:
        raise ImageError(f"{name} is {quality}, allowed: 1 to 100")
    return quality
