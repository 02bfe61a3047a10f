"""Which processes a station gets: simulated devices, real ones, and both; what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from robot.errors import ConfigError
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.specs import STATIONS


@pytest.fixture
def station_file(tmp_path: Path) -> Any:
    """Return a function that writes the simulated FR3's file with other drivers."""

    def write(arm: str, **cameras: str) -> str:
        tree = yaml.safe_load((STATIONS / "fr3_sim.yaml").read_text())
        tree["arm"]["driver"] = arm
        for camera in tree["cameras"]:
            camera["driver"] = cameras.get(camera["name"], "simulated")
        path = tmp_path / "cell.yaml"
        path.write_text(yaml.safe_dump(tree))
        return str(path)

    return write


def by_name(options: GraphOptions) -> dict[str, NodeSpec]:
    return {node.name: node for node in describe(options)}


def test_every_device_of_a_real_station_is_a_hardware_node(station_file: Any) -> None:
    station = station_file("franka", scene="uvc", wrist="realsense")
    nodes = by_name(GraphOptions(station=station, policy="policy.pt", operator="page", record="episodes"))
    assert nodes["arm"].module == "hardware.arm_node"
    assert {nodes[name].module for name in ("scene", "wrist")} == {"hardware.camera_node"}
    assert not any(node.module.startswith("sim.") for node in nodes.values())
    assert nodes["episode"].parameters["world_resets"] is False
    assert not any(node.parameters.get("task") for node in nodes.values()), "nobody named a task"


@pytest.mark.parametrize(("arm", "released_by_itself"), [("simulated", True), ("franka", False)])
def test_only_a_simulated_arm_is_released_without_a_person(
    station_file: Any, arm: str, released_by_itself: bool
) -> None:
    nodes = by_name(GraphOptions(station=station_file(arm), operator="none", cameras=()))
    assert nodes["health"].parameters["auto_reset"] is released_by_itself


def test_a_simulated_arm_may_be_seen_by_real_cameras(station_file: Any) -> None:
    nodes = by_name(GraphOptions(station=station_file("simulated", scene="uvc")))
    assert nodes["arm"].module == "sim.arm_node"
    assert (nodes["scene"].module, nodes["wrist"].module) == ("hardware.camera_node", "sim.camera_node")


def test_a_real_camera_is_started_again_and_everything_else_that_moves_the_arm_is_not(station_file: Any) -> None:
    station = station_file("franka", scene="uvc", wrist="uvc")
    nodes = by_name(GraphOptions(station=station, policy="p.pt", operator="page", record="episodes", bag="bags"))
    assert {name for name, node in nodes.items() if node.respawn} == {"scene", "wrist", "page", "recorder"}
    assert {name for name, node in nodes.items() if node.required} == {"arm", "arbiter", "episode", "policy", "health"}
    assert set(str(nodes["health"].parameters["required"]).split(",")) == {"arm", "arbiter", "episode", "policy"}
    assert nodes["scene"].parameters["vital"], "while it is gone the arm must hold"


def test_a_simulated_camera_has_nothing_to_draw_beside_a_real_arm(station_file: Any) -> None:
    with pytest.raises(ConfigError, match=r"camera scene .* no scene to draw: .*--cameras"):
        describe(GraphOptions(station=station_file("franka"), operator="none"))


def test_the_scripted_operator_knows_no_real_scene(station_file: Any) -> None:
    with pytest.raises(ConfigError, match="simulated scenes only"):
        describe(GraphOptions(station=station_file("franka"), operator="scripted", cameras=()))


def test_a_simulated_station_has_a_task_unless_told(station_file: Any) -> None:
    assert by_name(GraphOptions())["arm"].parameters["task"] == "peg-insert"
    assert by_name(GraphOptions(task="lift"))["arm"].parameters["task"] == "lift"
    assert (
        by_name(GraphOptions(station=station_file("franka"), task="fold", operator="none", cameras=()))[
            "episode"
        ].parameters["task"]
        == "fold"
    )
