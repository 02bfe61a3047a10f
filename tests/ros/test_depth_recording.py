"""Depth on its way into a store and out of it: every millimetre, beside the colour image of the same time."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot.action_space import ActionSpace
from robot.applied_join import AppliedJoin
from robot.bench_store import make_tick
from robot.depth import camera_of, stored_depth, stored_images
from robot.episode_store import EpisodeStore
from robot.kinematics.arm import ArmKinematics
from robot.ros import topics
from robot.ros.episode_state import EpisodeState
from robot.ros.image_message import to_image
from robot.ros.scribe import Cameras, Scribe
from robot.ros.scribe_input import ScribeInput
from robot.specs import StationSpec, load_station
from robot.types import EndReason

T0 = 1_700_000_000_000_000_000
PERIOD = 50_000_000


@pytest.fixture
def station() -> StationSpec:
    plain = load_station("fr3_sim")
    cameras = [replace(camera, has_depth=camera.name == "wrist") for camera in plain.cameras]
    return replace(plain, cameras=tuple(cameras))


def depth_at(step: int) -> np.ndarray:
    return (np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 7 + step).astype(np.uint16)


def test_names_of_depth() -> None:
    assert camera_of(stored_depth("wrist")) == "wrist"


def test_a_camera_with_depth_keeps_both(station: StationSpec) -> None:
    assert stored_images(station, ["scene", "wrist"]) == ["scene", "wrist", "wrist_depth"]


def test_depth_is_recorded_to_the_millimetre(station: StationSpec, tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    cameras = Cameras(dict.fromkeys(stored_images(station, ["wrist"]), 0.1), 1.0)
    given = ScribeInput(station, cameras, lambda: 0.0, lambda: T0)
    readers = given.readers(["wrist"])
    assert topics.DEPTH_IMAGE.of("wrist") in readers
    join = AppliedJoin(ActionSpace(station, ArmKinematics(station)).from_joints)
    sealed: list[str] = []
    scribe = Scribe(store, station, join, cameras, sealed.append)
    scribe.state(EpisodeState("one", "running", "reach", start_ns=T0), 0.0)
    send: Any = partial(_send, readers)
    for step in range(4):
        time_ns = T0 + step * PERIOD
        send(topics.COLOR_IMAGE.of("wrist"), np.full((48, 64, 3), 10 * step, np.uint8), time_ns)
        send(topics.DEPTH_IMAGE.of("wrist"), depth_at(step), time_ns)
        scribe.record(replace(make_tick(step), tick_time_ns=time_ns, observation_time_ns=time_ns), 0.0)
        scribe.flush(0.0, everything=True)
    scribe.finish(EndReason.SUCCESS, 0.0)
    episode = store.load(store.seal(sealed[0]).episode_id)
    assert set(episode.info.cameras) == {"wrist", "wrist_depth"}
    for step in range(4):
        np.testing.assert_array_equal(episode.image("wrist_depth", step), depth_at(step))
        assert episode.columns["time_ns/image/wrist_depth"][step] == T0 + step * PERIOD


def _send(readers: Any, topic: topics.Topic, image: np.ndarray, time_ns: int) -> None:
    readers[topic](to_image(image, time_ns, "frame"))
