"""Scripted experts of Gymnasium-Robotics' Fetch tasks: the next action from the observation alone.

Observation (its documentation): gripper position 0..2, object position 3..5, both [m]; finger travel 9..10 [m].
An action of 1 moves the hand's target by 0.05 m.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from robot.types import Array
from sim.experts import DROP_STEPS, Knobs

ACTION_NAMES = ("hand_x", "hand_y", "hand_z", "gripper")
M_PER_ACTION = 0.05
CUBE_HALF = 0.025
CARRIED_Z = 0.45  # a cube this high is off the table
GAIN = 1.2  # of the way to the goal that is asked for in one step: the hand follows late
OPEN, CLOSE = 1.0, -1.0


class Seen(NamedTuple):
    """What a plan looks at: hand, thing and goal [m], travel of a finger [m]."""

    hand: Array
    thing: Array
    goal: Array
    finger: float


Plan = Callable[[Seen], tuple[Array, float]]  # where the hand should go [m], and the gripper


def plan_reach(seen: Seen) -> tuple[Array, float]:
    return seen.goal, CLOSE


def plan_pick_and_place(seen: Seen) -> tuple[Array, float]:
    """Above the cube, down, close, to the goal."""
    thing = seen.thing
    offset = thing - seen.hand
    if np.linalg.norm(offset) < 0.012:
        return (seen.goal if seen.finger < CUBE_HALF + 0.0005 else thing), CLOSE
    if np.linalg.norm(offset[:2]) < 0.01:
        return thing, OPEN
    return np.array([*thing[:2], max(thing[2] + 0.08, min(seen.hand[2], thing[2] + 0.1))]), OPEN


def plan_push(seen: Seen) -> tuple[Array, float]:
    """Behind the cube, seen from the goal; down; through it to the goal."""
    hand, thing = seen.hand, seen.thing
    way = seen.goal[:2] - thing[:2]
    distance = float(np.linalg.norm(way))
    direction = way / max(distance, 1e-9)
    behind = thing[:2] - direction * 0.08
    from_thing = hand[:2] - thing[:2]
    along = float(from_thing @ direction)
    across = float(np.linalg.norm(from_thing - along * direction))
    if hand[2] < thing[2] + 0.02 and along < -0.03 and across < 0.02:
        return np.array([*(thing[:2] + direction * (min(0.04, distance + 0.01) - 0.055)), thing[2]]), CLOSE
    if np.linalg.norm(hand[:2] - behind) < 0.012:
        return np.array([*behind, thing[2]]), CLOSE
    if hand[2] < thing[2] + 0.05:
        return np.array([*hand[:2], thing[2] + 0.1]), CLOSE
    return np.array([*behind, thing[2] + 0.1]), CLOSE


PLANS: Mapping[str, Plan] = {
    "FetchReach": plan_reach,
    "FetchPickAndPlace": plan_pick_and_place,
    "FetchPush": plan_push,
}


class FetchExpert:
    """Goes towards its plan's goal; noise and bias are in action units (+-1)."""

    def __init__(self, plan: Plan, knobs: Knobs) -> None:
        self._plan, self._knobs = plan, knobs
        self._bias = knobs.bias_of(ACTION_NAMES)
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._drop_left = DROP_STEPS if self._rng.random() < self._knobs.drop_probability else 0

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        numbers, goal = observation["observation"], observation["desired_goal"]
        has_object = len(numbers) > 10
        thing, finger = (numbers[3:6], float(numbers[9:11].mean())) if has_object else (goal, 0.0)
        wanted, gripper = self._plan(Seen(numbers[:3], thing, goal, finger))
        if self._drop_left and (self._drop_left < DROP_STEPS or (has_object and thing[2] > CARRIED_Z)):
            gripper = OPEN
            self._drop_left -= 1
        move = np.clip(GAIN / M_PER_ACTION * (wanted - numbers[:3]), -1.0, 1.0) / self._knobs.slowness
        action = np.append(move, gripper) + self._bias
        action[:3] += self._knobs.noise * self._rng.standard_normal(3)
        return np.clip(action, -1.0, 1.0)
