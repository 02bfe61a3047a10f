"""What the policy node does with its first observation, without a graph around it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from policies.served_policy import ServedPolicy
from robot.errors import CheckpointMismatch
from robot.types import Observation, RobotState
from tests.ros.made_policy import SHAPES, STATION, make_clone

policy_node = pytest.importorskip("policies.policy_node", reason="rclpy is not installed", exc_type=ImportError)


def node(*, is_barrier: bool = False) -> Any:
    """Return what `_check_seen` needs of a node."""
    policy = make_clone()
    made = SimpleNamespace(
        station=STATION,
        parameters=SimpleNamespace(execution=""),
        is_barrier=is_barrier,
        _spec=policy.spec,
        _served=ServedPolicy(policy, lambda: 0),
        _fits=False,
    )
    made._check = lambda world: policy_node.PolicyNode._check(made, world)
    return made


def observation(**changes: tuple[int, ...]) -> Observation:
    values = {name: np.full(shape, 0.3) for name, shape in {**SHAPES, **changes}.items()}
    return Observation(0, RobotState(0, np.zeros(8), np.zeros(8)), values)


def test_the_first_chunk_is_shown_before_an_episode_begins(capsys: pytest.CaptureFixture[str]) -> None:
    made = node()
    policy_node.PolicyNode._check_seen(made, observation())
    assert made._fits
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1 + len(STATION.action_names)
    assert "first chunk" in shown
    assert "tcp_x" in shown


def test_in_barrier_mode_the_policy_is_not_asked_before_its_first_tick(capsys: pytest.CaptureFixture[str]) -> None:
    made = node(is_barrier=True)
    made._served.act = lambda _: pytest.fail("asked")
    policy_node.PolicyNode._check_seen(made, observation())
    assert made._fits
    assert not capsys.readouterr().out


def test_an_observation_of_another_task_is_refused() -> None:
    made = node()
    with pytest.raises(CheckpointMismatch, match=r"observation object_state: the checkpoint expects .* found \(2,\)"):
        policy_node.PolicyNode._check_seen(made, observation(object_state=(2,)))
    assert not made._fits
