"""The stations `viperx` and `widowx` against the manufacturer's screw axes, by the product of exponentials.

Heights and lengths are those of Interbotix's published models of the vx300s and the wx250s (Lynch and Park, Modern
Robotics, 4): shoulder, elbow and wrist axes lie across, forearm and wrist roll along.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.linalg import expm

from robot.kinematics.arm import ArmKinematics
from robot.specs import load_station


@dataclass(frozen=True)
class Published:
    """Where the axes of one arm lie with all joints at zero [m]."""

    shoulder_z: float
    elbow_x: float
    elbow_z: float
    wrist_x: float
    tool_x: float

    def screws(self) -> np.ndarray:
        high = self.elbow_z
        return np.array(
            [
                [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
                [0.0, 1.0, 0.0, -self.shoulder_z, 0.0, 0.0],
                [0.0, 1.0, 0.0, -high, 0.0, self.elbow_x],
                [1.0, 0.0, 0.0, 0.0, high, 0.0],
                [0.0, 1.0, 0.0, -high, 0.0, self.wrist_x],
                [1.0, 0.0, 0.0, 0.0, high, 0.0],
            ]
        )


ARMS = {
    "viperx": Published(0.12705, 0.05955, 0.42705, 0.35955, 0.536494),
    "widowx": Published(0.11065, 0.04975, 0.36065, 0.29975, 0.458325),
}
TOOL_IN_HAND = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # ours points its z out of the hand


def published(arm: Published, q: np.ndarray) -> np.ndarray:
    """Return the pose of the published tool frame, (4, 4), for joints [rad]."""
    pose = np.eye(4)
    pose[:3, 3] = arm.tool_x, 0.0, arm.elbow_z
    for angle, screw in reversed(list(zip(q, arm.screws(), strict=True))):
        x, y, z = screw[:3]
        twist = np.zeros((4, 4))
        twist[:3, :3] = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]
        twist[:3, 3] = screw[3:]
        pose = expm(twist * angle) @ pose
    return pose


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", ARMS)
def test_forward_kinematics_are_the_published_ones(name: str, seed: int) -> None:
    station = load_station(name)
    q = np.random.default_rng(seed).uniform(station.position_lower[:6], station.position_upper[:6])
    position, rotation = ArmKinematics(station).tcp_pose(np.append(q, 0.02))
    np.testing.assert_allclose(position, published(ARMS[name], q)[:3, 3], atol=1e-6)
    np.testing.assert_allclose(rotation, published(ARMS[name], q)[:3, :3] @ TOOL_IN_HAND, atol=1e-6)
