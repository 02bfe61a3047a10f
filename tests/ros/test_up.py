"""`tandem up` as a person uses it: it ends cleanly, and it never leaves a process behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from hardware.stand_ins.servo_arms import ServoStandIn, feetech
from policies.bench_servo import save_small_policy
from robot.ros import topics
from robot.ros.client import GraphClient
from robot.ros.description import added_environment
from robot.ros.qos import message_type
from robot.specs import load_station
from tests.domains import some_domain

pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[2]
STILL_RAD = 0.002


class Up:
    """A running `tandem up`."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self.popen = popen
        self.lines: list[str] = []

    def read_until(self, words: str, timeout_s: float = 60.0) -> str:
        assert self.popen.stdout is not None
        deadline_s = time.monotonic() + timeout_s
        for line in self.popen.stdout:
            self.lines.append(line)
            if words in line:
                return line
            assert time.monotonic() < deadline_s, "".join(self.lines)
        raise AssertionError(f"it ended without saying {words!r}: {''.join(self.lines)}")

    def children(self, parent: int = 0) -> dict[str, int]:
        """Return the process ids of the nodes by module, or of what a node has started."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat, words = (entry / "stat").read_text(), (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == (parent or self.popen.pid) and "-m" in words:
                found[words[words.index("-m") + 1]] = int(entry.name)
        return found


@contextmanager
def up(*words: str, domain_id: int = 0) -> Iterator[Up]:
    told = words or ("--cameras", "scene")
    command = [sys.executable, "-m", "robot.cli", "up", "--operator", "none", *told, "--json"]
    domain = {"ROS_DOMAIN_ID": str(domain_id or some_domain())}
    popen = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **domain}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    running = Up(popen)
    try:
        running.read_until("up after")
        yield running
    finally:
        children = running.children()
        popen.kill()
        popen.wait()
        for pid in children.values():
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int], timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while any(map(is_alive, pids)):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def test_ctrl_c_twice_is_one_clean_stop() -> None:
    with up() as running:
        children = running.children()
        assert {"sim.arm_node", "sim.camera_node", "robot.ros.arbiter_node"} <= set(children)
        steps = [line.rpartition(": ")[2].strip() for line in running.lines if line.startswith("[health]")]
        assert steps == ["scene is open", "arm is open", "scene is active", "arm is active"]
        running.popen.send_signal(signal.SIGINT)
        for pid in children.values():
            os.kill(pid, signal.SIGINT)  # as a terminal and a launcher both do
        running.popen.send_signal(signal.SIGINT)
        rest, _ = running.popen.communicate(timeout=15)
        result = json.loads(rest.strip().splitlines()[-1])
        assert running.popen.returncode == 0
        assert result["ok"]
        assert set(result["nodes"].values()) == {0}, rest
        assert gone(list(children.values()), 1.0)
        assert "Traceback" not in rest


def test_the_death_of_a_required_node_ends_everything() -> None:
    with up() as running:
        children = running.children()
        os.kill(children["robot.ros.episode_node"], signal.SIGKILL)
        rest, _ = running.popen.communicate(timeout=15)
        result = json.loads(rest.strip().splitlines()[-1])
        assert running.popen.returncode == 1
        assert "episode has ended with exit code -9" in result["failure"]
        assert gone(list(children.values()), 1.0)


def test_nodes_do_not_outlive_a_killed_launcher() -> None:
    with up() as running:
        children = running.children()
        running.popen.kill()
        assert gone(list(children.values()), 8.0)


def test_ctrl_c_stops_a_moving_arm_and_leaves_it_under_power(tmp_path: Path) -> None:
    """Released, and driven by a policy; the arm is a servo bus that outlives the graph and says where it is."""
    pytest.importorskip("scservo_sdk", reason="pip install '.[feetech]'")
    domain_id = some_domain()
    with feetech() as stand_in:
        cell = tmp_path / "cell.yaml"
        arm = {"address": stand_in.station.arm.address, "options": {"patience_ms": 50.0}}
        cell.write_text(yaml.safe_dump({"like": "so101", "name": "cell", "arm": arm}))
        policy = save_small_policy(load_station(cell), tmp_path / "policy.safetensors")
        with up("--station", str(cell), "--policy", str(policy), domain_id=domain_id) as running:
            children = running.children()
            servo = running.children(children["hardware.arm_node"])
            assert list(servo) == ["hardware.servo_process"]
            start_moving(domain_id, stand_in)
            running.popen.send_signal(signal.SIGINT)
            rest, _ = running.popen.communicate(timeout=20)
            assert running.popen.returncode == 0, rest
            assert gone([*children.values(), *servo.values()], 1.0)
            assert "Traceback" not in rest
        stood = stand_in.joints()
        time.sleep(0.3)
        assert np.abs(stand_in.joints() - stood).max() < STILL_RAD
        assert stand_in.powered_joints()[1].all(), "it holds itself"


def start_moving(domain_id: int, stand_in: ServoStandIn) -> None:
    """Release the arm as a person does, start an episode, and return while the arm moves."""
    os.environ.update(added_environment())
    with GraphClient(domain_id=domain_id) as client:
        release = client.node.create_client(message_type(topics.TRIGGER), topics.SAFETY_RESET)
        client.wait(release.service_is_ready, 20.0, "safety/reset")
        client.wait(release.call_async(message_type(topics.TRIGGER).Request()).done, 20.0, "the arm's release")
        client.start_episode()

        def moves() -> bool:
            before = stand_in.joints()
            time.sleep(0.05)
            return bool(np.abs(stand_in.joints() - before).max() > STILL_RAD)

        client.wait(moves, 20.0, "a moving arm")
