"""Two servo arms as one station, each driver on a stand-in of its own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import yaml

from hardware.arm_drivers import ArmStandIn, make_arm, open_stand_in
from robot.devices import DeviceState
from robot.errors import ConfigError
from robot.multi_arm.devices import ArmGroup
from robot.specs import StationSpec, load_station

SIDES = {"left": 0.0, "right": 0.6}


def write_pair(folder: Path, addresses: dict[str, str]) -> Path:
    """Write the station files of two SO-101 arms side by side, and the one of both."""
    sides = []
    for name, y in SIDES.items():
        tree = {"like": "so101", "name": name, "arm": {"address": addresses[name]}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
        place = {"translation_m": [0.0, y, 0.0], "quat_wxyz": [1, 0, 0, 0]}
        sides.append({"name": name, "station": str(folder / f"{name}.yaml"), **place})
    pair = {
        "name": "pair", "robot": "so101_pair", "control_rate_hz": 20.0, "sides": sides, "cameras": [],
        "spacing": {"link_margin_m": 0.03, "hand_margin_m": 0.02}, "observation": ["joint_position", "tcp_position"],
        "operator": {"linear_speed_m_s": 0.15, "angular_speed_rad_s": 0.5, "blend_s": 0.2},
    }  # fmt: skip
    (folder / "pair.yaml").write_text(yaml.safe_dump(pair))
    return folder / "pair.yaml"


@pytest.fixture
def stand_ins() -> Iterator[dict[str, ArmStandIn]]:
    pytest.importorskip("scservo_sdk", reason="pip install '.[feetech]'")
    with ExitStack() as running:
        yield {name: running.enter_context(open_stand_in("feetech")) for name in SIDES}


@pytest.fixture
def station(stand_ins: dict[str, ArmStandIn], tmp_path: Path) -> StationSpec:
    addresses = {name: str(stand_in.station.arm.address) for name, stand_in in stand_ins.items()}
    return load_station(write_pair(tmp_path, addresses))


def test_both_move_as_one_and_a_fault_of_one_is_the_group_s(
    station: StationSpec, stand_ins: dict[str, ArmStandIn]
) -> None:
    arm = make_arm(station)
    assert isinstance(arm, ArmGroup)
    with arm:
        assert arm.mismatches == ()
        start = arm.read().position
        target = start + np.tile([0.03, -0.02, 0.02, 0.02, 0.03, 0.0], 2) * np.repeat([1.0, -1.0], 6)
        for share in np.linspace(0.0, 1.0, 60):
            arm.command(start + share * (target - start), np.zeros(12))
            arm.read()
        for _ in range(60):
            arm.command(target, np.zeros(12))
            arm.read()
        np.testing.assert_allclose(arm.read().position, target, atol=0.02)
        for name, part in zip(SIDES, station.joint_slices, strict=True):
            np.testing.assert_allclose(stand_ins[name].joints(), target[part], atol=0.02)
        stand_ins["right"].fail()
        for _ in range(100):
            arm.read()
            if arm.state is DeviceState.FAULT:
                break
        assert arm.state is DeviceState.FAULT
        assert arm.fault.startswith("right: ")


def test_a_cell_half_simulated_is_refused(tmp_path: Path) -> None:
    path = write_pair(tmp_path, dict.fromkeys(SIDES, "/dev/null"))
    tree = yaml.safe_load(path.read_text())
    tree["sides"][0]["station"] = "so101_sim"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match="all of them, or none"):
        load_station(path)
    with pytest.raises(ConfigError, match="simulated"):
        make_arm(load_station("fr3_pair_sim"))
