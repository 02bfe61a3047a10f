"""The whole graph on a Franka arm, through the vendor's library: a policy that was trained, a takeover, the record.

The robot is franky-sim in a process of its own, which goes on when the graph is gone: what the arm does then is seen.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("franky", reason="needs franky-control: pip install '.[franka]'")
pytest.importorskip("franky_sim", reason="needs franky-sim: pip install '.[franka-sim]'")

from hardware.stand_ins.franky_arm import FrankyProcess
from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig
from policies.checkpoint import save_policy
from policies.network import initialize
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import state_size
from robot.episode import Episode
from robot.machine import usable_cores
from robot.policy import PolicySpec
from robot.ros import topics
from robot.ros.client import RELEASED
from robot.ros.description import GraphOptions, describe
from robot.ros.messages import to_operator
from robot.ros.qos import message_type
from robot.ros.running_graph import RunningGraph, running_graph
from robot.specs import load_station
from robot.types import OperatorInput, Owner, OwnerRequest
from tests.domains import some_domain

pytestmark = [pytest.mark.ros, pytest.mark.slow]
GOAL = np.array([0.5, 0.15, 0.45, 0.02])
MIDDLE, REACH = np.array([0.5, 0.0, 0.5, 0.02]), np.array([0.2, 0.25, 0.2, 0.02])
HORIZON = 8
STEP_M = 0.01
BUSY = 3.0  # processes that want each core


def train_reacher(folder: Path) -> Path:
    """Train a policy on going from anywhere to the goal, 1 cm a step, and return its file."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    station = load_station("fr3")
    shapes = {"joint_position": (8,), "joint_velocity": (8,), "tcp_position": (3,)}
    spec = PolicySpec(shapes, station.action_names, station.control_rate_hz, HORIZON, 4)
    size = state_size(shapes)
    policy = BehaviorCloning(
        spec,
        BehaviorCloningConfig(action_horizon=HORIZON, execution_horizon=4, hidden=(128, 128)),
        StateNormalizer(np.zeros(size), np.full(size, 0.3)),
        ActionLimits(MIDDLE, REACH),
    )
    initialize(policy.network, torch.Generator().manual_seed(0))
    rng, optimizer = np.random.default_rng(0), torch.optim.Adam(policy.network.parameters(), 3e-3)
    for _ in range(1500):
        tcp = rng.uniform(MIDDLE[:3] - REACH[:3], MIDDLE[:3] + REACH[:3], (128, 3))
        joints = rng.uniform(station.position_lower, station.position_upper, (128, 8))
        states = np.concatenate([joints, rng.normal(0, 0.2, (128, 8)), tcp], axis=1)
        way = GOAL[:3] - tcp
        far = np.linalg.norm(way, axis=1, keepdims=True)[:, None]
        steps = STEP_M * np.arange(1, HORIZON + 1)[None, :, None]
        points = tcp[:, None] + way[:, None] / far * np.minimum(steps, far)
        actions = np.concatenate([points, np.full((128, HORIZON, 1), GOAL[3])], axis=2)
        wanted = torch.as_tensor((actions - MIDDLE) / REACH, dtype=torch.float32)
        normalised = torch.as_tensor(states / 0.3, dtype=torch.float32)
        loss = (policy.network.decode(policy.network.encode(normalised)) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
    path = folder / "reacher.safetensors"
    save_policy(path, policy)
    return path


def write_station(folder: Path, robot: FrankyProcess) -> Path:
    arm = {"address": robot.greeting["address"], "options": {"realtime": "ignore"}}
    path = folder / "cell.yaml"
    path.write_text(yaml.safe_dump({"like": "fr3", "name": "cell", "arm": arm}))
    return path


@pytest.fixture
def robot() -> Iterator[FrankyProcess]:
    if os.getloadavg()[0] > BUSY * usable_cores():
        pytest.skip("this machine is too busy for a robot of 1 kHz: its stalls stop the arm, as they should")
    with FrankyProcess() as running:
        yield running


@contextmanager
def graph_on(robot: FrankyProcess, folder: Path) -> Iterator[RunningGraph]:
    options = GraphOptions(
        station=str(write_station(folder, robot)),
        task="reach-by-hand",
        policy=str(train_reacher(folder)),
        operator="none",
        record=str(folder / "store"),
    )
    nodes = [
        replace(node, parameters={**node.parameters, "operator": "any"}) if node.name == "arbiter" else node
        for node in describe(options)
    ]
    with running_graph(nodes, domain_id=some_domain()) as graph:
        yield graph


def reset(graph: RunningGraph) -> None:
    """What a person does at the page before an arm may move, again where a busy machine has stopped it."""
    client = graph.client.node.create_client(message_type(topics.TRIGGER), topics.SAFETY_RESET)
    graph.client.wait(client.service_is_ready, 10.0, "the reset service")

    def is_released() -> bool:
        future = client.call_async(message_type(topics.TRIGGER).Request())
        graph.client.wait(future.done, 5.0, "the answer of safety/reset")
        time.sleep(0.3)
        return graph.client.safety in RELEASED

    graph.client.wait(is_released, 20.0, "a released arm")


def drive(graph: RunningGraph, seconds: float, speed_m_s: float) -> None:
    """Take over as a device does, 50 packets a second, and let go."""
    publisher = graph.client.publisher(topics.TELEOP_INPUT)
    graph.client.wait(lambda: publisher.get_subscription_count() > 0, 5.0, "the arbiter")
    end_s, seq = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        seq += 1
        twist = (0.0, -speed_m_s, 0.0, 0.0, 0.0, 0.0)
        take = OwnerRequest.TAKE_OVER
        publisher.publish(to_operator(OperatorInput(seq, time.time_ns(), "test", True, take, twist=twist)))
        time.sleep(0.02)
    for _ in range(10):
        seq += 1
        give = OwnerRequest.HAND_BACK
        publisher.publish(to_operator(OperatorInput(seq, time.time_ns(), "test", request=give)))
        time.sleep(0.02)


def stands(robot: FrankyProcess) -> bool:
    """By its joints: franky-sim's own hold chatters about a joint at up to 0.1 rad/s without leaving its place."""
    before = robot.state()["position"]
    time.sleep(0.2)
    return np.allclose(robot.state()["position"], before, atol=2e-3)


def speed_of(robot: FrankyProcess) -> float:
    return float(np.abs(robot.state()["velocity"]).max())


def test_a_trained_policy_drives_a_person_takes_over_and_all_of_it_is_recorded(
    tmp_path: Path, robot: FrankyProcess
) -> None:
    begin = np.array(robot.state()["position"])
    with graph_on(robot, tmp_path) as graph:
        time.sleep(1.0)
        assert graph.client.safety not in RELEASED, "nobody but a person releases a real arm"
        assert np.allclose(robot.state()["position"], begin, atol=2e-3)
        reset(graph)
        states: list[str] = []
        graph.client.subscribe(topics.SAFETY_STATE, lambda message: states.append(message.data))
        episode = graph.client.start_episode()
        time.sleep(4.0)
        drive(graph, 3.0, 0.05)
        time.sleep(2.5)
        graph.client.command("stop")
        graph.client.wait_for_end(episode.id, 10.0)
        path = tmp_path / "store" / "episodes" / f"{episode.id}.zarr"
        graph.client.wait(path.exists, 15.0, "the episode in the store")
    recorded = Episode(path)
    owners = list(recorded.columns["owner"])
    assert not any(state.startswith("fault") for state in states), f"too busy a machine: {set(states)}"
    assert owners.count(Owner.POLICY) > 20
    assert owners.count(Owner.HUMAN) > 15
    assert owners[-1] == Owner.POLICY, "it was handed back"
    tcp = recorded.columns["observation/tcp_position"]
    taken = owners.index(Owner.HUMAN)
    apart = np.linalg.norm(tcp - GOAL[:3], axis=1)
    assert apart[taken] < apart[0] - 0.03, "the policy went towards its goal"
    assert np.diff(tcp[taken : taken + 20, 1]).sum() < -0.02, "the person led it away"
    assert recorded.info.task == "reach-by-hand"
    assert stands(robot), "the graph is gone and the arm stands"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_arm_stands_when_its_own_process_is_gone(tmp_path: Path, robot: FrankyProcess, number: int) -> None:
    with graph_on(robot, tmp_path) as graph:
        reset(graph)
        graph.client.start_episode()
        graph.client.wait(lambda: speed_of(robot) > 0.05, 10.0, "a moving arm")
        os.kill(graph.processes["arm"].pid, number)
        time.sleep(0.3)
        graph.client.wait(lambda: stands(robot), 2.0, "a standing arm")  # the robot is slow on a busy machine
        stood = robot.state()["position"]
        time.sleep(0.5)
        assert np.allclose(robot.state()["position"], stood, atol=5e-3)
