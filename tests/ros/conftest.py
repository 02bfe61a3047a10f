"""Graphs of real processes, shared by the tests that leave them as they were; never two at once on two cores."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from tests.ros.probe import OneGraph, Probe, graph_specs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring together the tests of this folder that share the graph: each time it is ended and started takes seconds."""
    here = [index for index, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ordered = sorted((items[index] for index in here), key=lambda item: "shared_graph" not in item.fixturenames)
    for index, item in zip(here, ordered, strict=True):
        items[index] = item


@pytest.fixture(scope="session")
def one_graph() -> Iterator[OneGraph]:
    graphs = OneGraph()
    yield graphs
    graphs.close()


@pytest.fixture(autouse=True)
def no_graph_of_others(request: pytest.FixtureRequest) -> None:
    """End the shared graph before a test that starts processes of its own, or none."""
    if "one_graph" not in request.fixturenames:
        request.getfixturevalue("one_graph").close()


@pytest.fixture
def shared_graph(one_graph: OneGraph) -> Probe:
    """A graph for every test that leaves it as it was."""
    return one_graph.get("shared", graph_specs)


@pytest.fixture
def graph(shared_graph: Probe) -> Iterator[Probe]:
    """The shared graph with a new episode in which the policy moves the arm."""
    shared_graph.set_mode("swing")
    shared_graph.start_episode(seed=1)
    yield shared_graph
    for node in shared_graph.graph.processes.nodes.values():
        node.send(signal.SIGCONT)
    shared_graph.set_mode("swing")
