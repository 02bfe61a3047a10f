"""The simulated world: its clock, its tracking, and pictures from its published state."""

import numpy as np
import pytest

from robot.errors import ConfigError
from robot.kinematics.arm import ArmKinematics
from robot.specs import load_station
from robot.types import Command, Owner
from sim.renderer import SceneRenderer
from sim.scene import TIMESTEP_S
from sim.task import make_task
from sim.world import SimWorld

STATION = load_station("fr3_sim")


def command(position: np.ndarray) -> Command:
    return Command(0, 0, position, Owner.POLICY)


def test_time_never_rewinds_and_a_tick_is_one_period():
    world = SimWorld(STATION, make_task("reach"))
    times = []
    for seed in (0, 0, 1):
        observation = world.reset(seed)
        times.append(observation.time_ns)
        for _ in range(3):
            times.append(world.advance(command(observation.robot.position)).time_ns)
    assert set(np.diff(times)) == {STATION.period_ns}


def test_the_arm_follows_its_commands():
    world, kinematics = SimWorld(STATION, make_task("reach")), ArmKinematics(STATION)
    observation = world.reset(0)
    q, tcp = observation.robot.position, observation.values["tcp_position"]
    for step in range(12):
        tcp = tcp + np.array([0.0, 0.01, 0.005 * np.sin(step)])
        q = np.append(kinematics.inverse(tcp, q), 0.04)
        observation = world.advance(command(q))
    assert np.linalg.norm(observation.values["tcp_position"] - tcp) < 2e-3
    np.testing.assert_allclose(
        observation.values["tcp_position"], kinematics.tcp_position(observation.robot.position), atol=1e-9
    )


def test_fine_grained_driving_reaches_the_same_place_as_whole_ticks():
    world = SimWorld(STATION, make_task("reach"))
    start = world.reset(0).robot.position
    goal = start + np.array([0.02, -0.02, 0.01, 0.02, 0.0, 0.01, 0.02, -0.01])
    whole = world.advance(command(goal)).robot.position
    world.reset(0)
    velocity = (goal - start) / STATION.period_s
    for share in np.linspace(0, 1, 6)[1:]:
        world.drive(start + share * (goal - start), velocity, round(STATION.period_s / 5 / TIMESTEP_S))
    assert np.abs(world.robot_state().position - whole).max() < 2e-3


def test_a_picture_from_the_published_state_shows_what_the_world_shows():
    world = SimWorld(STATION, make_task("peg-insert"), images=("wrist",), image_size=48)
    observation = world.reset(0)
    renderer = SceneRenderer(STATION, make_task("peg-insert"))
    apart = renderer.render(world.sim_state(), "wrist", 48, 48)
    np.testing.assert_array_equal(apart, observation.values["image/wrist"])
    before = renderer.render(world.sim_state(), "scene", 64, 48)
    world.advance(command(observation.robot.position + 0.03))
    after = renderer.render(world.sim_state(), "scene", 64, 48)
    assert before.shape == (48, 64, 3)
    assert before.dtype == np.uint8
    assert before.std() > 10
    assert (before != after).any()
    renderer.close()
    world.close()


def test_a_state_of_another_scene_is_refused():
    lift = SimWorld(STATION, make_task("lift"))
    lift.reset(0)
    renderer = SceneRenderer(STATION, make_task("reach"))
    with pytest.raises(ConfigError, match="task of the arm"):
        renderer.render(lift.sim_state(), "scene", 32, 32)
    with pytest.raises(ConfigError, match="did you mean 'wrist'"):
        renderer.draw("wristt", 32, 32)
