"""The episode machine without its topics."""

from dataclasses import replace

import pytest

pytest.importorskip("rclpy")

import numpy as np

from robot.errors import ConfigError
from robot.record import Clip, TickRecord
from robot.ros.episode_node import EpisodeMachine
from robot.ros.episode_state import EpisodeState, episode_state_from
from robot.ros.messages import MessageRefused
from robot.types import EndReason, Owner, Segment

ACTION = np.zeros(4)
RECORD = TickRecord(
    step=0, tick_time_ns=100, observation_time_ns=100, stream_times_ns={}, observation={}, base_action=ACTION,
    residual_action=ACTION, policy_action=ACTION, human_action=ACTION, executed_action=ACTION, joint_command=ACTION,
    blend_weight=1.0, owner=Owner.POLICY, segment=Segment.ROLLOUT, intervention_id=-1, safety_clips=Clip.NONE,
    chunk_id=-1, chunk_offset=-1, generation=0, policy_version=-1,
)  # fmt: skip
LAST = replace(RECORD, step=7, tick_time_ns=200, terminated=True, end_reason=EndReason.SUCCESS)


def machine() -> EpisodeMachine:
    return EpisodeMachine("reach", world_resets=True)


def test_an_episode_runs_from_reset_to_its_last_record() -> None:
    episodes = machine()
    first = episodes.start({"seed": 5, "autonomous": False, "metadata": {"who": "me"}}, 0)
    assert (first.phase, first.seed, first.autonomous, first.metadata) == ("reset", 5, False, {"who": "me"})
    assert episodes.ready("another", 90) is None
    running = episodes.ready(first.id, 90)
    assert running is not None and (running.phase, running.start_ns) == ("running", 90)
    assert episodes.record(RECORD) is None
    ended = episodes.record(LAST)
    assert ended is not None and (ended.phase, ended.end_reason, ended.step) == ("ended", "success", 7)
    assert episodes.start({}, 0).id != first.id


def test_a_record_of_the_scene_before_the_reset_ends_nothing() -> None:
    episodes = machine()
    episodes.ready(episodes.start({}, 0).id, 201)
    assert episodes.record(LAST) is None
    assert episodes.state.phase == "running"


def test_a_second_start_and_an_end_without_a_start_are_refused() -> None:
    episodes = machine()
    with pytest.raises(ConfigError, match="no episode is running"):
        episodes.end(EndReason.DISCARD)
    episodes.start({}, 0)
    with pytest.raises(ConfigError, match="stop or discard it first"):
        episodes.start({}, 0)


def test_a_seed_is_drawn_where_none_is_given_and_a_wrong_one_refused() -> None:
    assert isinstance(machine().start({}, 0).seed, int)
    with pytest.raises(ConfigError, match="whole number"):
        machine().start({"seed": "five"}, 0)


def test_without_a_world_that_resets_itself_it_runs_at_once() -> None:
    state = EpisodeMachine("", world_resets=False).start({}, 77)
    assert (state.phase, state.start_ns) == ("running", 77)


def test_a_state_survives_its_message_and_a_wrong_one_is_refused() -> None:
    state = machine().start({"metadata": {"a": [1]}}, 3)
    assert episode_state_from(state.to_dict() | {"newer": 1}) == state
    assert isinstance(state, EpisodeState)
    with pytest.raises(MessageRefused, match="phase"):
        episode_state_from({"phase": "runing"})
