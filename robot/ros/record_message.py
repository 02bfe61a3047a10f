"""A tick record as bytes and back, field by field equal: JSON header, then the arrays' bytes."""

import json
import struct
from array import array
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from robot.record import Clip, TickRecord
from robot.ros.missing import missing_ros
from robot.types import EndReason, Owner, Segment

try:
    from std_msgs.msg import UInt8MultiArray
except ImportError as error:
    raise missing_ros(error) from None

_LENGTH = struct.Struct("<I")
_ENUMS: Mapping[str, Any] = {"owner": Owner, "segment": Segment, "safety_clips": Clip, "end_reason": EndReason}
_MAPPINGS = ("observation", "groups")


def pack_record(record: TickRecord) -> bytes:
    """Return the record's bytes; numbers and arrays come back exactly."""
    header: dict[str, Any] = {}
    buffers: list[bytes] = []
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in _MAPPINGS:
            header[field.name] = {name: _put(np.asarray(item), buffers) for name, item in value.items()}
        elif isinstance(value, np.ndarray):
            header[field.name] = _put(value, buffers)
        elif field.name == "stream_times_ns":
            header[field.name] = {name: int(time_ns) for name, time_ns in value.items()}
        else:
            header[field.name] = int(value) if field.name in _ENUMS else _plain(value)
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *buffers))


def unpack_record(data: bytes | memoryview) -> TickRecord:
    """Return the record that `pack_record` wrote."""
    view = memoryview(data)
    (size,) = _LENGTH.unpack_from(view)
    header = json.loads(bytes(view[_LENGTH.size : _LENGTH.size + size]))
    position = _LENGTH.size + size
    values: dict[str, Any] = {}

    def take(shape_of: list[Any]) -> np.ndarray:
        nonlocal position
        dtype, shape = np.dtype(shape_of[0]), tuple(shape_of[1])
        count = int(np.prod(shape))
        taken = np.frombuffer(view, dtype, count, position).reshape(shape).copy()
        position += count * dtype.itemsize
        return taken

    for name, value in header.items():
        if name in _MAPPINGS:
            values[name] = {key: take(item) for key, item in value.items()}
        elif isinstance(value, list):
            values[name] = take(value)
        else:
            values[name] = _ENUMS[name](value) if name in _ENUMS else value
    return TickRecord(**values)


def to_record(record: TickRecord) -> UInt8MultiArray:
    data = array("B")
    data.frombytes(pack_record(record))
    return UInt8MultiArray(data=data)


def from_record(message: UInt8MultiArray) -> TickRecord:
    return unpack_record(memoryview(message.data))


def _put(value: np.ndarray, buffers: list[bytes]) -> list[Any]:
    buffers.append(np.ascontiguousarray(value).tobytes())
    return [value.dtype.str, value.shape]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
