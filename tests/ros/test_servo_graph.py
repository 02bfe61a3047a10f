"""The whole graph on a servo bus: a trained policy, a person who takes over, the recorder, and the cable pulled.

The policy learned on the simulated twin of the arm. The bus is the register-level stand-in, spoken to through the
vendor's SDK by the arm's own driver.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from hardware.stand_ins.servo_arms import ServoStandIn
from robot.episode_store import EpisodeStore
from robot.kinematics.arm import ArmKinematics
from robot.ros import topics
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.messages import to_json, to_operator
from robot.ros.running_graph import running_graph
from robot.specs import StationSpec
from robot.types import OperatorInput, Owner, OwnerRequest
from tests.domains import some_domain
from tests.hardware.buses import BUSES
from tests.ros.probe import Probe
from tests.ros.trained_reacher import train_reacher

SDK = {"feetech": "scservo_sdk", "dynamixel": "dynamixel_sdk"}
STEPS = 100_000
GOALS = {"feetech": np.array([0.20, 0.05, 0.055]), "dynamixel": np.array([0.30, 0.06, 0.16])}
NEAR_M = 0.02
PATIENCE_MS = 50.0  # an emulated servo may wait its turn on a busy machine, a real one does not


def own_station(stand_in_station: StationSpec, folder: Path) -> Path:
    """Write a station file that is like the registered one, at the stand-in's address."""
    path = folder / "mine.yaml"
    arm = {"address": stand_in_station.arm.address, "options": {"patience_ms": PATIENCE_MS}}
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


def apart_m(stand_in: ServoStandIn, goal: np.ndarray) -> float:
    """Return how far the tcp is from a place, by where the shafts really are."""
    return float(np.linalg.norm(ArmKinematics(stand_in.station).tcp_position(stand_in.joints()) - goal))


def wait_for_reach(probe: Probe, stand_in: ServoStandIn, goal: np.ndarray, timeout_s: float) -> None:
    """Wait until the policy has reached; a fault, of a bus that was kept waiting, a person clears as at the page."""

    def is_there() -> bool:
        if probe.safety in ("stopped", "latched") or probe.safety.startswith("fault"):
            probe.call(topics.SAFETY_RESET)
            drive(probe, 0.3, OwnerRequest.HAND_BACK)
        return apart_m(stand_in, goal) < NEAR_M

    probe.wait(is_there, timeout_s, "a policy that reaches")


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("bus", sorted(BUSES))
def test_a_trained_policy_reaches_with_a_takeover_is_recorded_and_stands_without_its_cable(
    bus: str, tmp_path: Path
) -> None:
    pytest.importorskip(SDK[bus])
    with BUSES[bus]() as stand_in:
        station, goal, store = own_station(stand_in.station, tmp_path), GOALS[bus], tmp_path / "store"
        checkpoint = train_reacher(stand_in.station.name, goal, tmp_path)
        nodes = graph_nodes(station, checkpoint, store)
        domain_id = some_domain()
        with running_graph(nodes, domain_id=domain_id, ready_s=120.0) as graph:
            probe = Probe(graph)
            probe.wait(lambda: probe.safety == "latched", 20.0, "an arm that starts latched")
            assert not any(stand_in.bus.state()["torque"]), "no power before a person's reset"
            probe.wait(lambda: probe.call(topics.SAFETY_RESET)[0], 20.0, "a reset")
            probe.publish(topics.EPISODE_COMMAND, to_json({"command": "start", "seed": 0}))
            assert apart_m(stand_in, goal) > 2 * NEAR_M, "it has a way to go"
            wait_for_reach(probe, stand_in, goal, 60.0)
            drive(probe, 2.5, OwnerRequest.TAKE_OVER)
            assert "human" in [owner["owner"] for _, owner in list(probe.owners)], probe.said()
            assert apart_m(stand_in, goal) > NEAR_M, "the person has led it away"
            drive(probe, 0.3, OwnerRequest.HAND_BACK)
            wait_for_reach(probe, stand_in, goal, 60.0)
            assert probe.owners[-1][1]["owner"] == "policy", probe.said()
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
