"""Bags: what the graph said, readable by anybody, and episodes again."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("rosbags")
pytest.importorskip("mcap_ros2")

from mcap_ros2.reader import read_ros2_messages
from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader

from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, StoreError
from robot.ros import topics
from robot.ros.bag import BagReader, BagWriter
from robot.ros.bag_import import import_bag, skews
from robot.ros.image_message import to_image
from robot.ros.messages import to_joint_state, to_string
from robot.ros.record_verb import RecordConfig, run_record
from robot.specs import load_station
from robot.types import NS_PER_S, EndReason

pytestmark = pytest.mark.ros
STATION = load_station("fr3_sim")
SCENE = topics.COLOR_IMAGE.of("scene")
BEGIN_NS = 1_700_000_000 * NS_PER_S


def joints_at(time_s: float) -> np.ndarray:
    """Return joints that move linearly, so that interpolation gives them back exactly."""
    return STATION.home + 0.05 * time_s * np.array([1, -1, 1, 1, 0.5, 1, -1, 0.0])


def write_streams(folder: Path, *, leave_out: tuple[float, float] = (9, 9), images_to_s: float = 9.0) -> Path:
    """Write two seconds of free-running streams: joints at 130 Hz, setpoints at 45 Hz, images at 27 Hz."""
    chance = np.random.default_rng(0)
    with BagWriter(folder) as bag:
        for topic in (topics.JOINT_STATES, topics.APPLIED_COMMAND, SCENE):
            bag.add(topic, f"/left/{topic.name}")
        messages: list[tuple[int, str, Any]] = []
        for name, rate_hz in ((topics.JOINT_STATES.name, 130), (topics.APPLIED_COMMAND.name, 45), (SCENE.name, 27)):
            for time_s in np.arange(0.003, 2.0, 1 / rate_hz).tolist():
                if leave_out[0] <= time_s <= leave_out[1] or (name == SCENE.name and time_s > images_to_s):
                    continue
                time_ns = BEGIN_NS + round(time_s * NS_PER_S)
                if name == SCENE.name:
                    grainy = round(100 * time_s) + chance.integers(0, 3, (60, 80, 3))
                    message = to_image(grainy.astype(np.uint8), time_ns, "optical")
                else:
                    names = [*reversed(STATION.joint_names)]  # mapped by name, never by order
                    position = joints_at(time_s)[::-1]
                    message = to_joint_state(names, time_ns, position, np.zeros(8))
                messages.append((time_ns + 2_000_000, f"/left/{name}", message))
        for time_ns, name, message in sorted(messages, key=lambda item: item[0]):
            bag.write(name, time_ns, serialize_message(message))
    return folder


@pytest.mark.slow
def test_an_episode_out_of_a_bag_is_the_one_the_recorder_wrote(tmp_path: Path) -> None:
    config = RecordConfig(
        task="reach", episodes=1, store=tmp_path / "store", bag=tmp_path / "bags", cameras=("scene",), seed=3
    )
    (told,) = run_record(config)["episodes"]
    (bag,) = (tmp_path / "bags").iterdir()
    (info,) = import_bag(bag, EpisodeStore(tmp_path / "back"))
    recorded = EpisodeStore(tmp_path / "store").load(told["id"])
    assert (info.episode_id, info.steps, info.end_reason) == (told["id"], told["steps"], EndReason.SUCCESS)
    assert info.cameras == ("scene",)
    again = EpisodeStore(tmp_path / "back").load(info.episode_id)
    shared = np.isin(recorded.columns["step"], again.columns["step"])
    for name in ("executed_action", "observation/joint_position", "owner", "tick_time_ns"):
        np.testing.assert_array_equal(recorded.columns[name][shared], again.columns[name], err_msg=name)
    (skew,) = skews(again)
    assert 0 <= skew.median_ms <= skew.worst_ms <= 100 and skew.ticks_without == 0

    with AnyReader([bag]) as reader:  # rosbag2's layout, by a reader that is not ours
        connection = next(c for c in reader.connections if c.topic == f"/{SCENE.name}")
        _, _, raw = next(reader.messages([connection]))
        image: Any = reader.deserialize(raw, connection.msgtype)
        counts = {c.topic: c.msgcount for c in reader.connections}
    assert (connection.msgtype, image.encoding, image.data.shape) == ("sensor_msgs/msg/Image", "rgb8", (480 * 640 * 3,))
    assert counts["/tick/record"] >= told["steps"] and counts["/joint_states"] > 100
    (path,) = bag.glob("*.mcap")
    joints = next(m for m in read_ros2_messages(str(path)) if m.channel.topic == "/joint_states")
    assert joints.schema.name == "sensor_msgs/msg/JointState" and set(STATION.joint_names) <= set(joints.ros_msg.name)


def test_streams_without_ticks_are_resampled_at_the_stations_rate(tmp_path: Path) -> None:
    bag = write_streams(tmp_path / "bag")
    store = EpisodeStore(tmp_path / "store")
    (info,) = import_bag(bag, store)
    table = store.load(info.episode_id).columns
    np.testing.assert_array_equal(np.diff(table["tick_time_ns"]), STATION.period_ns)
    times_s = (table["tick_time_ns"] - BEGIN_NS) / 1e9
    assert len(times_s) > 30 and info.metadata["resampled"] is True and info.end_reason is EndReason.TIMEOUT
    expected = np.stack([joints_at(time_s) for time_s in times_s])
    np.testing.assert_allclose(table["observation/joint_position"], expected, atol=1e-9)
    due = np.stack([joints_at(time_s + STATION.period_s) for time_s in times_s])
    np.testing.assert_allclose(table["joint_command"], due, atol=1e-9)
    for row in range(0, len(times_s), 7):
        image_s = (table["time_ns/image/scene"][row] - BEGIN_NS) / 1e9
        assert 0 <= times_s[row] - image_s < 1 / 27 + 1e-6
        assert abs(store.load(info.episode_id).image("scene", row).mean() - round(100 * image_s) - 1) <= 2


def test_a_gap_in_the_streams_leaves_out_ticks_and_their_numbers(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path / "store")
    (info,) = import_bag(write_streams(tmp_path / "bag", leave_out=(0.8, 1.3)), store)
    table = store.load(info.episode_id).columns
    jumps = np.diff(table["step"])
    assert sorted(set(jumps.tolist()))[0] == 1 and (jumps > 1).sum() == 1 and jumps.max() >= 9
    np.testing.assert_array_equal(np.diff(table["tick_time_ns"]), jumps * STATION.period_ns)
    (short,) = import_bag(write_streams(tmp_path / "short", images_to_s=1.0), store)
    assert store.load(short.episode_id).columns["tick_time_ns"][-1] < BEGIN_NS + 1.2 * NS_PER_S


def cut(share: float) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])

    return act


def test_a_bag_whose_recorder_was_killed_gives_what_reached_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_streams(tmp_path / "bag")
    whole = [message.time_ns for message in BagReader(bag).messages()]
    (path,) = bag.glob("*.mcap")
    cut(0.6)(path)
    (bag / "metadata.yaml").unlink()
    reader = BagReader(bag)
    kept = [message.time_ns for message in reader.messages()]
    assert (0 < len(kept) < len(whole) and kept == whole[: len(kept)]) or "damaged" in reader.broken_off
    assert reader.broken_off.startswith(f"{path} after {len(kept)} messages")


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path / "store")
    with BagWriter(tmp_path / "strings") as bag:
        bag.add(topics.EPISODE_EVENT, "/episode/event")
        bag.write("/episode/event", BEGIN_NS, serialize_message(to_string(json.dumps({"a": 1}))))
    with pytest.raises(ConfigError, match="has neither tick/record, nor joint_states"):
        list(import_bag(tmp_path / "strings", store))
    with BagWriter(tmp_path / "wrong") as bag:
        for topic in (topics.JOINT_STATES, topics.APPLIED_COMMAND):
            bag.add(topics.EPISODE_EVENT, f"/{topic.name}")
            bag.write(f"/{topic.name}", BEGIN_NS, serialize_message(to_string("x")))
    with pytest.raises(ConfigError, match="/joint_states is std_msgs/msg/String; expected sensor_msgs/msg/JointState"):
        list(import_bag(tmp_path / "wrong", store))
    with BagWriter(tmp_path / "record") as bag:
        bag.add(topics.EPISODE_STATE, "/episode/state")
        bag.add(topics.TICK_RECORD, "/tick/record")
        bag.write("/tick/record", BEGIN_NS, b"\0\1\0\0" + struct.pack("<III", 0, 0, 3) + b"abc")
    with pytest.raises(ConfigError, match=r"no episode in it|cannot be used"):
        list(import_bag(tmp_path / "record", store))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty holds no \*\.mcap file"):
        list(import_bag(tmp_path / "empty", store))
    with pytest.raises(StoreError, match="cannot create the bag"):
        BagWriter(tmp_path / "record")
    assert store.episodes() == []
