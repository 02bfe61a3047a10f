"""The whole graph on a servo bus: a policy, a person who takes over, the recorder, and the cable pulled at the end.

The bus is the register-level stand-in, spoken to through the vendor's SDK by the arm's own driver.
"""

import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from policies.bench_servo import save_small_policy
from robot.episode_store import EpisodeStore
from robot.ros import topics
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.messages import to_json, to_operator
from robot.ros.running_graph import running_graph
from robot.specs import StationSpec, load_station
from robot.types import OperatorInput, Owner, OwnerRequest
from tests.hardware.buses import BUSES
from tests.ros.probe import Probe

SDK = {"feetech": "scservo_sdk", "dynamixel": "dynamixel_sdk"}
STEPS = 100_000


def own_station(stand_in_station: StationSpec, folder: Path) -> Path:
    """Write a station file that is like the registered one, at the stand-in's address."""
    path = folder / "mine.yaml"
    arm = {"address": stand_in_station.arm.address}
    path.write_text(yaml.safe_dump({"like": stand_in_station.name, "name": "mine", "arm": arm}))
    return path


def graph_nodes(station: Path, checkpoint: Path, store: Path) -> list[NodeSpec]:
    options = GraphOptions(
        station=str(station), task="reach", policy=str(checkpoint), operator="none", record=str(store), cameras=()
    )
    told = {"operator": "any", "max_steps": STEPS}
    return [
        replace(node, parameters={**node.parameters, **told}) if node.name == "arbiter" else node
        for node in describe(options)
    ]


def drive(probe: Probe, seconds: float, request: OwnerRequest) -> None:
    """Send packets of a person at 50 Hz, pushing gently to the left while in charge."""
    is_driving, end_s = request is OwnerRequest.TAKE_OVER, time.monotonic() + seconds
    while time.monotonic() < end_s:
        twist = (0.0, 0.02 if is_driving else 0.0, 0.0, 0.0, 0.0, 0.0)
        now_ns = time.time_ns()
        packet = OperatorInput(now_ns // 10**6, now_ns, "spacemouse", is_driving, request, twist=twist)
        probe.publish(topics.TELEOP_INPUT, to_operator(packet))
        time.sleep(0.02)


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("bus", sorted(BUSES))
def test_policy_takeover_recording_and_a_pulled_cable(bus: str, tmp_path: Path) -> None:
    pytest.importorskip(SDK[bus])
    with BUSES[bus]() as stand_in:
        station = own_station(stand_in.station, tmp_path)
        checkpoint, store = (
            save_small_policy(load_station(station), tmp_path / "policy.safetensors"),
            tmp_path / "store",
        )
        nodes = graph_nodes(station, checkpoint, store)
        domain_id = random.SystemRandom().randint(1, 101)
        with running_graph(nodes, domain_id=domain_id, ready_s=120.0) as graph:
            probe = Probe(graph)
            probe.wait(lambda: probe.safety == "latched", 20.0, "an arm that starts latched")
            assert not any(stand_in.bus.state()["torque"]), "no power before a person's reset"
            probe.wait(lambda: probe.call(topics.SAFETY_RESET)[0], 20.0, "a reset")
            probe.publish(topics.EPISODE_COMMAND, to_json({"command": "start", "seed": 0}))
            begun = stand_in.joints()
            probe.wait(lambda: np.abs(stand_in.joints() - begun).max() > 0.05, 40.0, "a policy that moves the shafts")
            drive(probe, 1.5, OwnerRequest.TAKE_OVER)
            assert "human" in [owner["owner"] for _, owner in list(probe.owners)], probe.said()
            drive(probe, 0.3, OwnerRequest.HAND_BACK)
            probe.wait(lambda: probe.owners[-1][1]["owner"] == "policy", 20.0, "the hand-back")
            time.sleep(1.0)
            probe.publish(topics.EPISODE_COMMAND, to_json({"command": "stop"}))
            probe.wait(lambda: probe.episodes[-1].phase == "ended", 10.0, "the episode's end")
            stand_in.bus.tell(plugged=False)
            probe.wait(lambda: probe.safety == "fault:device", 5.0, "an arm that says it is gone")
            assert not probe.call(topics.SAFETY_RESET)[0]
            stand_in.mend()
            probe.wait(lambda: probe.call(topics.SAFETY_RESET)[0], 10.0, "a reset once the cable is back")
        assert stand_in.bus.state()["torque"][0], "the arm was left under power: it would fall"
    recorded = EpisodeStore(store)
    columns = recorded.load(recorded.episodes()[0].episode_id).columns
    owners = set(columns["owner"].tolist())
    assert {Owner.POLICY, Owner.HUMAN} <= owners
    executed = columns["executed_action"]
    assert np.isfinite(executed).all()
    assert np.abs(np.diff(columns["joint_command"], axis=0)).max() < 0.3
