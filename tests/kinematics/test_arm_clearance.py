"""How far two arms are from each other: against every pair of shapes, and against their sizes."""

import mujoco
import numpy as np
import pytest

from robot.kinematics.clearance import FAR_M
from robot.kinematics.model import BASE, compile_kinematic_model
from robot.kinematics.multi_arm import ArmClearance, MultiArmKinematics
from robot.specs import load_station
from robot.types import Array

PAIR = load_station("fr3_pair_sim")
KINEMATICS = MultiArmKinematics(PAIR)
LINK7_RADIUS_M = 0.045  # the widest at the wrists, as in the station's file


def facing(left_x: float, right_x: float, z: float = 0.3) -> Array:
    """Return joints with the tcps on the line between the bases, tools down."""
    parts = []
    for side, arm, x in zip(PAIR.sides, KINEMATICS.sides, (left_x, right_x), strict=True):
        parts += [arm.inverse(np.array([x, 0.0, z]), side.home, iterations=60), [0.04]]
    return np.concatenate(parts)


def nearest_of_all_pairs(q: Array) -> float:
    """Return the distance that MuJoCo gives for the nearest of all pairs of shapes of different arms [m]."""
    model = compile_kinematic_model(PAIR)
    data = mujoco.MjData(model)
    for name, value in zip(PAIR.joint_names, q, strict=True):
        data.joint(name).qpos[0] = value
        if "finger" in name:
            data.joint(f"{name}_mirror").qpos[0] = value
    mujoco.mj_kinematics(model, data)
    roots = model.body_rootid[model.geom_bodyid]
    left, right = (np.flatnonzero(roots == model.body(f"{name}_{BASE}").id) for name in PAIR.side_names)
    assert len(left) == len(right) == 11
    return min(mujoco.mj_geomDistance(model, data, int(a), int(b), 1.0, None) for a in left for b in right)


def test_it_is_the_distance_of_the_nearest_shapes() -> None:
    clearance, rng = ArmClearance(PAIR, 0.0, 0.0), np.random.default_rng(0)
    checked = 0
    for _ in range(60):
        q = facing(0.675 - rng.uniform(0.03, 0.1), 0.675 + rng.uniform(0.03, 0.1)) + rng.normal(0.0, 0.05, 16)
        q[[7, 15]] = rng.uniform(0.0, 0.04, 2)
        expected = nearest_of_all_pairs(q)
        checked += expected < FAR_M
        assert clearance.clearance(q) == pytest.approx(min(expected, FAR_M), abs=1e-6)
    assert checked > 20


@pytest.mark.parametrize("apart_m", [0.12, 0.15, 0.18])
def test_margins_come_off_and_hands_have_their_own(apart_m: float) -> None:
    q = facing(0.675 - apart_m / 2, 0.675 + apart_m / 2)
    wrists_m = apart_m - 2 * LINK7_RADIUS_M
    assert ArmClearance(PAIR, 0.0, 0.0).clearance(q) == pytest.approx(wrists_m, abs=2e-4)
    assert ArmClearance(PAIR, 0.03, 0.0).clearance(q) == pytest.approx(wrists_m - 0.03, abs=2e-4)
    palms_m = apart_m - 2 * 0.032
    assert ArmClearance(PAIR, 0.0, 0.04).clearance(q) == pytest.approx(min(wrists_m, palms_m - 0.04), abs=2e-4)


def test_far_arms_are_just_far() -> None:
    assert ArmClearance(PAIR, 0.04, 0.02).clearance(PAIR.home) == FAR_M
