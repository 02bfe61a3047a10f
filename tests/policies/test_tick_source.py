"""Transitions out of a running robot's ticks: those of the recorded episode, and none across a hold or a gap."""

from dataclasses import replace

import numpy as np
import pytest

from policies.collection import trajectory_transitions
from policies.data.trajectories import Trajectory
from policies.normalization import ActionLimits, StateNormalizer
from policies.replay import NStep
from policies.tick_source import TickSource
from robot.record import Clip, TickRecord
from robot.types import EndReason, Owner, Segment

SHAPES = {"tcp_position": (3,)}
STATES = StateNormalizer(np.zeros(3), np.ones(3))
LIMITS = ActionLimits(np.zeros(4), np.full(4, 2.0))
NOTHING = np.full(4, np.nan)


def tick(step: int, owner: Owner = Owner.POLICY, base: float = 0.1) -> TickRecord:
    rng = np.random.default_rng(step)
    return TickRecord(
        step=step, tick_time_ns=step, observation_time_ns=step, stream_times_ns={},
        observation={"tcp_position": rng.normal(size=3)}, base_action=np.full(4, base + 0.01 * step),
        residual_action=NOTHING, policy_action=NOTHING, human_action=NOTHING, executed_action=rng.uniform(-1, 1, 4),
        joint_command=np.zeros(8), blend_weight=1.0, owner=owner, segment=Segment.ROLLOUT, intervention_id=-1,
        safety_clips=Clip.NONE, chunk_id=0, chunk_offset=0, generation=0, policy_version=0,
    )  # fmt: skip


def ended(record: TickRecord) -> TickRecord:
    return replace(record, reward_task=1.0, terminated=True, end_reason=EndReason.SUCCESS)


def source() -> TickSource:
    return TickSource(SHAPES, STATES, LIMITS, NStep(3, 0.9, True), capacity=100)


def rows(target: TickSource) -> np.ndarray:
    return target.online.rows[: len(target.online)]


def test_an_episode_gives_the_transitions_of_its_recording() -> None:
    records = [tick(i) for i in range(9)] + [ended(tick(9))]
    live = source()
    for record in records:
        live.add(record)
    states = np.array([r.observation["tcp_position"] for r in records])
    trajectory = Trajectory(
        states=np.concatenate([states, states[-1:]]),
        actions=np.array([r.executed_action for r in records]),
        rewards=np.array([r.reward_task for r in records]),
        terminated=True,
        truncated=False,
    )
    bases = np.array([r.base_action for r in [*records, records[-1]]])
    expected = trajectory_transitions(trajectory, bases, STATES, LIMITS, NStep(3, 0.9, True))
    want = np.array([np.concatenate([np.ravel(v) for v in vars(t).values()]) for t in expected], np.float32)
    np.testing.assert_array_equal(rows(live), want)
    assert (live.ticks, live.episodes, live.cuts) == (10, 1, 0)


@pytest.mark.parametrize("between", ["hold", "gap", "nobody asked"])
def test_nothing_is_built_across_an_interruption(between: str) -> None:
    live = source()
    first, second = [tick(i) for i in range(5)], [tick(i) for i in range(6, 11)]
    for record in first:
        live.add(record)
    if between == "hold":
        live.add(tick(5, Owner.HOLD))
    elif between == "nobody asked":
        live.add(replace(tick(5), base_action=NOTHING))
    for record in second:
        live.add(record)
    states = {tuple(np.float32(r.observation["tcp_position"])): r.step for r in first + second}
    pairs = [(states[tuple(row[:3])], states[tuple(row[13:16])]) for row in rows(live)]
    assert live.cuts == 1
    assert pairs, "there are transitions"
    assert all((a < 5) == (b < 5) for a, b in pairs), f"a transition crosses the interruption: {pairs}"
    assert {a for a, _ in pairs if a < 5} == {0, 1, 2, 3}, "the last tick before it has no successor"


def test_a_persons_ticks_count_and_the_reward_of_a_label_too() -> None:
    live = source()
    for record in [tick(0), tick(1, Owner.HUMAN), replace(tick(2, Owner.HUMAN), reward_operator=1.0, terminated=True)]:
        live.add(record)
    batch = live.batch(8, 0.5, update_actor=True)
    assert live.human_ticks == 2 and live.episodes == 1
    assert batch.reward.max() == 1.0 and batch.discount.max() == 0.0
