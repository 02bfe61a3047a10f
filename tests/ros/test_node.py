"""What every node has in common: who is counted as there, and what a node does that stood still for too long."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.utilities import try_shutdown

from robot.errors import RobotError
from robot.ros import node as node_module
from robot.ros.description import GraphOptions, describe, expecting_all
from robot.ros.node import Attendance, NodeParameters, RobotNode
from tests.domains import some_domain

JOINED, DIED, LEFT, BACK, FORGOTTEN = (1, 0), (-1, 1), (-1, 0), (1, -1), (0, -1)


@pytest.mark.parametrize(
    ("expected", "events", "missing"),
    [
        (3, [JOINED], 2),
        (3, [JOINED, JOINED, JOINED], 0),
        (2, [JOINED, JOINED, DIED], 1),
        (2, [JOINED, JOINED, DIED, BACK], 0),
        (2, [JOINED, JOINED, DIED, FORGOTTEN], 1),  # that the others forget it frees nothing
        (2, [JOINED, JOINED, DIED, JOINED], 0),  # started again, before the first was forgotten
        (2, [JOINED, JOINED, DIED, JOINED, FORGOTTEN], 0),
        (2, [JOINED, JOINED, LEFT], 0),  # who took its leave is not missing
        (2, [JOINED, JOINED, DIED, LEFT, DIED], 2),
        (0, [JOINED, JOINED, DIED], 1),  # learned from those that came
    ],
)
def test_missing_nodes_are_counted(expected: int, events: list[tuple[int, int]], missing: int) -> None:
    attendance, alive, found = Attendance(expected), 0, expected
    for alive_change, not_alive_change in events:
        alive += alive_change
        found = attendance.count(alive, alive_change, not_alive_change)
    assert found == missing


def test_the_arbiter_expects_every_vital_node_of_its_own_robot() -> None:
    left = describe(GraphOptions(namespace="left", operator="none"))
    right = describe(GraphOptions(namespace="right", operator="page", record="store"))
    told = {n.namespace: n.parameters["vital_nodes"] for n in expecting_all(left + right) if n.name == "arbiter"}
    assert told == {"left": len(left) - 1, "right": len(right) - 1}


class Sleeper(RobotNode[NodeParameters]):
    """A node whose callbacks stand still."""

    def __init__(self) -> None:
        super().__init__("sleeper", NodeParameters)
        self.create_timer(0.01, lambda: time.sleep(0.4))


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    rclpy.init(domain_id=some_domain())
    node = Sleeper()
    yield node
    node.destroy_node()
    try_shutdown()


def test_a_node_that_was_frozen_until_others_forgot_it_ends(sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "FROZEN_S", 0.3)
    with pytest.raises(RobotError, match=r"stood still for .* start the graph again"):
        node_module._spin(sleeper, threading.Event())


STUCK = """
import os, signal, time
from robot.ros import node
node.LEAVE_S = 0.5
class Stuck(node.RobotNode):
    def __init__(self):
        super().__init__("stuck", node.NodeParameters)
        self.create_timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    def close(self):
        super().close()
        print("closed", flush=True)
    def destroy_node(self):
        time.sleep(60.0)
raise SystemExit(node.run_node(Stuck, []))
"""


def test_a_node_that_the_middleware_does_not_let_go_of_ends_by_itself_and_says_where() -> None:
    environment = {**os.environ, "ROS_DOMAIN_ID": str(some_domain())}
    ran = subprocess.run(
        [sys.executable, "-c", STUCK], env=environment, capture_output=True, text=True, timeout=40, check=False
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.splitlines()[-1] == "closed", "what is its own was not closed before"
    assert "Timeout" in ran.stderr and "in destroy_node" in ran.stderr
