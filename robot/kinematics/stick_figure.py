"""An arm as a few lines through its joints, for drawing: points from forward kinematics, no meshes."""

import mujoco
import numpy as np

from robot.kinematics.model import BASE, TCP, compile_kinematic_model, mirrored_joints
from robot.specs import StationSpec
from robot.types import Array


class StickFigure:
    """Lines of a station's arms. Not thread safe: it owns one MuJoCo data."""

    def __init__(self, station: StationSpec) -> None:
        self._model = model = compile_kinematic_model(station)
        self._data = mujoco.MjData(model)
        self._joints = [int(model.joint(name).qposadr[0]) for name in station.joint_names]
        self._mirrors = mirrored_joints(model, station)
        self._grippers = [part.stop - 1 for part in station.joint_slices]
        prefixes = [side.mount.prefix for side in station.sides]
        self._sites = [int(model.site(prefix + TCP).id) for prefix in prefixes]
        self._chains = [
            _chain(model, int(model.body(prefix + BASE).id), int(model.site(prefix + TCP).bodyid[0]))
            for prefix in prefixes
        ]

    def lines(self, q: Array) -> list[Array]:
        """Return of each arm the points from its base over its joints to the hand and the tcp, (n, 3) [m], in the
        cell's frame; points that coincide are told once.

        Args:
            q: joints of the station, grippers included.
        """
        self._data.qpos[self._joints] = q
        self._data.qpos[self._mirrors] = q[self._grippers]
        mujoco.mj_kinematics(self._model, self._data)
        return [
            _distinct(np.vstack((self._data.xpos[chain], self._data.site_xpos[site])))
            for chain, site in zip(self._chains, self._sites, strict=True)
        ]

    def tcp_rotations(self) -> list[Array]:
        """Return of each arm the tcp's axes in the cell's frame as columns, (3, 3), at the joints last drawn."""
        return [self._data.site_xmat[site].reshape(3, 3).copy() for site in self._sites]


def _chain(model: mujoco.MjModel, base: int, tip: int) -> list[int]:
    """Return the bodies from the base to the one that carries the tcp."""
    bodies = [tip]
    while bodies[-1] != base:
        bodies.append(int(model.body_parentid[bodies[-1]]))
    return bodies[::-1]


def _distinct(points: Array, apart_m: float = 1e-3) -> Array:
    is_new = np.concatenate(([True], np.linalg.norm(np.diff(points, axis=0), axis=1) > apart_m))
    return points[is_new]
