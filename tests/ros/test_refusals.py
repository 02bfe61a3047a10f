"""Broken input, on real processes: refused or held in time, and counted by kind."""

import json
import time

import numpy as np
import pytest

from robot.ros import topics
from robot.ros.messages import operator_to_dict, to_command, to_json
from robot.types import Command, OperatorInput, Owner
from tests.ros.probe import STATION, Probe

pytestmark = pytest.mark.ros
PLAN_S = 8 * STATION.period_s + 0.2  # the plan that was good may be followed to its end


@pytest.mark.parametrize(
    ("mode", "counter"),
    [
        ("nan", "refused_not_finite"),
        ("wrong_names", "refused_incomplete"),
        ("missing", "refused_incomplete"),
        ("old", "refused_old_stamp"),
        ("future", "refused_future_stamp"),
        ("stale_generation", "refused_stale_generation"),
    ],
)
def test_a_broken_chunk_is_refused_and_counted(graph: Probe, mode: str, counter: str) -> None:
    before = graph.counter("arbiter", counter)
    held_s = graph.time_to_hold(lambda: graph.set_mode(mode), watch_s=PLAN_S + 0.5)
    graph.wait_counter("arbiter", counter, before)
    assert held_s <= PLAN_S + 0.2
    assert graph.owners[-1][1]["owner"] == "hold"
    graph.set_mode("swing")
    graph.wait_moving()


def test_a_jump_is_not_followed_and_counted(graph: Probe) -> None:
    before = graph.counter("arbiter", "clip_jump")
    held_s = graph.time_to_hold(lambda: graph.set_mode("jump"), watch_s=1.0)
    graph.wait_counter("arbiter", "clip_jump", before)
    graph.set_mode("swing")
    assert held_s <= 0.5


def test_a_chunk_in_another_order_is_mapped_by_name(graph: Probe) -> None:
    """Reversed names and values mean the same motion: the arm swings on, and nothing is refused."""
    graph.set_mode("reordered")
    time.sleep(0.6)
    begun_s, refused = time.monotonic(), graph.counter("arbiter", "refused_incomplete")
    time.sleep(0.5)
    assert graph.moving_at(begun_s)
    assert graph.owners[-1][1]["owner"] == "policy"
    assert graph.counter("arbiter", "refused_incomplete") == refused


def command(position: np.ndarray, *, age_s: float = 0.0, seq: int = 10**6) -> Command:
    return Command(seq, time.time_ns() - round(age_s * 1e9), position, Owner.POLICY)


@pytest.mark.parametrize(
    ("break_it", "counter"),
    [
        (lambda m: m.joint_names.__setitem__(0, "elbow"), "refused_incomplete"),
        (lambda m: m.joint_names.pop(), "refused_incomplete"),
        (lambda m: setattr(m, "points", []), "refused_incomplete"),
    ],
)
def test_the_arm_refuses_commands_without_the_right_joints(graph: Probe, break_it: object, counter: str) -> None:
    before = graph.counter("arm", counter)

    def broken() -> object:
        message = to_command(command(graph.setpoints[-1].position), STATION.joint_names, STATION.period_ns)
        break_it(message)  # type: ignore[operator]
        return message

    graph.publish_until(topics.COMMAND, broken, lambda: graph.counter("arm", counter) > before, counter)


@pytest.mark.parametrize(("age_s", "counter"), [(1.0, "refused_old_stamp"), (-0.8, "refused_future_stamp")])
def test_the_arm_refuses_old_and_future_commands(graph: Probe, age_s: float, counter: str) -> None:
    before = graph.counter("arm", counter)

    def sent() -> object:
        made = command(graph.setpoints[-1].position, age_s=age_s)
        return to_command(made, STATION.joint_names, STATION.period_ns, graph.episodes[-1].id)

    graph.publish_until(topics.COMMAND, sent, lambda: graph.counter("arm", counter) > before, counter)


@pytest.mark.parametrize(("value", "counter"), [(np.nan, "clip_not_finite"), (1.5, "clip_jump")])
def test_the_last_filter_stops_what_reaches_the_arm(graph: Probe, value: float, counter: str) -> None:
    """As if the arbiter itself had gone mad: the setpoint stays near where it was."""
    graph.wait_moving()
    before = graph.counter("arm", counter)
    position = graph.setpoints[-1].position.copy()
    position[2] = value
    begun_s, at = time.monotonic(), graph.setpoints[-1].position
    message = to_command(command(position), STATION.joint_names, STATION.period_ns, graph.episodes[-1].id)
    for _ in range(6):
        message.header.stamp = to_command(command(position), [], 1).header.stamp
        graph.publish(topics.COMMAND, message)
        time.sleep(0.005)
    graph.wait_counter("arm", counter, before)
    moved = np.array([s.position for s in graph.heard() if begun_s < s.heard_s < begun_s + 0.2]) - at
    assert np.isfinite(moved).all()
    assert np.abs(moved[:, 2]).max() < 0.1


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"twist": [float("nan")] * 6}, "refused_not_finite"),
        ({"request": "grab"}, "refused_incomplete"),
        ({"time_ns": 1}, "refused_old_stamp"),
        ({"time_ns": 2**62}, "refused_future_stamp"),
    ],
)
def test_a_broken_operator_packet_is_refused_and_counted(graph: Probe, change: dict, counter: str) -> None:
    before = graph.counter("arbiter", counter)
    packet = {**operator_to_dict(OperatorInput(1, time.time_ns(), "spacemouse")), **change}
    graph.publish(topics.TELEOP_INPUT, to_json(json.loads(json.dumps(packet))))
    graph.wait_counter("arbiter", counter, before)
    assert graph.owners[-1][1]["mode"] == "auto"
