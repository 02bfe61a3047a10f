"""Health through real processes: an error stops the arm, and neither its end nor a restart frees what is latched."""

import signal
import time
from typing import Any

import pytest

pytest.importorskip("rclpy")

from robot.ros import topics
from robot.ros.node import Level
from robot.ros.qos import message_type
from tests.ros.probe import Probe

pytestmark = pytest.mark.ros


def diagnosis(name: str, level: Level) -> Any:
    from diagnostic_msgs.msg import DiagnosticStatus

    status = DiagnosticStatus(level=bytes([level]), name=name, message="made by a test")
    return message_type(topics.DIAGNOSTICS.type)(status=[status])


def wait_latched(probe: Probe) -> None:
    probe.wait(lambda: probe.client.safety == "latched", 3.0, "a latched arm")


def test_an_error_of_a_required_node_latches_the_arm_until_a_reset(graph: Probe) -> None:
    graph.wait_moving()
    graph.publish(topics.DIAGNOSTICS, diagnosis("/arbiter", Level.ERROR))
    wait_latched(graph)
    graph.wait(lambda: "made by a test" not in health_says(graph), 6.0, "the end of the complaint")
    time.sleep(0.5)
    assert graph.client.safety == "latched", "the fault has gone, the latch has not"
    graph.release()


def test_health_that_is_started_again_does_not_free_a_latched_arm(graph: Probe) -> None:
    """It resets the arm by itself at bring-up, so a restart would be a way around the latch."""
    graph.wait_moving()
    assert graph.call(topics.SAFETY_STOP)[0]
    wait_latched(graph)
    processes = graph.graph.processes
    processes["health"].send(signal.SIGKILL)
    graph.wait(lambda: processes["health"].exit_code() is not None, 5.0, "the end of health")
    graph.client.health.pop("/health", None)
    processes.restart("health")
    graph.wait(lambda: "ok" in health_says(graph), 30.0, "health to be content")
    time.sleep(2.5)
    assert graph.client.safety == "latched"
    graph.release()


def health_says(graph: Probe) -> str:
    said = graph.client.status("health")
    return said.message if said else ""
