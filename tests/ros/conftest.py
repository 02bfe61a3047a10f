"""Graphs of real processes, shared by the tests that leave them as they were."""

import signal
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy")

from tests.ros.probe import Probe, graph_specs, running_probe


@pytest.fixture(scope="session")
def shared_graph() -> Iterator[Probe]:
    """A graph for every test that leaves it as it was."""
    with running_probe(graph_specs()) as probe:
        yield probe


@pytest.fixture
def graph(shared_graph: Probe) -> Iterator[Probe]:
    """The shared graph with a new episode in which the policy moves the arm."""
    shared_graph.set_mode("swing")
    shared_graph.start_episode(seed=1)
    yield shared_graph
    for node in shared_graph.graph.processes.nodes.values():
        node.send(signal.SIGCONT)
    shared_graph.set_mode("swing")
