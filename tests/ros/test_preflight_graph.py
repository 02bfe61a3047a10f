"""Pre-flight of a real graph: the first chunk is shown before anything moves, and what does not fit never starts."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from policies.checkpoint import save_policy
from robot.ros.description import GraphOptions, describe
from robot.ros.running_graph import running_graph
from tests.domains import some_domain
from tests.ros.made_policy import STATION, make_clone, save_made
from tests.ros.probe import Probe

pytestmark = [pytest.mark.ros, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
OWN_RATE_HZ, OTHER_RATE_HZ = STATION.control_rate_hz, 7.0


def test_the_first_chunk_is_shown_before_the_arm_moves(tmp_path: Path) -> None:
    said: list[tuple[float, str, str]] = []

    def hear(name: str, line: str) -> None:
        said.append((time.monotonic(), name, line))

    specs = describe(GraphOptions(policy=str(save_made("clone", tmp_path)), operator="none", cameras=()))
    domain = some_domain()
    with running_graph(specs, domain_id=domain, ready_s=60.0, echo=hear) as graph:
        probe = Probe(graph)

        def shown() -> list[float]:
            return [at_s for at_s, name, line in list(said) if name == "policy" and "first chunk" in line]

        probe.wait(shown, 20.0, "the first chunk")
        time.sleep(0.5)
        assert probe.last_motion_s() == 0.0, "it moved before an episode had begun"
        table = [line for at_s, name, line in said if name == "policy" and at_s >= shown()[0]]
        assert all(any(action in line for line in table) for action in STATION.action_names)
        probe.start_episode(seed=1)
        probe.wait_moving()
        assert len(shown()) == 1


def tandem(*words: str) -> tuple[int, str]:
    domain = {"ROS_DOMAIN_ID": str(some_domain())}
    command = [sys.executable, "-m", "robot.cli", *words, "--json"]
    ran = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **domain}, capture_output=True, text=True, timeout=60, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize("verb", ["up", "record"])
def test_a_checkpoint_of_another_rate_is_refused_before_any_process_starts(verb: str, tmp_path: Path) -> None:
    policy: Any = make_clone()
    policy.spec = replace(policy.spec, rate_hz=OTHER_RATE_HZ)
    save_policy(tmp_path / "other.safetensors", policy)
    flag = {"up": "--record", "record": "--store"}[verb]
    code, said = tandem(verb, "--policy", str(tmp_path / "other.safetensors"), flag, str(tmp_path / "store"))
    assert code == 2, said
    assert f"rate: the checkpoint expects {OTHER_RATE_HZ:g} Hz, found {OWN_RATE_HZ:g} Hz" in said
    assert "starting" not in said and "recording" not in said
    assert not (tmp_path / "store").exists()
