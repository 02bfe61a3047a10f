"""The arm as a managed node, on real processes and from outside: what it does in each state, and what it never does."""

import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition

from hardware.bench_cameras import MODE, POSE
from hardware.stand_ins.video import make_video
from robot.ros import topics
from robot.ros.bring_up import CHANGE_STATE, GET_STATE
from robot.ros.description import GraphOptions, describe
from robot.ros.processes import GraphFailed
from robot.ros.qos import message_type
from robot.ros.running_graph import running_graph
from tests.domains import some_domain
from tests.ros.probe import Probe

pytestmark = pytest.mark.ros
HOLD_S = 0.3


def change(probe: Probe, transition: int, node: str = "arm") -> None:
    """Ask a node for a transition, as anybody may."""
    service = message_type(CHANGE_STATE)
    client = probe.client.node.create_client(service, f"{node}/change_state")
    probe.wait(client.service_is_ready, 5.0, f"change_state of {node}")
    future = client.call_async(service.Request(transition=Transition(id=transition)))
    probe.wait(future.done, 10.0, f"an answer of {node}")
    assert future.result().success, probe.said()


def state_of(probe: Probe, node: str = "arm") -> str:
    client = probe.client.node.create_client(message_type(GET_STATE), f"{node}/get_state")
    probe.wait(client.service_is_ready, 5.0, f"get_state of {node}")
    future = client.call_async(message_type(GET_STATE).Request())
    probe.wait(future.done, 5.0, f"the state of {node}")
    return str(future.result().current_state.label)


def test_a_deactivated_arm_stops_and_moves_again_only_when_activated_and_reset(graph: Probe) -> None:
    assert state_of(graph) == "active"
    held_s = graph.time_to_hold(lambda: change(graph, Transition.TRANSITION_DEACTIVATE))
    assert held_s <= HOLD_S
    assert (state_of(graph), graph.safety) == ("inactive", "latched")
    is_met, why = graph.call(topics.SAFETY_RESET)
    assert not is_met and "not active" in why
    change(graph, Transition.TRANSITION_ACTIVATE)
    stood_s = time.monotonic()
    time.sleep(0.5)
    assert graph.safety == "latched" and not graph.moving_at(stood_s), "activating moves nothing"
    graph.release()
    graph.start_episode(seed=1)
    graph.wait_moving()


def test_an_arm_that_was_let_go_of_is_opened_again_latched(graph: Probe) -> None:
    graph.wait_moving()
    change(graph, Transition.TRANSITION_DEACTIVATE)
    change(graph, Transition.TRANSITION_CLEANUP)
    time.sleep(0.2)
    closed_s = time.monotonic()
    time.sleep(0.3)
    assert not [point for point in graph.heard() if point.heard_s > closed_s], "nothing is read from a closed arm"
    assert not graph.call(topics.SAFETY_STOP)[0]
    graph.states.clear()
    change(graph, Transition.TRANSITION_CONFIGURE)
    graph.wait(lambda: graph.safety == "latched", 3.0, "a latched arm")
    assert not graph.call(topics.SAFETY_RESET)[0]
    change(graph, Transition.TRANSITION_ACTIVATE)
    graph.release()
    graph.start_episode(seed=1)
    graph.wait_moving()


def test_where_the_arm_is_not_there_nothing_is_activated_and_the_graph_ends_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("scservo_sdk", reason="pip install '.[feetech]'")
    camera = {"name": "uvc", "driver": "uvc", "options": {"path": str(make_video(tmp_path / "scene.avi"))}}
    tree = {"like": "so101", "name": "cell", "arm": {"address": "/dev/not-there"}, "cameras": [camera | POSE | MODE]}
    station = tmp_path / "cell.yaml"
    station.write_text(yaml.safe_dump(tree))
    lines: list[str] = []
    nodes = describe(GraphOptions(station=str(station), operator="none"))
    with (
        pytest.raises(GraphFailed, match=r"arm could not be configured: .*/dev/not-there.*nothing was activated"),
        running_graph(nodes, domain_id=some_domain(), echo=lambda name, line: lines.append(f"[{name}] {line}")),
    ):
        pass
    said = "\n".join(lines)
    assert "[health]" in said and "uvc is open" in said, said
    assert "activated" not in said.replace("nothing was activated", "")
