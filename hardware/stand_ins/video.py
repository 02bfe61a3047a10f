"""A video file in place of a UVC camera, made at run time: MJPG pictures in an AVI, as a webcam sends them.

usage: python -m hardware.stand_ins.video FILE.avi
"""

import sys
from pathlib import Path

import cv2

from hardware.stand_ins.moving_scene import color_image
from robot.errors import ConfigError


def make_video(path: Path, *, seconds: float = 4.0, width: int = 640, height: int = 480, rate_hz: float = 30.0) -> Path:
    """Write a moving scene and return the path."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, (width, height))
    if not writer.isOpened():
        raise ConfigError(f"{path} cannot be written as MJPG; is its folder there, and its name *.avi?")
    for number in range(round(seconds * rate_hz)):
        writer.write(cv2.cvtColor(color_image(number, width, height), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


if __name__ == "__main__":
    print(make_video(Path(sys.argv[1])))
