"""How regular the servo thread of a real arm's process is while a policy drives and the recorder writes.

A 200 Hz arm on the stand-in of its servo bus, the whole graph, a small policy with weights made on the spot. The peer
is a loop of the same rate, with the same hints to the operating system, that does nothing else, in the same seconds.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig
from policies.checkpoint import save_policy
from policies.network import initialize
from policies.normalization import ActionLimits, StateNormalizer
from robot.errors import RobotError
from robot.machine import machine
from robot.policy import PolicySpec
from robot.ros import topics
from robot.ros.description import GraphOptions, describe
from robot.ros.qos import message_type
from robot.ros.running_graph import RunningGraph, choose_domain, running_graph
from robot.specs import StationSpec, load_station

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
DRIVER, RATE_HZ, SECONDS = "dynamixel", 200.0, 12.0
BARE = (
    "import sys, json; from hardware.real_time import ask_for_real_time; from robot.clock import RateKeeper\n"
    "ask_for_real_time(); keeper = RateKeeper(float(sys.argv[1]))\n"
    "for _ in range(round(float(sys.argv[1]) * float(sys.argv[2]))): keeper.wait()\n"
    "timing = keeper.timing(); print(json.dumps([timing.late_p50_ms, timing.late_p99_ms]))"
)


def save_small_policy(station: StationSpec, path: Path) -> Path:
    """Write a policy of two small layers, weights drawn by seed 0, that stays around the middle of the workspace."""
    torch.set_num_threads(1)
    joints = len(station.joint_names)
    shapes = {"joint_position": (joints,), "joint_velocity": (joints,), "tcp_position": (3,)}
    config = BehaviorCloningConfig(action_horizon=8, execution_horizon=5, hidden=(16, 16))
    middle, size = (station.action_low + station.action_high) / 2, 2 * joints + 3
    policy = BehaviorCloning(
        PolicySpec(shapes, station.action_names, station.control_rate_hz, 8, 5),
        config,
        StateNormalizer(np.zeros(size), np.full(size, 0.3)),
        ActionLimits(middle, (station.action_high - middle) / 2),
    )
    initialize(policy.network, torch.Generator().manual_seed(0))
    save_policy(path, policy)
    return path


@contextmanager
def driven_arm(folder: Path) -> Iterator[RunningGraph]:
    """Yield the graph of an arm on its stand-in, released, with an episode in which the policy drives."""
    with ExitStack() as stack:
        start = next(entry for entry in entry_points(group="tandem.arm_stand_ins") if entry.name == DRIVER).load()
        arm = stack.enter_context(start()).station
        path = folder / "station.yaml"
        path.write_text(yaml.safe_dump({"like": arm.name, "name": "bench", "arm": {"address": arm.arm.address}}))
        checkpoint = save_small_policy(load_station(path), folder / "policy.safetensors")
        options = GraphOptions(
            station=str(path), task="bench", policy=str(checkpoint), operator="none", record=str(folder / "store"),
            cameras=(),
        )  # fmt: skip
        graph = stack.enter_context(running_graph(describe(options), domain_id=choose_domain(None)))
        client = graph.client
        client.wait(lambda: client.safety, 30.0, "the arm's state")
        release = client.node.create_client(message_type(topics.TRIGGER), topics.SAFETY_RESET)
        client.wait(release.service_is_ready, 10.0, "safety/reset")
        client.wait(release.call_async(message_type(topics.TRIGGER).Request()).done, 10.0, "the arm's release")
        client.start_episode(0)
        client.wait(lambda: client.author.get("owner") == "policy", 20.0, "the policy to drive")
        yield graph


def run() -> dict[str, Any]:
    """Measure, and hold the servo thread's lateness against the bare loop's; takes half a minute."""
    target = tomllib.loads(TARGETS.read_text())["servo"]["lateness_ratio"]
    with tempfile.TemporaryDirectory() as folder, driven_arm(Path(folder)) as graph:
        words = [sys.executable, "-c", BARE, str(RATE_HZ), str(SECONDS)]
        answer = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10 * SECONDS)
        bare_p50, bare_p99 = json.loads(answer.stdout)
        said = graph.client.status("arm")
        if said is None or graph.client.safety not in ("ok", "limited"):
            raise RobotError(f"the arm was stopped meanwhile: {graph.client.safety}; is the machine overloaded?")
        values = dict(said.values)
    p99 = float(values["late_p99_ms"])
    rows = [
        _row("lateness_p99", p99, "ms", bare_p99, target),
        _row("lateness_p50", float(values["late_p50_ms"]), "ms", bare_p50, None),
        _row("periods_skipped", float(values["overruns"]), "periods", None, None),
    ]
    return {"name": "servo", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def _row(metric: str, value: float, unit: str, reference: float | None, target: float | None) -> dict[str, Any]:
    """Return one row; the target is an upper limit of the ratio to the reference."""
    ratio = value / reference if reference else None
    met = target is None or (ratio is not None and ratio <= target)
    return {
        "metric": metric, "value": value, "unit": unit, "reference": reference, "ratio": ratio, "target": target,
        "ok": met,
    }  # fmt: skip
