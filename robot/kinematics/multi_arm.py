"""Kinematics of several arms in one cell: each arm's own, and how far the arms are from each other."""

from itertools import combinations

import mujoco
import numpy as np

from robot.kinematics.arm import ArmKinematics
from robot.kinematics.model import BASE, HAND, compile_kinematic_model, mirrored_joints
from robot.specs import StationSpec
from robot.types import Array

FAR_M = 0.1  # clearance beyond this is not told apart


class MultiArmKinematics:
    """The kinematics of each side, over joint vectors of the whole station."""

    def __init__(self, station: StationSpec) -> None:
        self.sides = tuple(ArmKinematics(side) for side in station.sides)
        self._slices = station.joint_slices

    def tcp_position(self, q: Array) -> Array:
        """Return the tcps' positions in the cell's frame one after the other, shape (3 * n_sides,) [m]."""
        return np.concatenate([arm.tcp_position(q[part]) for arm, part in zip(self.sides, self._slices, strict=True)])


class ArmClearance:
    """How much more than their margin lies between the arms of a station, what they hold left aside.

    Links are capsules, hands boxes (`robot.kinematics.model`). Bounding spheres sort out the pairs that cannot be near;
    for the others MuJoCo's distance between two shapes counts. Not thread safe: it owns one MuJoCo data.
    """

    def __init__(self, station: StationSpec, link_margin_m: float, hand_margin_m: float) -> None:
        self._model = model = compile_kinematic_model(station)
        self._data = mujoco.MjData(model)
        self._joints = [int(model.joint(name).qposadr[0]) for name in station.joint_names]
        self._mirrors = mirrored_joints(model, station)
        self._grippers = [part.stop - 1 for part in station.joint_slices]
        self._first, self._second = _pairs(model, station)
        on_hand = _on_hand(model, station)
        both_hands = on_hand[self._first] & on_hand[self._second]
        self._margin = np.where(both_hands, hand_margin_m, link_margin_m)
        self._reach = model.geom_rbound[self._first] + model.geom_rbound[self._second] + self._margin

    def clearance(self, q: Array) -> float:
        """Return the smallest distance between two arms less its margin [m], `FAR_M` at most; below 0 is too near."""
        self._data.qpos[self._joints] = q
        self._data.qpos[self._mirrors] = q[self._grippers]
        mujoco.mj_kinematics(self._model, self._data)
        places = self._data.geom_xpos
        apart = np.linalg.norm(places[self._first] - places[self._second], axis=1) - self._reach
        least = FAR_M
        for pair in np.flatnonzero(apart < FAR_M):
            first, second, margin = int(self._first[pair]), int(self._second[pair]), float(self._margin[pair])
            distance = mujoco.mj_geomDistance(self._model, self._data, first, second, margin + least, None)
            least = min(least, distance - margin)
        return least


def _pairs(model: mujoco.MjModel, station: StationSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return the geoms of all pairs of different arms, as two arrays of ids."""
    roots = model.body_rootid[model.geom_bodyid]
    arms = [np.flatnonzero(roots == model.body(side.mount.prefix + BASE).id) for side in station.sides]
    grids = [np.meshgrid(one, other) for one, other in combinations(arms, 2)]
    return np.concatenate([one.ravel() for one, _ in grids]), np.concatenate([other.ravel() for _, other in grids])


def _on_hand(model: mujoco.MjModel, station: StationSpec) -> np.ndarray:
    """Say of each geom whether it is a hand's or a finger's."""
    hands = {model.body(side.mount.prefix + HAND).id for side in station.sides}
    return np.array([body in hands or model.body_parentid[body] in hands for body in model.geom_bodyid])
