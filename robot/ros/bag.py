"""A bag of raw messages as rosbag2 writes them: a folder with one MCAP file, zstd, and `metadata.yaml`.

The messages are stored as they came over the wire, with their definitions, so that every MCAP or rosbag2 reader shows
them. A bag whose writer was killed lacks its index and `metadata.yaml`; `read_bag` reads it up to where it breaks off.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from mcap.records import Channel, DataEnd, Message, Schema, Statistics
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer
from mcap_ros2.decoder import DecoderFactory
from rosbags.typesys import Stores, get_typestore

from robot.errors import ConfigError
from robot.journal import store_error
from robot.ros.topics import Topic

CHUNK_BYTES = 2**18  # what a kill takes with it, at most
RECORD_BYTES = 2**30  # a longer record is damage
VERSION = 9  # of rosbag2's metadata
DISTRIBUTION = "jazzy"


class BagWriter:
    """Writes one bag. Not for several threads."""

    def __init__(self, folder: Path) -> None:
        """Create the folder; StoreError if it exists or cannot be written."""
        self.folder, self._path = folder, folder / f"{folder.name}_0.mcap"
        self._types: Any = get_typestore(Stores.ROS2_JAZZY)
        self._topics: dict[str, Topic] = {}
        self._channels: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self._span_ns = (0, 0)
        try:
            folder.mkdir(parents=True)
            self._file = self._path.open("wb")
        except OSError as error:
            raise store_error(
                "create the bag", folder, error, "Nothing was recorded; choose another folder."
            ) from error
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library="tandem")

    def add(self, topic: Topic, name: str) -> None:
        """Announce a topic under the full name it has on the wire."""
        definition, _ = self._types.generate_msgdef(topic.type, ros_version=2)
        schema = self._writer.register_schema(topic.type, "ros2msg", definition.encode())
        facts = {
            "offered_qos_profiles": yaml.safe_dump([_qos(topic)]),
            "topic_type_hash": self._types.hash_rihs01(topic.type),
        }
        self._channels[name] = self._writer.register_channel(name, "cdr", schema, facts)
        self._topics[name] = topic

    def write(self, name: str, time_ns: int, data: bytes) -> None:
        """Append a serialised message that was received at `time_ns`; StoreError when the disk is full."""
        first_ns = self._span_ns[0] or time_ns
        self._span_ns = (min(first_ns, time_ns), max(self._span_ns[1], time_ns))
        try:
            self._writer.add_message(self._channels[name], time_ns, data, time_ns, self.counts[name])
        except OSError as error:
            raise store_error("write the bag", self._path, error, "What was written before is kept.") from error
        self.counts[name] += 1

    def flush(self) -> None:
        """Hand whole chunks to the system, which survives a kill of this process."""
        self._file.flush()

    def close(self) -> None:
        """Write the index and `metadata.yaml`."""
        try:
            self._writer.finish()
            self._file.close()
            (self.folder / "metadata.yaml").write_text(yaml.safe_dump(self._metadata(), sort_keys=False))
        except OSError as error:
            raise store_error("finish the bag", self._path, error, "What was written before is kept.") from error

    def __enter__(self) -> "BagWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _metadata(self) -> dict[str, Any]:
        start_ns, end_ns = self._span_ns
        total = sum(self.counts.values())
        span: dict[str, Any] = {
            "starting_time": {"nanoseconds_since_epoch": start_ns},
            "duration": {"nanoseconds": end_ns - start_ns},
            "message_count": total,
        }
        listed = [
            {
                "topic_metadata": {
                    "name": name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [_qos(topic)],
                    "type_description_hash": self._types.hash_rihs01(topic.type),
                },
                "message_count": self.counts[name],
            }
            for name, topic in self._topics.items()
        ]
        information = {
            "version": VERSION,
            "storage_identifier": "mcap",
            **span,
            "topics_with_message_count": listed,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self._path.name],
            "files": [{"path": self._path.name, **copy.deepcopy(span)}],
            "custom_data": None,
            "ros_distro": DISTRIBUTION,
        }
        return {"rosbag2_bagfile_information": information}


def _qos(topic: Topic) -> dict[str, Any]:
    forever = {"sec": 9223372036, "nsec": 854775807}
    return {
        "history": "keep_last",
        "depth": topic.publish.depth,
        "reliability": "reliable" if topic.publish.reliable else "best_effort",
        "durability": "transient_local" if topic.publish.latched else "volatile",
        "deadline": dict(forever),
        "lifespan": dict(forever),
        "liveliness": "automatic",
        "liveliness_lease_duration": dict(forever),
        "avoid_ros_namespace_conventions": False,
    }


@dataclass(frozen=True, slots=True)
class BagMessage:
    """One message of a bag, decoded when asked for: its fields are named as in its definition."""

    topic: str
    type: str
    time_ns: int
    decode: Callable[[], Any]

    def read(self, type: str) -> Any:
        """Decode a message that has to be of this type; ConfigError where it is not, or cannot be decoded."""
        if self.type != type:
            raise ConfigError(f"the bag's {self.topic} is {self.type}; expected {type}")
        return self.decode()


class BagReader:
    """Reads a bag's messages in the order in which they were written. `broken_off`: why it ended early, if it did."""

    def __init__(self, path: Path) -> None:
        """`path`: an MCAP file or the folder of a bag; ConfigError where there is none."""
        files = sorted(path.glob("*.mcap")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise ConfigError(f"{path} holds no *.mcap file")
        self._files = files
        self.broken_off = ""

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages; ConfigError where a file is no MCAP or damaged in its middle."""
        for path in self._files:
            yield from self._of_file(path)

    def _of_file(self, path: Path) -> Iterator[BagMessage]:
        decoders, count = DecoderFactory(), 0
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        is_finished = False
        with path.open("rb") as file:
            records = StreamReader(file, validate_crcs=True, record_size_limit=RECORD_BYTES).records
            while True:
                try:
                    record = next(records, None)
                    if isinstance(record, Message):
                        channel = channels[record.channel_id]
                        schema = schemas.get(channel.schema_id)
                except Exception as error:  # the library lets through whatever damaged bytes lead to
                    if count and not is_finished and file.tell() >= path.stat().st_size:
                        self.broken_off = f"{path} after {count} messages: {_short(error)}"
                        return
                    raise ConfigError(f"damaged bag {path} after {count} messages: {_short(error)}") from error
                if record is None:
                    break
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, DataEnd):
                    is_finished = True
                elif isinstance(record, Statistics) and record.message_count != count:
                    raise ConfigError(f"damaged bag {path}: {count} messages of {record.message_count} that it had")
                elif isinstance(record, Message):
                    count += 1
                    decode = _decoder(decoders, channel, schema, record, path)
                    yield BagMessage(channel.topic, schema.name if schema else "", record.log_time, decode)
        if not is_finished:
            self.broken_off = f"{path} after {count} messages: no end of the data"


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"


def _decoder(decoders: DecoderFactory, channel: Any, schema: Any, message: Any, path: Path) -> Callable[[], Any]:
    def decode() -> Any:
        try:
            read = decoders.decoder_for(channel.message_encoding, schema)
            if read is None:
                raise ConfigError(f"{path}: {channel.topic} is {channel.message_encoding}; ROS 2 CDR is read here")
            return read(message.data)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{path}: a message of {channel.topic} cannot be read: {_short(error)}") from error

    return decode
