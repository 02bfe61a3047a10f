"""The plan: what chunks are accepted, and what they say at any time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.plan import EXPIRY_S, FUTURE_S, Plan
from robot.policy import ActionChunk
from robot.record import Clip
from robot.types import NS_PER_S

DT_S = 0.05
T0 = 10 * NS_PER_S


def chunk(n: int = 4, *, t_ns: int = T0, generation: int = 0, **more: object) -> ActionChunk:
    actions = np.arange(n, dtype=float)[:, None] + np.array([0.0, 100.0])
    return ActionChunk(actions, DT_S, t_ns, generation, **more)  # type: ignore[arg-type]


def at(seconds: float) -> int:
    return T0 + round(seconds * NS_PER_S)


def accepted(given_chunk: ActionChunk, now_ns: int = T0, generation: int = 0, not_before_ns: int = -1) -> Clip:
    return Plan().accept(given_chunk, now_ns=now_ns, generation=generation, not_before_ns=not_before_ns)[1]


@pytest.mark.parametrize("i", range(4))
def test_point_i_is_due_at_i_plus_one_steps(i: int) -> None:
    sample = Plan(chunk()).sample(at((i + 1) * DT_S))
    assert sample is not None
    np.testing.assert_array_equal(sample.action, chunk().actions[i])
    assert (sample.offset, sample.is_starved) == (i, False)


def test_latency_skips_what_it_has_consumed() -> None:
    sample = Plan(chunk()).sample(at(2.5 * DT_S))
    assert sample is not None
    np.testing.assert_allclose(sample.action, [1.5, 101.5])
    assert sample.offset == 1


@given(st.floats(0.0, 4 * DT_S + EXPIRY_S - 1e-6))
def test_a_plan_never_leaves_the_hull_of_its_points(elapsed_s: float) -> None:
    sample = Plan(chunk()).sample(at(elapsed_s))
    assert sample is not None
    assert 0.0 <= sample.action[0] <= 3.0


def test_before_the_first_point_is_due_it_is_the_goal() -> None:
    sample = Plan(chunk()).sample(at(0.0))
    assert sample is not None
    assert sample.action[0] == 0.0


def test_the_last_point_is_held_and_then_the_plan_expires() -> None:
    plan = Plan(chunk())
    late = plan.sample(at(4 * DT_S + 0.1))
    assert late is not None
    assert late.is_starved
    assert late.action[0] == 3.0
    assert plan.sample(at(4 * DT_S + EXPIRY_S + 0.001)) is None
    assert Plan().sample(T0) is None
    assert plan.cleared().sample(at(DT_S)) is None


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (chunk(generation=1), Clip.STALE),
        (chunk(t_ns=at(FUTURE_S + 0.01)), Clip.STALE),
        (chunk(t_ns=at(-4 * DT_S - EXPIRY_S - 0.01)), Clip.STALE),
        (ActionChunk(np.full((3, 2), np.nan), DT_S, T0), Clip.NOT_FINITE),
        (ActionChunk(np.zeros((0, 2)), DT_S, T0), Clip.INCOMPLETE),
        (ActionChunk(np.zeros(3), DT_S, T0), Clip.INCOMPLETE),
        (chunk(base_actions=np.zeros((3, 2))), Clip.INCOMPLETE),
        (chunk(base_actions=np.full((4, 2), np.inf)), Clip.NOT_FINITE),
    ],
)
def test_what_cannot_be_followed_is_refused(broken: ActionChunk, why: Clip) -> None:
    assert accepted(broken) is why


def test_only_what_was_seen_after_the_hand_back_is_followed() -> None:
    assert accepted(chunk(), now_ns=at(0.1), not_before_ns=T0) is Clip.STALE
    assert accepted(chunk(t_ns=T0 + 1), now_ns=at(0.1), not_before_ns=T0) is Clip.NONE


def test_an_older_observation_does_not_replace_a_newer_one() -> None:
    plan, _ = Plan().accept(chunk(), now_ns=T0, generation=0, not_before_ns=-1)
    kept, why = plan.accept(chunk(t_ns=T0 - 1), now_ns=T0, generation=0, not_before_ns=-1)
    assert kept is plan
    assert why is Clip.STALE


def test_base_actions_are_sampled_beside_the_actions() -> None:
    made = chunk(base_actions=np.zeros((4, 2)))
    sample = Plan(made).sample(at(2 * DT_S))
    assert sample is not None
    np.testing.assert_array_equal(sample.base_action, [0.0, 0.0])
    np.testing.assert_array_equal(sample.action, [1.0, 101.0])
