"""A learner beside the graph: it hears ticks, makes weights, and the policy node takes them over while it drives."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from policies.served_policy import AGE_GROUP
from robot.record import TickRecord
from robot.ros import topics
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.record_message import from_record
from robot.ros.running_graph import RunningGraph, running_graph
from tests.domains import some_domain
from tests.ros.made_policy import TASK, save_made


def value(graph: RunningGraph, node: str, name: str) -> float:
    said = graph.client.status(node)
    return float(said.values.get(name, "0")) if said else 0.0


@pytest.mark.ros
@pytest.mark.slow
def test_weights_learned_from_ticks_reach_the_policy(tmp_path: Path) -> None:
    checkpoint = save_made("residual", tmp_path)
    nodes = describe(GraphOptions(task=TASK, policy=str(checkpoint), cameras=(), script={"takeovers": "10+15"}))
    settings = {"preset": "debug", "warmup_ticks": 25, "announce_every": 20, "out": str(tmp_path / "weights")}
    shared = {"task": TASK, "checkpoint": str(checkpoint), **settings}
    nodes.append(NodeSpec("policies.learner_node", "learner", parameters=shared))
    records: list[TickRecord] = []
    with running_graph(nodes, domain_id=some_domain()) as graph:
        graph.client.subscribe(topics.TICK_RECORD, lambda message: records.append(from_record(message)))
        for seed in range(3):
            state = graph.client.start_episode(seed)
            graph.client.wait_for_end(state.id, 30.0)
            if value(graph, "policy", "version") >= 2:
                break
        graph.client.wait(lambda: value(graph, "policy", "version") >= 2, 10.0, "learned weights in the policy node")
        graph.check()
        graph.client.wait(lambda: value(graph, "learner", "updates") >= 40, 10.0, "the learner's own word")
        assert value(graph, "learner", "human_ticks") > 0
        assert value(graph, "policy", "refused_weights") == 0
    aged = [record for record in records if AGE_GROUP in record.groups]
    assert {record.policy_version for record in records} & {0}, "the first ticks were of the weights it began with"
    assert all(record.policy_version > 0 for record in aged)
    assert all(0.0 < float(np.asarray(record.groups[AGE_GROUP])) < 60.0 for record in aged)
