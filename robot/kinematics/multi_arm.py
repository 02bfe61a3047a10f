"""Kinematics of several arms in one cell: each arm's own, and how far the arms are from each other."""

from itertools import combinations

import mujoco
import numpy as np

from robot.kinematics.arm import ArmKinematics
from robot.kinematics.clearance import PairClearance
from robot.kinematics.model import BASE, HAND, compile_kinematic_model
from robot.specs import StationSpec
from robot.types import Array


class MultiArmKinematics:
    """The kinematics of each side, over joint vectors of the whole station."""

    def __init__(self, station: StationSpec) -> None:
        self.sides = tuple(ArmKinematics(side) for side in station.sides)
        self._slices = station.joint_slices

    def tcp_position(self, q: Array) -> Array:
        """Return the tcps' positions in the cell's frame one after the other, shape (3 * n_sides,) [m]."""
        return np.concatenate([arm.tcp_position(q[part]) for arm, part in zip(self.sides, self._slices, strict=True)])


class ArmClearance(PairClearance):
    """How much more than their margin lies between the arms of a station."""

    def __init__(self, station: StationSpec, link_margin_m: float, hand_margin_m: float) -> None:
        model = compile_kinematic_model(station)
        first, second = _pairs(model, station)
        on_hand = _on_hand(model, station)
        margin = np.where(on_hand[first] & on_hand[second], hand_margin_m, link_margin_m)
        super().__init__(station, model, first, second, margin)


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
