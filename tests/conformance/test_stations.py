"""Every registered station: its file, its kinematics, and that it stands and moves in simulation as it is told."""

import numpy as np
import pytest

from robot.motion import make_action_space, make_kinematics
from robot.specs import StationSpec, load_station, station_names
from robot.units import field_units
from robot.worlds import make_env

STATIONS = station_names()
TASKS = {1: "reach", 2: "handover"}  # to stand and to move in, by the number of arms


@pytest.fixture(params=STATIONS)
def station(request: pytest.FixtureRequest) -> StationSpec:
    return load_station(request.param)


def test_its_names_are_unique_and_its_limits_hold_its_home(station: StationSpec) -> None:
    assert station.name in STATIONS, "the file's name is the station's"
    assert len(set(station.joint_names)) == len(station.joint_names)
    assert len({camera.name for camera in station.cameras}) == len(station.cameras)
    assert (station.position_lower <= station.home).all()
    assert (station.home <= station.position_upper).all()
    assert len(station.action_low) == len(station.action_names) == len(field_units(station)["action"].split())


def test_its_home_lies_in_the_box_its_tool_may_be_in(station: StationSpec) -> None:
    tcps = make_kinematics(station).tcp_position(station.home).reshape(-1, 3)
    for side, tcp in zip(station.sides, tcps, strict=True):
        assert (np.array(side.safety.tcp_low_m) < tcp).all(), tcp
        assert (tcp < np.array(side.safety.tcp_high_m)).all(), tcp


def test_inverse_kinematics_finds_back_what_forward_kinematics_says(station: StationSpec) -> None:
    rng = np.random.default_rng(0)
    for side, kinematics in zip(station.sides, make_kinematics(station).sides, strict=True):
        n = len(side.arm.joints)
        for _ in range(20):
            q = side.home[:n] + rng.uniform(-0.2, 0.2, n)
            position, rotation = kinematics.tcp_pose(q)
            found, _ = kinematics.solve(position, side.home, rotation=rotation, iterations=50)
            np.testing.assert_allclose(kinematics.tcp_position(found), position, atol=1e-3)


def test_in_simulation_it_holds_and_goes_where_it_is_told(station: StationSpec) -> None:
    env = make_env(f"tandem/{TASKS[len(station.sides)]}", station=station.name)
    try:
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation)
        start = observation["tcp_position"].copy()
        is_cartesian = station.sides[0].action.space == "tcp_position"
        held = make_action_space(station).from_joints(observation["joint_position"])
        for _ in range(10):
            observation, *_, info = env.step(held)
            np.testing.assert_allclose(info["executed_action"], held, atol=2e-3)
        assert np.abs(observation["tcp_position"] - start).max() < 5e-3, "it stands"
        wanted = held.copy()
        wanted[0] += 0.02
        for _ in range(15):
            observation, *_, info = env.step(wanted)
        moved = (
            observation["tcp_position"][0] - start[0] if is_cartesian else observation["joint_position"][0] - held[0]
        )
        assert moved == pytest.approx(0.02, abs=5e-3), "it goes there"
    finally:
        env.close()
