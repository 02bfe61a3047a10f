"""How old what a node sees is, and how much of it arrives: a whole graph of processes, seen by a bystander.

Two 640x480 cameras at 30 Hz, joints at 200 Hz, commands at 50 Hz, recorder and operator running. Measured once with the
shared-memory profile that the launcher sets, and once with what Fast DDS does by default.
"""

import json
import os
import random
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robot.errors import RobotError
from robot.machine import machine
from robot.ros.description import PROFILE_VARIABLES, GraphOptions, NodeSpec, describe, environment
from robot.ros.processes import Processes

TARGETS = Path(__file__).parents[2] / "benchmarks" / "targets.toml"
COMMAND_HZ = 50.0
SECONDS = 10.0
MARK = "measured: "  # as in robot.ros.graph_probe_node, which needs ROS
PATIENCE_S = 100.0


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes a minute."""
    targets = tomllib.loads(TARGETS.read_text())["graph"]
    with_profile, by_default = measure(with_profile=True), measure(with_profile=False)
    received, lost = with_profile["frames_received"], 1.0 - by_default["frames_received"]
    rows = [
        row("frames_received", received, "share", targets["frames_received"], by_default["frames_received"], low=True),
        row("joint_age_p50", with_profile["joints_age_p50_ms"], "ms", targets["joint_age_p50_ms"]),
        row("command_hop_p99", with_profile["commands_age_p99_ms"], "ms", targets["command_hop_p99_ms"]),
        row("frames_lost_by_default", lost, "share", targets["frames_lost_by_default"], low=True),
    ]
    of_cameras = {name for name in with_profile if name.startswith("images_of_")}
    untold = of_cameras | {"frames_received", "joints_age_p50_ms", "commands_age_p99_ms", "seconds"}
    rows += [row(name, value, _unit(name), None) for name, value in with_profile.items() if name not in untold]
    return {"name": "graph", "ok": all(one["ok"] for one in rows), "rows": rows, "machine": machine()}


def measure(
    *,
    with_profile: bool = True,
    seconds: float = SECONDS,
    station: str = "fr3_sim",
    watch: Callable[[Processes], None] = lambda _: None,
) -> dict[str, float]:
    """Run a graph of its own for a while and return what the bystander saw.

    Args:
        with_profile: with the shared-memory profile of the launcher.
        seconds: how long the bystander measures.
        station: name or file; its arm is a simulated one.
        watch: called five times a second with the running processes.
    """
    domain_id = random.SystemRandom().randint(1, 101)
    base = {key: value for key, value in os.environ.items() if key not in PROFILE_VARIABLES}
    variables = environment(base, domain_id)
    if not with_profile:
        variables = {key: value for key, value in variables.items() if key not in PROFILE_VARIABLES}
    with tempfile.TemporaryDirectory() as store:
        nodes = _nodes(store, seconds, station)
        processes = Processes(nodes, variables)
        try:
            return _await_result(processes, nodes[-1].name, watch)
        finally:
            processes.stop()


def _nodes(store: str, seconds: float, station: str) -> list[NodeSpec]:
    options = GraphOptions(station, task="reach", record=store, control_rate_hz=COMMAND_HZ)
    nodes = []
    for node in describe(options):
        extra = {"max_steps": 1_000_000} if node.name == "arbiter" else {}
        nodes.append(NodeSpec(node.module, node.name, node.namespace, {**node.parameters, **extra}, required=True))
    parameters = {
        "station": station,
        "control_rate_hz": COMMAND_HZ,
        "seconds": seconds,
        "nodes": ",".join(node.name for node in nodes),
    }
    return [*nodes, NodeSpec("robot.ros.graph_probe_node", "graph_probe", parameters=parameters, required=False)]


def _await_result(processes: Processes, probe: str, watch: Callable[[Processes], None]) -> dict[str, float]:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        found = [line for line in list(processes[probe].lines) if line.startswith(MARK)]
        if found:
            return json.loads(found[-1].removeprefix(MARK))
        processes.check()
        if processes[probe].exit_code() is not None:
            raise RobotError(f"the bystander ended without a result: {' | '.join(list(processes[probe].lines)[-3:])}")
        watch(processes)
        time.sleep(0.2)
    raise RobotError(f"no result within {PATIENCE_S:g} s: is the machine overloaded?")


def row(
    metric: str, value: float, unit: str, target: float | None, reference: float | None = None, *, low: bool = False
) -> dict[str, Any]:
    """Return one row; `low` where the target is a lower limit."""
    met = target is None or (value >= target if low else value <= target)
    ratio = value / reference if reference else None
    return {
        "metric": metric, "value": value, "unit": unit, "reference": reference, "ratio": ratio, "target": target,
        "ok": met,
    }  # fmt: skip


def _unit(name: str) -> str:
    return "Hz" if name.endswith("_hz") else "ms"
