"""Images between ROS and numpy, without cv_bridge: row padding, byte order and encoding are respected."""

import sys

import cv2
import numpy as np

from robot.devices import Intrinsics
from robot.images import ImageError, decode_image
from robot.ros.messages import MessageRefused, from_stamp, to_stamp
from robot.ros.missing import missing_ros
from robot.specs import CameraSpec

try:
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image
except ImportError as error:
    raise missing_ros(error) from None

# encoding: dtype, channels
ENCODINGS: dict[str, tuple[type[np.generic], int]] = {
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "mono8": (np.uint8, 1),
    "16UC1": (np.uint16, 1),
    "mono16": (np.uint16, 1),
    "32FC1": (np.float32, 1),
    "yuv422_yuy2": (np.uint8, 2),
}
_ENCODING_OF = {("uint8", 3): "rgb8", ("uint8", 2): "mono8", ("uint16", 2): "16UC1", ("float32", 2): "32FC1"}


def to_image(image: np.ndarray, time_ns: int, frame_id: str) -> Image:
    """Return the message of uint8 HWC RGB, uint8 HW grey, uint16 HW depth [mm] or float32 HW depth [m]."""
    encoding = _ENCODING_OF.get((image.dtype.name, image.ndim))
    if encoding is None or (image.ndim == 3 and image.shape[2] != 3):
        raise MessageRefused("encoding", f"no encoding for an image of {image.dtype} {image.shape}")
    message = Image(height=image.shape[0], width=image.shape[1], encoding=encoding)
    message.header.stamp, message.header.frame_id = to_stamp(time_ns), frame_id
    message.step = image.shape[1] * image.itemsize * (3 if image.ndim == 3 else 1)
    message.is_bigendian = int(sys.byteorder == "big")
    message.data.frombytes(np.ascontiguousarray(image).data.cast("B"))
    return message


def from_image(message: Image) -> tuple[int, np.ndarray]:
    """Return the capture time [ns] and the image: RGB for colour, else as it is.

    Where nothing has to be changed the array is a view of the message; copy it to keep it past the message.
    """
    if message.encoding not in ENCODINGS:
        raise MessageRefused("encoding", f"encoding {message.encoding!r} is not one of {', '.join(ENCODINGS)}")
    dtype, channels = ENCODINGS[message.encoding]
    order = ">" if message.is_bigendian else "<"
    width = message.width * channels * np.dtype(dtype).itemsize
    if message.step < width or len(message.data) < message.step * message.height:
        raise MessageRefused(
            "incomplete",
            f"{len(message.data)} bytes, step {message.step} for {message.width} x {message.height} {message.encoding}",
        )
    rows = np.frombuffer(message.data, np.uint8, message.step * message.height).reshape(message.height, message.step)
    pixels = np.ascontiguousarray(rows[:, :width]).view(np.dtype(dtype).newbyteorder(order))
    if not pixels.dtype.isnative:
        pixels = pixels.astype(dtype)
    shape = (message.height, message.width, channels) if channels > 1 else (message.height, message.width)
    return from_stamp(message.header.stamp), _to_rgb(pixels.reshape(shape), message.encoding)


def from_compressed(message: CompressedImage) -> tuple[int, np.ndarray]:
    """Return the capture time [ns] and the image of a JPEG or PNG: RGB for colour, else as it is."""
    try:
        image = decode_image(bytes(message.data))
    except ImageError as error:
        raise MessageRefused("encoding", f"format {message.format!r}: {error}") from error
    return from_stamp(message.header.stamp), image


def _to_rgb(image: np.ndarray, encoding: str) -> np.ndarray:
    if encoding == "bgr8":
        return image[:, :, ::-1]
    if encoding == "yuv422_yuy2":
        return cv2.cvtColor(image, cv2.COLOR_YUV2RGB_YUY2)
    return image


def camera_info(camera: CameraSpec, time_ns: int, frame_id: str, intrinsics: Intrinsics | None = None) -> CameraInfo:
    """Return the device's own optics, or the pinhole of a camera spec: square pixels, the centre in the middle."""
    found = intrinsics or pinhole(camera)
    fx, fy, cx, cy = found.fx, found.fy, found.cx, found.cy
    message = CameraInfo(height=camera.height, width=camera.width, distortion_model="plumb_bob")
    message.header.stamp, message.header.frame_id = to_stamp(time_ns), frame_id
    message.d = list(found.distortion)
    message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def pinhole(camera: CameraSpec) -> Intrinsics:
    """Return the optics that a station file states by its field of view."""
    focal = 0.5 * camera.height / np.tan(np.radians(camera.fovy_deg) / 2.0)
    return Intrinsics(focal, focal, (camera.width - 1) / 2.0, (camera.height - 1) / 2.0)


def optical_frame(robot: str, camera: str) -> str:
    """Return the id of a camera's optical frame: z forward, x right, y down."""
    return f"{robot}_{camera}_color_optical_frame" if robot else f"{camera}_color_optical_frame"
