"""A RealSense recording made at run time by the vendor's software devices, for the real pipeline to play.

usage: python -m hardware.stand_ins.realsense_recording FILE.db3

The real SDK writes it and the real SDK reads it: streams, alignment, time stamps and time-outs are the vendor's own.
USB, the reset and exposure are not in it. The times at which a busy machine happened to write are then set to the
camera's period, so that playback is as even as a camera.
"""

import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from hardware.cameras.realsense import load_sdk
from hardware.stand_ins.moving_scene import color_image, depth_image
from robot.types import NS_PER_S

SERIAL, FIRMWARE = "000000000001", "5.16.0.1"
FOCAL = 600.0  # pixels
BASELINE_M = 0.015  # from the depth camera to the colour camera
WRITE_S = 0.004  # between two pictures: the recorder has a thread of its own to keep up
LEAD_NS = 1_000_000  # before the first picture
PAIR_NS = 200_000  # depth is handed out so long after the colour that it belongs to


def record(path: Path, *, seconds: float = 4.0, width: int = 640, height: int = 480, rate_hz: int = 30) -> Path:
    """Write colour and depth of a moving scene and return the path."""
    rs = load_sdk()
    path.unlink(missing_ok=True)
    device = rs.software_device()
    device.register_info(rs.camera_info.name, "Tandem stand-in")
    device.register_info(rs.camera_info.serial_number, SERIAL)
    device.register_info(rs.camera_info.firmware_version, FIRMWARE)
    device.register_info(rs.camera_info.usb_type_descriptor, "3.2")
    sensors = [device.add_sensor("RGB Camera"), device.add_sensor("Stereo Module")]
    formats = [(rs.stream.color, rs.format.rgb8, 3), (rs.stream.depth, rs.format.z16, 2)]
    profiles = [
        sensor.add_video_stream(_stream(rs, kind, layout, size, uid, (width, height, rate_hz)))
        for uid, (sensor, (kind, layout, size)) in enumerate(zip(sensors, formats, strict=True), start=1)
    ]
    sensors[1].add_read_only_option(rs.option.depth_units, 0.001)
    offset = rs.extrinsics()
    offset.rotation, offset.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [BASELINE_M, 0, 0]
    profiles[1].register_extrinsics_to(profiles[0], offset)
    recorder, queue = rs.recorder(str(path), device), rs.frame_queue(10)
    recorded = recorder.query_sensors()
    for sensor, profile in zip(recorded, profiles, strict=True):
        sensor.open(profile)
        sensor.start(queue)
    for number in range(round(seconds * rate_hz)):
        time.sleep(WRITE_S)
        images = color_image(number, width, height), depth_image(number, width, height)
        for sensor, profile, image in zip(sensors, profiles, images, strict=True):
            sensor.on_video_frame(_frame(rs, profile, image, number, rate_hz))
    for sensor in recorded:
        sensor.stop()
        sensor.close()
    del recorder, recorded, sensor  # it is written when nobody holds it any more
    _space_evenly(path, rate_hz)
    return path


def _space_evenly(path: Path, rate_hz: int) -> None:
    """Give the k-th message of every image topic the time of picture k, in the rosbag2 database that the SDK wrote."""
    with closing(sqlite3.connect(path)) as database, database:
        topics = database.execute("SELECT id, name FROM topics WHERE name LIKE '%/image/%'").fetchall()
        for topic, name in topics:
            offset_ns = LEAD_NS + (PAIR_NS if "/Depth_" in name else 0)
            rows = database.execute("SELECT id FROM messages WHERE topic_id = ? ORDER BY id", (topic,)).fetchall()
            times = [(offset_ns + place * NS_PER_S // rate_hz, row) for place, (row,) in enumerate(rows)]
            database.executemany("UPDATE messages SET timestamp = ? WHERE id = ?", times)


def _stream(rs: Any, kind: Any, layout: Any, size: int, uid: int, mode: tuple[int, int, int]) -> Any:
    optics, stream = rs.intrinsics(), rs.video_stream()
    optics.width, optics.height = stream.width, stream.height = mode[:2]
    optics.fx = optics.fy = FOCAL
    optics.ppx, optics.ppy = mode[0] / 2, mode[1] / 2
    optics.model, optics.coeffs = rs.distortion.none, [0.0] * 5
    stream.type, stream.fmt, stream.bpp, stream.uid, stream.index = kind, layout, size, uid, 0
    stream.fps, stream.intrinsics = mode[2], optics
    return stream


def _frame(rs: Any, profile: Any, image: Any, number: int, rate_hz: int) -> Any:
    frame = rs.software_video_frame()
    frame.pixels, frame.bpp = image, image.nbytes // (image.shape[0] * image.shape[1])
    frame.stride = image.shape[1] * frame.bpp
    frame.timestamp, frame.domain = 1000.0 + number * 1000.0 / rate_hz, rs.timestamp_domain.hardware_clock
    frame.frame_number, frame.profile = number + 1, profile.as_video_stream_profile()
    if image.ndim == 2:
        frame.depth_units = 0.001
    return frame


if __name__ == "__main__":
    print(record(Path(sys.argv[1])))
