"""The station `koch` against MuJoCo Menagerie's low_cost_robot_arm, written here and not read from YAML.

That description points the arm along its -x; ours is turned about z so that x is forward.
"""

import mujoco
import numpy as np
import pytest

from robot.kinematics.model import compile_kinematic_model
from robot.specs import load_station

# Each joint: its place in its parent's frame [m], all frames alike with the joints at zero; its axis; its range [rad].
JOINTS = [
    ("shoulder_pan", (0.012, 0.0, 0.0409), (0, 0, -1), (-2.2, 2.2)),
    ("shoulder_lift", (0.0, -0.0209, 0.0154), (0, 1, 0), (-1.57, 0.6)),
    ("elbow_flex", (-0.0148, 0.0065, 0.1083), (0, -1, 0), (-1.57, 1.45)),
    ("wrist_flex", (-0.10048, 0.00005, 0.0026999), (0, 1, 0), (-2.0, 2.0)),
    ("wrist_roll", (-0.045, 0.013097, 0.0), (1, 0, 0), (-3.14, 3.14)),
]
JAW = ((-0.01315, -0.0075, 0.0145), (0, 0, -1), (-1.6, 0.032))  # closing is positive there, opening is here
PADS = ((-0.0668, 0.0105, 0.00045), (-0.06665, 0.0038, 0.00055))  # of both fingers, in the frame of the roll
FORWARD = np.diag([-1.0, -1.0, 1.0])
STATION = load_station("koch")


def published(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pose of the last link: its place [m] and its axes, in our base frame."""
    place, axes = np.zeros(3), np.eye(3)
    for (_, translation, axis, _), angle in zip(JOINTS, q, strict=True):
        place = place + axes @ translation
        x, y, z = axis
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        axes = axes @ (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
    return FORWARD @ place, FORWARD @ axes


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return compile_kinematic_model(STATION)


def test_the_hand_is_where_the_published_description_has_it(model: mujoco.MjModel) -> None:
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    lower, upper = np.array([limits for *_, limits in JOINTS]).T
    for _ in range(100):
        q = rng.uniform(lower, upper)
        data.qpos[:5] = q
        mujoco.mj_kinematics(model, data)
        place, axes = published(q)
        assert np.abs(data.body("jaw").xpos - (place + axes @ JAW[0])).max() < 1e-6
        jaw_axis = data.body("jaw").xmat.reshape(3, 3)[:, 2]
        np.testing.assert_allclose(jaw_axis, -axes @ JAW[1], atol=1e-6)
        between = place + axes @ np.mean(PADS, axis=0)
        assert np.abs(data.site("tcp").xpos - between).max() < 2e-3, "the tcp lies between the pads"


def test_ranges_are_the_published_ones(model: mujoco.MjModel) -> None:
    for name, _, _, limits in JOINTS:
        np.testing.assert_allclose(model.joint(name).range, limits)
    np.testing.assert_allclose(model.joint("gripper").range, (-JAW[2][1], -JAW[2][0]))
