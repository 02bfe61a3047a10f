"""A graph that runs for the length of a `with` block: its processes, and a client that watches it."""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robot.ros.description import NodeSpec, added_environment, environment, expecting_all
from robot.ros.leftovers import remove_leftovers
from robot.ros.processes import Processes

READY_S = 90.0
PAGE_LINE = "operator page: "


class RunningGraph:
    """A graph that is up: its processes, and a client that watches it."""

    def __init__(self, processes: Processes, client: Any) -> None:
        self.processes = processes
        self.client = client  # robot.ros.client.GraphClient

    @property
    def page_address(self) -> str:
        """Return the operator page's address, "" where there is none."""
        lines = self.processes["page"].lines if "page" in self.processes.nodes else ()
        return next((line.partition(PAGE_LINE)[2] for line in lines if PAGE_LINE in line), "")

    def check(self) -> None:
        """Raise GraphFailed when a required node has ended."""
        self.processes.check()


@contextmanager
def running_graph(
    nodes: Sequence[NodeSpec],
    *,
    domain_id: int | None = None,
    log_dir: Path | None = None,
    echo: Callable[[str, str], None] | None = None,
    ready_s: float = READY_S,
    stopping: threading.Event | None = None,
) -> Iterator[RunningGraph]:
    """Run processes for the length of a `with` block, entered once all were discovered and the arm is released.

    What the nodes need in the environment and the user has not set is set in this process too.

    Args:
        nodes: what to start; `describe` makes the list.
        domain_id: ROS_DOMAIN_ID; None takes the environment's.
        log_dir: where to write one log file per node.
        echo: called with node name and line for everything the nodes print.
        ready_s: how long to wait for discovery before DeviceNotFound.
        stopping: give up waiting when this is set.

    Raises:
        GraphFailed: a required node ended while starting.
    """
    os.environ.update(added_environment())
    from robot.ros.client import GraphClient

    nodes = expecting_all(nodes)
    remove_leftovers()
    processes = Processes(nodes, environment(os.environ, domain_id), log_dir=log_dir, echo=echo)
    try:
        with GraphClient(nodes[0].namespace, domain_id=domain_id) as client:
            graph = RunningGraph(processes, client)
            _wait_ready(graph, nodes, ready_s, stopping or threading.Event())
            yield graph
    finally:
        processes.stop()


def _wait_ready(graph: RunningGraph, nodes: Sequence[NodeSpec], ready_s: float, stopping: threading.Event) -> None:
    spaces = {node.name: f"/{node.namespace.strip('/')}".rstrip("/") for node in nodes}
    wanted = {f"{spaces[node.name]}/{node.name}" for node in nodes}
    health = next((node for node in nodes if node.name == "health"), None)
    releases = health is not None and bool(health.parameters.get("auto_reset"))
    client = graph.client

    def is_brought_up() -> bool:
        """Say whether every device is at work, or one of them is waited for, which may take as long as it likes."""
        said = client.status("health")
        return health is None or (
            said is not None and (not said.values["not_up"] or bool(said.values["not_up_reason"]))
        )

    def is_ready() -> bool:
        graph.check()
        found = {f"{space.rstrip('/')}/{name}" for name, space in client.node.get_node_names_and_namespaces()}
        is_released = client.safety not in ("", "latched", "stopped") if releases else is_brought_up()
        return stopping.is_set() or (is_released and wanted <= found)

    client.wait(is_ready, ready_s, "all nodes discovered and the arm released")


def choose_domain(given: int | None) -> int | None:
    """Return the domain to use: the user's, or one by chance where nothing was said."""
    if given is not None or "ROS_DOMAIN_ID" in os.environ:
        return given
    return random.SystemRandom().randint(1, 101)
