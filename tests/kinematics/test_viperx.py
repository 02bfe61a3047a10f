"""The ViperX station's kinematics against the manufacturer's screw axes, by the product of exponentials.

Axes and home matrix are those of Interbotix's published model of the vx300s (Lynch and Park, Modern Robotics, 4).
"""

import numpy as np
import pytest
from scipy.linalg import expm

from robot.kinematics.arm import ArmKinematics
from robot.specs import load_station

SCREWS = np.array(
    [
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, -0.12705, 0.0, 0.0],
        [0.0, 1.0, 0.0, -0.42705, 0.0, 0.05955],
        [1.0, 0.0, 0.0, 0.0, 0.42705, 0.0],
        [0.0, 1.0, 0.0, -0.42705, 0.0, 0.35955],
        [1.0, 0.0, 0.0, 0.0, 0.42705, 0.0],
    ]
)
HOME = np.array([[1.0, 0.0, 0.0, 0.536494], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.42705], [0.0, 0.0, 0.0, 1.0]])
TOOL_IN_HAND = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # ours points its z out of the hand


def published(q: np.ndarray) -> np.ndarray:
    """Return the pose of the published tool frame, (4, 4), for joints [rad]."""
    pose = HOME
    for angle, screw in reversed(list(zip(q, SCREWS, strict=True))):
        x, y, z = screw[:3]
        twist = np.zeros((4, 4))
        twist[:3, :3] = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]
        twist[:3, 3] = screw[3:]
        pose = expm(twist * angle) @ pose
    return pose


@pytest.mark.parametrize("seed", range(20))
def test_forward_kinematics_are_the_published_ones(seed: int) -> None:
    station = load_station("viperx")
    q = np.random.default_rng(seed).uniform(station.position_lower[:6], station.position_upper[:6])
    position, rotation = ArmKinematics(station).tcp_pose(np.append(q, 0.02))
    np.testing.assert_allclose(position, published(q)[:3, 3], atol=1e-6)
    np.testing.assert_allclose(rotation, published(q)[:3, :3] @ TOOL_IN_HAND, atol=1e-6)
