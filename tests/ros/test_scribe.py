"""How an episode ends is what the episode machine said, however soon the next one begins; what the recorder hears."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.utilities import try_shutdown

from robot.action_space import ActionSpace
from robot.applied_join import AppliedJoin
from robot.bench_store import make_tick
from robot.episode_store import EpisodeStore
from robot.kinematics.arm import ArmKinematics
from robot.ros import topics
from robot.ros.episode_state import EpisodeState
from robot.ros.executor import NodeExecutor
from robot.ros.messages import frame_id, to_joint_state
from robot.ros.qos import message_type, profile
from robot.ros.recorder_node import RecorderNode
from robot.ros.scribe import Cameras, Scribe
from robot.specs import load_station
from robot.types import EndReason
from tests.domains import some_domain

T0 = 1_700_000_000_000_000_000


@pytest.mark.parametrize(("was_ended", "reason"), [(True, EndReason.DISCARD), (False, EndReason.CRASH)])
def test_an_episode_keeps_its_end_when_the_next_one_follows_at_once(
    tmp_path: Path, was_ended: bool, reason: EndReason
) -> None:
    station, store = load_station("fr3_sim"), EpisodeStore(tmp_path)
    sealed: list[str] = []
    join = AppliedJoin(ActionSpace(station, ArmKinematics(station)).from_joints)
    scribe = Scribe(store, station, join, Cameras({}, 1.0), sealed.append)
    first = EpisodeState("first", "running", "reach", start_ns=T0)
    scribe.state(first, 0.0)
    scribe.record(replace(make_tick(0), tick_time_ns=T0, observation_time_ns=T0, stream_times_ns={}), 0.0)
    if was_ended:
        scribe.state(replace(first, phase="ended", end_reason="discard"), 0.1)
    scribe.state(EpisodeState("second", "running", "reach", start_ns=T0 + 10**9), 0.2)
    assert sealed == ["first"]
    assert store.seal("first").end_reason is reason


def test_a_recorder_that_was_kept_waiting_hears_every_setpoint(tmp_path: Path) -> None:
    """Of a command it is the last setpoint that counts, and the next command's follows it at once."""
    rclpy.init(args=["--ros-args", "-p", f"store:={tmp_path}", "-p", "cameras:=''"], domain_id=some_domain())
    recorder, arm = RecorderNode(), rclpy.create_node("arm", use_global_arguments=False)
    try:
        topic = topics.APPLIED_COMMAND
        publisher = arm.create_publisher(message_type(topic.type), topic.name, profile(topic.publish))
        deadline_s = time.monotonic() + 10.0
        while publisher.get_subscription_count() == 0:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        names = recorder.station.joint_names
        for seq in range(20):
            tag = frame_id(seq=seq, behind_urad=1000 * seq)
            publisher.publish(to_joint_state(names, 1, np.zeros(len(names)), frame_id=tag))
        executor = NodeExecutor(recorder)
        while len(recorder._join._applied) < 20 and time.monotonic() < deadline_s:
            executor.spin_once(0.05)
        executor.close()
        assert sorted(recorder._join._applied) == list(range(20))
    finally:
        recorder.close()
        recorder.destroy_node()
        arm.destroy_node()
        try_shutdown()
