"""Two robots in two namespaces of one domain do not hear each other."""

import os
from contextlib import ExitStack

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot.ros import topics
from robot.ros.client import GraphClient
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.running_graph import running_graph
from tests.domains import some_domain

NAMES = ("left", "right")
EXPECTED = {"arm", "arbiter", "episode", "operator", "health"}


def specs(namespace: str) -> list[NodeSpec]:
    script = {"script": "demonstrate", "gain": 0.7}
    return describe(GraphOptions(task="reach", cameras=(), namespace=namespace, script=script))


def joints_of(client: GraphClient) -> list[np.ndarray]:
    heard: list[np.ndarray] = []
    client.subscribe(topics.JOINT_STATES, lambda message: heard.append(np.array(message.position)))
    return heard


@pytest.mark.ros
@pytest.mark.slow
def test_an_episode_of_one_robot_leaves_the_other_alone() -> None:
    domain_id = some_domain()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    with ExitStack() as stack:
        graphs = [stack.enter_context(running_graph(specs(name), domain_id=domain_id)) for name in NAMES]
        left, right = (graph.client for graph in graphs)
        joints = {"left": joints_of(left), "right": joints_of(right)}
        left.wait(lambda: all(map(len, joints.values())), 10.0, "joints of both")
        state = left.start_episode(0, autonomous=False)
        assert left.wait_for_end(state.id, 20.0).end_reason == "success"
        assert [heard.phase for heard in right.episodes if heard.phase != "idle"] == []
        assert np.ptp(np.array(joints["left"]), axis=0).max() > 0.02, "the left arm moved"
        assert np.ptp(np.array(joints["right"]), axis=0).max() < 0.002, "the right arm stood"
        assert right.author["owner"] == "hold" and right.safety in ("holding", "ok", "starved")
        for client in (left, right):
            seen = {name for name in client.health if name.startswith(client.namespace)}
            assert seen == {f"{client.namespace}/{name}" for name in EXPECTED}
        second = right.start_episode(1, autonomous=False)
        assert right.wait_for_end(second.id, 20.0).end_reason == "success"
        assert left.episodes[-1].id == state.id
