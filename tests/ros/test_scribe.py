"""How an episode ends is what the episode machine said, however soon the next one begins."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from robot.action_space import ActionSpace
from robot.applied_join import AppliedJoin
from robot.bench_store import make_tick
from robot.episode_store import EpisodeStore
from robot.kinematics.arm import ArmKinematics
from robot.ros.episode_state import EpisodeState
from robot.ros.scribe import Cameras, Scribe
from robot.specs import load_station
from robot.types import EndReason

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
