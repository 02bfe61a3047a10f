"""The SO-101's kinematics against its hardware project's published description, written here and not read from YAML."""

import mujoco
import numpy as np
import pytest

from robot.geometry import matrix, pose
from robot.gripper_specs import JawSpec
from robot.kinematics.arm import ArmKinematics
from robot.kinematics.model import compile_kinematic_model
from robot.specs import load_station

# SO-ARM100 project, Simulation/SO101/so101_new_calib.xml: frame of each joint in its parent's, translation [m] and
# quaternion (w x y z), turning about z; its range [rad].
JOINTS = [
    ("shoulder_pan", (0.0388353, 0.0, 0.0624), (0.0, 0.0, -1.0, 0.0), (-1.91986, 1.91986)),
    ("shoulder_lift", (-0.0303992, -0.0182778, -0.0542), (0.5, -0.5, -0.5, -0.5), (-1.74533, 1.74533)),
    ("elbow_flex", (-0.11257, -0.028, 0.0), (0.707107, 0.0, 0.0, 0.707107), (-1.69, 1.69)),
    ("wrist_flex", (-0.1349, 0.0052, 0.0), (0.707107, 0.0, 0.0, -0.707107), (-1.65806, 1.65806)),
    ("wrist_roll", (0.0, -0.0611, 0.0181), (0.0172091, -0.0172091, 0.706897, 0.706897), (-2.74385, 2.84121)),
]
GRIPPER_FRAME = (-0.0079, -0.000218121, -0.0981274)  # in the last link
JAW = ((0.0202, 0.0188, -0.0234), (0.707107, 0.707107, 0.0, 0.0), (-0.174533, 1.74533))
STATION = load_station("so101_sim")


def published(q: np.ndarray) -> np.ndarray:
    """Return the pose of the last link in the base frame, (4, 4)."""
    found = np.eye(4)
    for (_, translation, quat, _), angle in zip(JOINTS, q, strict=True):
        turn = pose((0, 0, 0), (np.cos(angle / 2), 0, 0, np.sin(angle / 2)))
        found = found @ pose(translation, np.array(quat) / np.linalg.norm(quat)) @ turn
    return found


@pytest.fixture(scope="module")
def model():
    return compile_kinematic_model(STATION)


def test_tcp_and_jaw_pivot_match_the_published_description(model):
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    lower, upper = np.array([limits for *_, limits in JOINTS]).T
    for _ in range(200):
        q = rng.uniform(lower, upper)
        data.qpos[:5] = q
        mujoco.mj_kinematics(model, data)
        link = published(q)
        assert np.abs(data.site("tcp").xpos - (link @ [*GRIPPER_FRAME, 1.0])[:3]).max() < 1e-6
        assert np.abs(data.body("jaw").xpos - (link @ [*JAW[0], 1.0])[:3]).max() < 1e-6
        jaw_axis = link[:3, :3] @ matrix(np.array(JAW[1]) / np.linalg.norm(JAW[1])) @ [0.0, 0.0, 1.0]
        turn = data.qpos[5]
        assert turn == 0.0
        assert np.abs(data.body("jaw").xmat.reshape(3, 3)[:, 2] - jaw_axis).max() < 1e-6


def test_ranges_and_masses_are_the_published_ones(model):
    for name, _, _, limits in [*JOINTS, ("gripper", *JAW)]:
        np.testing.assert_allclose(model.joint(name).range, limits)
    assert [model.actuator(i).name for i in range(model.nu)] == [*(name for name, *_ in JOINTS), "gripper"]
    np.testing.assert_allclose([model.body(f"link{i}").mass[0] for i in range(1, 5)], [0.100, 0.103, 0.104, 0.079])
    gripper = model.body("link5").mass[0] + model.body("hand").mass[0]
    np.testing.assert_allclose([gripper, model.body("jaw").mass[0]], [0.087, 0.012])


def test_the_tool_points_down_at_home_and_inverse_kinematics_keeps_it_there():
    kinematics = ArmKinematics(STATION)
    np.testing.assert_allclose(kinematics.home_rotation, np.diag([1.0, -1.0, -1.0]), atol=1e-9)
    rng, home = np.random.default_rng(1), np.array(STATION.arm.home_rad)
    for _ in range(100):
        wanted = rng.uniform([0.17, -0.09, 0.01], [0.22, 0.09, 0.07])
        q, off = kinematics.solve(wanted, home, iterations=30)
        assert off < 1e-3
        position, rotation = kinematics.tcp_pose(q)
        assert np.abs(position - wanted).max() < 1e-3
        assert np.abs(rotation - kinematics.home_rotation).max() < 2e-3
        assert (np.array(STATION.position_lower[:5]) < q).all()
        assert (q < np.array(STATION.position_upper[:5])).all()


def test_five_joints_cannot_tilt_the_tool_sideways():
    kinematics, home = ArmKinematics(STATION), np.array(STATION.arm.home_rad)
    tilted = matrix([np.cos(0.2), np.sin(0.2), 0.0, 0.0]) @ kinematics.home_rotation
    _, off = kinematics.solve(np.array([0.2, 0.0, 0.05]), home, rotation=tilted, iterations=50)
    assert off > 0.02


def test_the_gap_between_finger_and_jaw_is_what_the_specification_says(model):
    jaw, data = STATION.gripper, mujoco.MjData(model)
    assert isinstance(jaw, JawSpec)
    pads = [geom for geom in range(model.ngeom) if model.geom_condim[geom] == 4]
    assert len(pads) == 2
    for travel_m in (0.006, 0.0125, 0.02):
        data.qpos[5] = jaw.joint_at(travel_m)
        assert jaw.travel_m(data.qpos[5]) == pytest.approx(travel_m)
        mujoco.mj_kinematics(model, data)
        apart = np.linalg.norm(data.geom_xpos[pads[0]] - data.geom_xpos[pads[1]]) - 2 * model.geom_size[pads[0], 1]
        assert apart == pytest.approx(2 * travel_m, abs=0.004)
