"""Parts of scripted plans: grasp a thing, carry it, move a knob. None has a memory: all follows from what is seen."""

import numpy as np

from robot.types import Array
from sim.task import STEP_M, View

OPEN_M = 0.04  # travel of a finger, wide open
Wish = tuple[Array, float]  # the tcp goal [m] and the finger travel [m]
UP = np.array([0.0, 0.0, STEP_M])


def is_held(view: View, thing: Array, half_m: float) -> bool:
    """Say whether the fingers stand around a thing, closed on its width."""
    return bool(np.linalg.norm(thing - view.tcp) < 0.012) and view.gripper < half_m + 0.003


def grasp(view: View, thing: Array, half_m: float) -> Wish:
    """Above the thing, down, close: which one follows from where hand and thing are."""
    offset = thing - view.tcp
    if np.linalg.norm(offset) < 0.012:
        return thing, 0.0
    if np.linalg.norm(offset[:2]) < 0.008 and view.gripper > half_m + 0.008:
        return thing, OPEN_M
    above = max(thing[2] + 0.06, min(view.tcp[2], thing[2] + 0.08))
    return np.array([*thing[:2], above]), OPEN_M


def carry(view: View, thing: Array, target: Array, hover_m: float, release_m: float = 0.006) -> Wish:
    """Take what is held over `target` at the height `hover_m` of the tcp, then down to it, and open the hand there."""
    offset = target - thing
    distance = float(np.linalg.norm(offset[:2]))
    if distance < 0.008:
        is_there = offset[2] > -release_m
        return (view.tcp, OPEN_M) if is_there else (view.tcp + offset, 0.0)
    if view.tcp[2] < hover_m - 0.015:
        return np.array([*view.tcp[:2], hover_m]), 0.0
    return np.array([*(view.tcp + offset)[:2], hover_m]), 0.0


def retreat(view: View) -> Wish:
    """Straight up with an open hand."""
    return view.tcp + UP, OPEN_M


def slide_knob(view: View, knob: Array, half_m: float, direction: float) -> Wish:
    """Grip a knob and move it along x: towards the robot for a `direction` of -1, away from it for +1."""
    if is_held(view, knob, half_m):
        return np.array([view.tcp[0] + direction * STEP_M, knob[1], view.tcp[2]]), 0.0
    return grasp(view, knob, half_m)
