"""Ticks joined with what the arm applied: what its last filter changed is what learners see."""

from dataclasses import replace

import numpy as np

from robot.applied_join import BEHIND_RAD, PATIENCE_S, Applied, AppliedJoin
from robot.record import Clip, TickRecord
from robot.types import Array, Owner, Segment

ASKED, REACHED = np.full(4, 0.5), np.full(8, 0.25)


def record(tick_time_ns: int) -> TickRecord:
    return TickRecord(
        step=0, tick_time_ns=tick_time_ns, observation_time_ns=0, stream_times_ns={}, observation={}, base_action=ASKED,
        residual_action=ASKED, policy_action=ASKED, human_action=ASKED, executed_action=ASKED,
        joint_command=np.full(8, 0.3), blend_weight=1.0, owner=Owner.POLICY, segment=Segment.ROLLOUT,
        intervention_id=-1, safety_clips=Clip.NONE, chunk_id=0, chunk_offset=0, generation=0, policy_version=0,
    )  # fmt: skip


def to_action(joints: Array) -> Array:
    return joints[:4] * 2


def join() -> AppliedJoin:
    return AppliedJoin(to_action)


def test_a_command_that_the_arm_cut_short_is_recorded_as_applied() -> None:
    joined = join()
    joined.add_record(record(100), 0.0)
    joined.add_command(7, 100)
    joined.add_applied(Applied(7, np.zeros(8), 0.2))
    joined.add_applied(Applied(7, REACHED, 0.05))
    assert list(joined.ready(0.01)) == [], "the arm may still come nearer"
    joined.add_applied(Applied(8, np.ones(8), 0.0))
    (found,) = joined.ready(0.02)
    np.testing.assert_array_equal(found.executed_action, to_action(REACHED))
    np.testing.assert_array_equal(found.joint_command, REACHED)
    assert joined.changed == 1


def test_a_command_that_was_followed_stays_the_very_same_record() -> None:
    joined, asked = join(), record(100)
    joined.add_command(7, 100)
    joined.add_record(asked, 0.0)
    joined.add_applied(Applied(7, REACHED, 0.9 * BEHIND_RAD))
    joined.add_applied(Applied(8, REACHED, 0.0))
    (found,) = joined.ready(0.0)
    assert found is asked
    assert (joined.changed, joined.unmatched) == (0, 0)


def test_records_keep_their_order_and_wait_no_longer_than_their_patience() -> None:
    joined = join()
    for i in range(3):
        joined.add_record(record(i), 0.01 * i)
    joined.add_command(11, 1)
    joined.add_applied(Applied(12, REACHED, 0.0))
    assert list(joined.ready(0.05)) == [], "the first is not known, the others wait behind it"
    first = [found.tick_time_ns for found in joined.ready(PATIENCE_S + 0.005)]
    assert first == [0, 1]
    assert [found.tick_time_ns for found in joined.ready(0.06, everything=True)] == [2]
    assert joined.unmatched == 3


def test_memory_of_old_commands_is_bounded() -> None:
    joined = join()
    for seq in range(1000):
        joined.add_command(seq, seq)
        joined.add_applied(replace(Applied(0, REACHED, 0.0), seq=seq))
    assert max(len(joined._seqs), len(joined._applied)) < 100
