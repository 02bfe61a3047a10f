"""The timing table of the design, row by row, on real processes: whatever dies or freezes, the arm stands in time."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robot.machine import usable_cores
from robot.ros import topics
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.messages import to_bool, to_command, to_json, to_operator
from robot.types import Command, OperatorInput, Owner, OwnerRequest
from tests.ros.probe import STATION, OneGraph, Probe, graph_specs

pytestmark = pytest.mark.ros
HOLD_S = 0.3  # from the fault to the last motion of the setpoint
NODES = ("policy", "arbiter", "episode", "health")
LOADED = [*((node, 0) for node in NODES), ("policy", usable_cores()), ("arbiter", usable_cores())]


@contextmanager
def beside(busy: int) -> Iterator[None]:
    """Run so many processes that never rest, of the priority of this one."""
    loads = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        yield
    finally:
        for load in loads:
            load.kill()
            load.wait()


@pytest.mark.parametrize(("node", "busy"), LOADED)
def test_a_frozen_process_leaves_the_arm_holding(graph: Probe, node: str, busy: int) -> None:
    with beside(busy):
        held_s = graph.time_to_hold(lambda: graph.send(node, signal.SIGSTOP))
    graph.send(node, signal.SIGCONT)
    assert held_s <= HOLD_S


@pytest.mark.parametrize(("node", "busy"), LOADED)
def test_a_killed_process_leaves_the_arm_holding(graph: Probe, node: str, busy: int) -> None:
    with beside(busy):
        held_s = graph.time_to_hold(lambda: graph.send(node, signal.SIGKILL))
    graph.graph.processes[node].exit_code()
    graph.graph.processes.restart(node)
    heard_s = time.monotonic()
    graph.wait(lambda: graph.heard_s(node) > heard_s, 40.0, f"{node} again")
    assert held_s <= HOLD_S


def test_a_hung_inference_leaves_the_arm_holding(graph: Probe) -> None:
    """The process lives and its other threads speak: `policy/alive` stops 0.3 s after the last progress."""
    held_s = graph.time_to_hold(lambda: graph.set_mode("hang"), watch_s=1.0)
    graph.set_mode("swing")
    assert held_s <= 0.3 + 0.15 + 0.1  # hung for 0.3 s, silent for 0.15 s, two ticks
    assert graph.safety in ("ok", "limited")  # held by commands, not by their absence


def test_a_policy_without_chunks_ends_in_hold_by_the_plans_expiry(graph: Probe) -> None:
    """Alive but mute: the plan may be followed for its own length and 0.2 s; its last point stands anyway."""
    held_s = graph.time_to_hold(lambda: graph.set_mode("silent"), watch_s=1.2)
    graph.set_mode("swing")
    assert held_s <= 8 * STATION.period_s + 0.2 + 0.1
    graph.wait(lambda: graph.owners[-1][1]["owner"] == "policy", 3.0, "the policy again")


def test_without_the_arbiter_the_arm_starves_then_stops_and_needs_a_reset(graph: Probe) -> None:
    graph.wait_moving()
    begun_s = time.monotonic()
    graph.send("arbiter", signal.SIGSTOP)
    graph.wait(lambda: graph.safety == "starved", 1.0, "a starved arm")
    starved_s = time.monotonic() - begun_s
    graph.wait(lambda: graph.safety == "stopped", 2.0, "a stopped arm")
    stopped_s = time.monotonic() - begun_s
    graph.send("arbiter", signal.SIGCONT)
    time.sleep(0.5)
    assert graph.safety == "stopped"  # the arbiter's return alone frees nothing
    assert 0.1 <= starved_s <= 0.4
    assert 0.8 <= stopped_s <= 1.4
    assert graph.call(topics.SAFETY_RESET)[0]
    graph.wait(lambda: graph.safety in ("holding", "ok"), 2.0, "a released arm")


def test_a_frozen_arm_process_follows_nothing_stale_when_it_goes_on(graph: Probe) -> None:
    graph.wait_moving()
    graph.send("arm", signal.SIGSTOP)
    time.sleep(1.6)
    frozen, resumed_s = graph.setpoints[-1].position, time.monotonic()
    graph.send("arm", signal.SIGCONT)
    graph.wait(lambda: graph.safety == "stopped", 2.0, "a stopped arm")
    time.sleep(0.4)
    after = np.array([s.position for s in graph.heard() if s.heard_s > resumed_s])
    assert len(after) > 20
    assert np.abs(after - frozen)[:, :7].max() < 0.008  # a few servo periods may not have been heard of


def test_a_short_freeze_of_the_arm_goes_on_within_the_limits(graph: Probe) -> None:
    """Frozen for less than a second: fresh commands only, and no setpoint step beyond the velocity limit."""
    graph.wait_moving()
    graph.send("arm", signal.SIGSTOP)
    time.sleep(0.5)
    resumed_s = time.monotonic()
    graph.send("arm", signal.SIGCONT)
    time.sleep(1.0)
    points = [s for s in graph.heard() if s.heard_s > resumed_s - 1.0]
    assert largest_step(points) <= 1.0


def largest_step(points: list) -> float:
    """Return the largest step between two setpoints in a row, as a share of what two servo periods allow."""
    positions = np.array([s.position for s in points])[:, :7]
    limit = STATION.velocity_limit[:7] * STATION.safety.velocity_scale * 2 / STATION.arm.state_rate_hz
    return float((np.abs(np.diff(positions, axis=0)) / (1.001 * limit + 1e-9)).max())


class Hand:
    """An operator device in the test's hands."""

    def __init__(self, probe: Probe, device: str) -> None:
        self._probe, self._device, self._seq = probe, device, 0

    def drive(self, duration_s: float, request: OwnerRequest = OwnerRequest.TAKE_OVER, speed_m_s: float = 0.05) -> None:
        """Send packets at 50 Hz."""
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            self._seq += 1
            is_driving = request is OwnerRequest.TAKE_OVER
            twist = (speed_m_s if is_driving else 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            packet = OperatorInput(self._seq, time.time_ns(), self._device, is_driving, request, twist=twist)
            self._probe.publish(topics.TELEOP_INPUT, to_operator(packet))
            time.sleep(0.02)


@pytest.mark.parametrize(("device", "limit_s"), [("spacemouse", 0.1), ("page", 0.25)])
def test_a_silent_operator_leaves_the_arm_holding_then_safe(graph: Probe, device: str, limit_s: float) -> None:
    graph.wait_moving()
    hand = Hand(graph, device)
    hand.drive(0.6)
    graph.wait(lambda: graph.owners[-1][1]["owner"] == "human", 1.0, "a driving person")
    hand.drive(0.3)
    begun_s = time.monotonic()
    graph.wait(lambda: graph.owners[-1][1]["mode"] == "hold", 1.5, "hold")
    assert graph.owners[-1][0] - begun_s <= limit_s + 0.15  # two ticks and a message
    time.sleep(0.3)
    assert graph.last_motion_s() - begun_s <= limit_s + 0.2
    graph.wait(lambda: graph.owners[-1][1]["mode"] == "safety", 3.0, "safety after two seconds")
    assert 1.6 <= graph.owners[-1][0] - begun_s <= 2.6


def test_takeover_and_hand_back_are_smooth_and_nothing_stale_follows(graph: Probe) -> None:
    graph.start_episode(seed=3)  # a whole one, so that none ends in the moment of the hand-back
    graph.wait_moving()
    hand, begun_s = Hand(graph, "spacemouse"), time.monotonic()
    hand.drive(1.0)
    generation = graph.owners[-1][1]["generation"]
    assert graph.owners[-1][1]["owner"] == "human"
    hand.drive(0.2, OwnerRequest.HAND_BACK)
    handed_ns = next(o["since_ns"] for _, o in list(graph.owners) if o["generation"] > generation)
    graph.wait(lambda: graph.owners[-1][1]["owner"] == "policy", 3.0, "the policy again")
    resumed = graph.owners[-1][1]
    assert resumed["generation"] > generation
    assert resumed["time_ns"] > handed_ns
    assert next(o["owner"] for _, o in list(graph.owners) if o["time_ns"] >= handed_ns) == "hold"
    time.sleep(0.5)
    assert largest_step([s for s in graph.heard() if s.heard_s > begun_s]) <= 1.0


@pytest.fixture
def whole_graph(one_graph: OneGraph, tmp_path: Path) -> Probe:
    """Every kind of process at once: a camera, the recorder, a scripted person and the page beside the others."""

    def specs() -> list[NodeSpec]:
        pages = [s for s in describe(GraphOptions(operator="page")) if s.name == "page"]
        nodes = graph_specs(operator="scripted", cameras=("scene",), record=str(tmp_path))
        return nodes + [replace(page, parameters={**page.parameters, "port": 0}) for page in pages]

    return one_graph.get("whole", specs)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("node", ["scene", "recorder", "operator", "page"])
def test_any_other_process_leaves_the_arm_holding_too(whole_graph: Probe, node: str, number: int) -> None:
    whole_graph.start_episode(seed=3)
    held_s = whole_graph.time_to_hold(lambda: whole_graph.send(node, number))
    if number == signal.SIGSTOP:
        whole_graph.send(node, signal.SIGCONT)
        whole_graph.wait_moving()  # back to work by itself: nothing was stopped for good
    else:
        whole_graph.wait(lambda: whole_graph.graph.processes[node].exit_code() is not None, 2.0, "its end")
        heard_s = time.monotonic()
        whole_graph.graph.processes.restart(node)
        whole_graph.wait(lambda: whole_graph.heard_s(node) > heard_s, 30.0, f"{node} again")
    assert held_s <= HOLD_S


@pytest.fixture
def swinging(one_graph: OneGraph) -> Iterator[Probe]:
    """A graph of its own, for what the shared one would not survive."""
    probe = one_graph.get("swinging", graph_specs)
    probe.start_episode(seed=2)
    probe.wait_moving()
    yield probe
    one_graph.close()


def test_a_killed_arm_process_comes_up_latched_and_the_latch_survives_the_others(swinging: Probe) -> None:
    graph = swinging
    graph.send("arm", signal.SIGKILL)
    graph.wait(lambda: graph.graph.processes["arm"].exit_code() is not None, 2.0, "a dead arm process")
    graph.states.clear()
    graph.health.pop("/arm", None)
    graph.graph.processes.restart("arm")
    graph.wait(lambda: graph.safety == "latched", 15.0, "a latched arm")
    graph.wait(lambda: graph.health.get("/arm", (0.0, {}))[1].get("lifecycle") == "active", 10.0, "it brought up again")
    for node in ("arbiter", "policy", "health"):
        graph.send(node, signal.SIGKILL)
        graph.wait(lambda n=node: graph.graph.processes[n].exit_code() is not None, 2.0, "its end")
    time.sleep(0.3)
    for node in ("arbiter", "policy"):  # health would reset by itself at bring-up, in simulation
        graph.graph.processes.restart(node)
    time.sleep(4.0)
    begun_s = time.monotonic()
    command = Command(1, time.time_ns(), graph.setpoints[-1].position + 0.01, Owner.POLICY)
    graph.publish(topics.COMMAND, to_command(command, STATION.joint_names, STATION.period_ns))
    time.sleep(0.5)
    assert graph.safety == "latched"
    assert not graph.moving_at(begun_s)
    graph.publish(topics.ESTOP, to_bool(False))  # health may have died while it pressed
    time.sleep(0.2)
    assert graph.call(topics.SAFETY_RESET)[0]
    graph.wait(lambda: graph.safety in ("holding", "ok"), 2.0, "a released arm")


def test_an_emergency_stop_latches_until_released_and_reset(graph: Probe) -> None:
    graph.wait_moving()
    graph.send("health", signal.SIGSTOP)  # the test is now the only one that speaks on safety/estop
    held_s = 0.0
    try:
        begun_s = time.monotonic()
        graph.publish(topics.ESTOP, to_bool(True))
        graph.wait(lambda: graph.safety == "latched", 1.0, "a latched arm")
        time.sleep(0.5)
        held_s = graph.last_motion_s() - begun_s
        done, why = graph.call(topics.SAFETY_RESET)
        assert not done
        assert "release" in why
        graph.publish(topics.ESTOP, to_bool(False))
        time.sleep(0.3)
        assert graph.safety == "latched"  # releasing alone frees nothing
        assert graph.call(topics.SAFETY_RESET)[0]
        graph.wait(lambda: graph.safety in ("holding", "ok"), 2.0, "a released arm")
    finally:
        graph.send("health", signal.SIGCONT)
    assert held_s <= HOLD_S
    time.sleep(0.5)
    assert graph.owners[-1][1]["owner"] != "policy"  # safety never resumes by itself


def test_the_stop_service_latches(graph: Probe) -> None:
    graph.wait_moving()
    assert graph.call(topics.SAFETY_STOP)[0]
    graph.wait(lambda: graph.safety == "latched", 1.0, "a latched arm")
    graph.publish(topics.EPISODE_COMMAND, to_json({"command": "stop"}))
    graph.release()
