"""Inverse kinematics against forward kinematics, and against mink's quadratic program."""

import numpy as np
import pytest

from robot.kinematics.arm import ArmKinematics
from robot.kinematics.model import TCP, compile_kinematic_model
from robot.specs import load_station

STATION = load_station("fr3_sim")
ARM = ArmKinematics(STATION)
HOME = np.array(STATION.arm.home_rad)
LOW, HIGH = np.array([0.35, -0.2, 0.06]), np.array([0.6, 0.2, 0.35])


def path(seed: int, n: int = 25) -> np.ndarray:
    """Return tcp targets from home to a random place, 1 cm apart or so."""
    goal = np.random.default_rng(seed).uniform(LOW, HIGH)
    start = ARM.tcp_position(HOME)
    return start + np.linspace(0.0, 1.0, n)[1:, None] * (goal - start)


@pytest.mark.parametrize("seed", range(8))
def test_position_and_orientation_are_reached(seed: int) -> None:
    q = HOME
    for target in path(seed):
        q = ARM.inverse(target, q)
        position, rotation = ARM.tcp_pose(q)
        np.testing.assert_allclose(position, target, atol=2e-5)
        np.testing.assert_allclose(rotation, ARM.home_rotation, atol=1e-4)


def test_a_turned_orientation_is_reached() -> None:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    q = ARM.inverse(ARM.tcp_position(HOME), HOME, rotation=turn @ ARM.home_rotation, iterations=20)
    np.testing.assert_allclose(ARM.tcp_pose(q)[1], turn @ ARM.home_rotation, atol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_the_elbow_comes_back_to_where_it_was(seed: int) -> None:
    """There and back again ends near home: the redundant joint does not drift."""
    q = HOME
    for target in [*path(seed), *path(seed)[::-1], *[ARM.tcp_position(HOME)] * 40]:
        q = ARM.inverse(target, q)
    assert np.abs(q - HOME).max() < 0.05


def test_a_twist_moves_the_tcp_by_it() -> None:
    twist = np.array([0.05, -0.03, 0.02, 0.1, 0.0, -0.2])
    velocity = ARM.twist_to_velocity(twist, HOME)
    dt = 1e-4
    (p0, r0), (p1, r1) = ARM.tcp_pose(HOME), ARM.tcp_pose(HOME + velocity * dt)
    np.testing.assert_allclose((p1 - p0) / dt, twist[:3], atol=1e-3)
    spin = (r1 @ r0.T - np.eye(3)) / dt
    np.testing.assert_allclose([spin[2, 1], spin[0, 2], spin[1, 0]], twist[3:], atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_mink_reaches_the_same_places_near_the_same_joints(seed: int) -> None:
    mink = pytest.importorskip("mink")
    pytest.importorskip("daqp")
    model = compile_kinematic_model(STATION)
    configuration = mink.Configuration(model)
    frame = mink.FrameTask(TCP, "site", position_cost=1.0, orientation_cost=1.0)
    posture = mink.PostureTask(model, cost=1e-2)
    q = np.zeros(model.nq)
    q[:7] = HOME
    configuration.update(q)
    posture.set_target(q)
    ours = HOME
    for target in path(seed):
        ours = ARM.inverse(target, ours)
        pose = mink.SE3.from_rotation_and_translation(mink.SO3.from_matrix(ARM.home_rotation), target)
        frame.set_target(pose)
        for _ in range(20):
            velocity = mink.solve_ik(configuration, [frame, posture], 0.05, "daqp", damping=1e-6)
            configuration.integrate_inplace(velocity, 0.05)
        theirs = configuration.q[:7]
        np.testing.assert_allclose(ARM.tcp_position(theirs), target, atol=3e-3)
    np.testing.assert_allclose(ARM.tcp_position(ours), path(seed)[-1], atol=2e-5)
    assert np.abs(ours - theirs).max() < 0.15  # the redundant joint may differ a little
