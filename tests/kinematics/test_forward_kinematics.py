"""Our own MJCF against the arm's published table (modified DH) and limits, written here and not read from the YAML."""

import mujoco
import numpy as np
import pytest

from robot.kinematics.model import compile_kinematic_model
from robot.specs import load_station

# Modified (Craig) DH of the FR3: a [m], d [m], alpha [rad] of joints 1..7; then the flange and the tcp of the hand.
DH = [
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
]
FLANGE_D, HAND_YAW, TCP_Z = 0.107, -np.pi / 4, 0.1034
FR3_LOWER = [-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159]
FR3_UPPER = [2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159]
FR3_VELOCITY = [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26]


def dh_transform(a: float, d: float, alpha: float, theta: float) -> np.ndarray:
    """Rot_x(alpha) Trans_x(a) Rot_z(theta) Trans_z(d)."""
    ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
    return np.array([
        [ct, -st, 0, a],
        [st * ca, ct * ca, -sa, -d * sa],
        [st * sa, ct * sa, ca, d * ca],
        [0, 0, 0, 1],
    ])  # fmt: skip


def dh_flange(q: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    for (a, d, alpha), theta in zip(DH, q, strict=True):
        pose = pose @ dh_transform(a, d, alpha, theta)
    return pose @ dh_transform(0.0, FLANGE_D, 0.0, 0.0)


@pytest.fixture(scope="module")
def model():
    return compile_kinematic_model(load_station("fr3_sim"))


def test_flange_and_tcp_match_the_published_table(model):
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    tool, tcp = model.body("tool0").id, model.site("tcp").id
    for _ in range(200):
        q = rng.uniform(FR3_LOWER, FR3_UPPER)
        data.qpos[:7] = q
        mujoco.mj_kinematics(model, data)
        flange = dh_flange(q)
        hand = flange @ dh_transform(0.0, 0.0, 0.0, HAND_YAW)
        assert np.abs(data.xpos[tool] - flange[:3, 3]).max() < 1e-6
        assert np.abs(data.xmat[tool].reshape(3, 3) - flange[:3, :3]).max() < 1e-6
        assert np.abs(data.site_xpos[tcp] - (hand @ [0, 0, TCP_Z, 1])[:3]).max() < 1e-6
        assert np.abs(data.site_xmat[tcp].reshape(3, 3) - hand[:3, :3]).max() < 1e-6


def test_limits_match_the_published_ones(model):
    names = [f"fr3_joint{i + 1}" for i in range(7)]
    ranges = np.array([model.joint(name).range for name in names])
    np.testing.assert_allclose(ranges, np.stack([FR3_LOWER, FR3_UPPER], axis=1))
    np.testing.assert_allclose(load_station("fr3_sim").velocity_limit[:7], FR3_VELOCITY)
    np.testing.assert_allclose(model.joint("fr3_finger_joint1").range, [0.0, 0.04])
    assert [model.actuator(i).name for i in range(model.nu)] == [*names, "fr3_finger_joint1"]


def test_masses_are_the_published_ones_and_inertias_are_physical(model):
    masses = [model.body(f"link{i + 1}").mass[0] for i in range(7)]
    np.testing.assert_allclose(masses, [4.97, 0.65, 3.23, 3.59, 1.23, 1.67, 0.74])
    for body in range(2, model.nbody):
        a, b, c = sorted(model.body_inertia[body])
        assert c <= a + b + 1e-9, model.body(body).name
        assert a > 0 or model.body_mass[body] == 0


def test_tool_points_down_without_self_contact_at_home(model):
    station, data = load_station("fr3_sim"), mujoco.MjData(model)
    data.qpos[:] = [*station.home, station.home[-1]]
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.site("tcp").xmat.reshape(3, 3), np.diag([1.0, -1.0, -1.0]), atol=1e-9)
    assert data.ncon == 0
