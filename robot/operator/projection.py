"""Where points of the cell are in the picture of a camera that stands in it: an ideal pinhole."""

import math

import numpy as np

from robot.specs import CameraSpec
from robot.types import Array

UP = np.array([0.0, 0.0, 1.0])
NEAR_M = 0.01


class Projection:
    """Of a camera whose mount is `world`."""

    def __init__(self, camera: CameraSpec) -> None:
        self.name, self.width, self.height = camera.name, camera.width, camera.height
        self._position = np.array(camera.translation_m)
        ahead = np.array(camera.look_at_m) - self._position
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, UP)
        if np.linalg.norm(right) < 1e-6:  # it looks straight down or up
            right = np.array([0.0, -1.0, 0.0])
        right /= np.linalg.norm(right)
        self._axes = np.stack((right, np.cross(ahead, right), ahead))  # x right, y down, z ahead
        self._focal_px = 0.5 * camera.height / math.tan(0.5 * math.radians(camera.fovy_deg))

    def pixels(self, points: Array) -> Array:
        """Return where points (n, 3) [m] of the cell appear, (m, 2) [px] from the upper left corner; those behind the
        camera are left out."""
        seen = (points - self._position) @ self._axes.T
        seen = seen[seen[:, 2] > NEAR_M]
        centre = np.array([0.5 * self.width, 0.5 * self.height])
        return centre + self._focal_px * seen[:, :2] / seen[:, 2:]

    @property
    def level_rotation(self) -> Array:
        """Return the level axes of who looks through the camera as columns in the cell's frame, (3, 3): away from the
        viewer, to the left in the picture, up."""
        right = self._axes[0]
        return np.stack((np.cross(UP, right), -right, UP), axis=1)
