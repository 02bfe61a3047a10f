"""Tidying a drawer with a person who looks on: three stages in one episode, RaC's long-horizon own task (T4).

The world is `tandem/tidy-drawer`: open the drawer, put the cube in, close it. Everybody drives like the expert, with
some noise. A person loses patience when nothing is gained for a second and a half. RaC's person then opens the hand and
goes up to where episodes begin (recovery), and on from there until the stage is through (correction), which ends the
episode. HG-DAgger's person drives on from where the hand is for a while, and hands back.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from policies.data.demonstrations import Demonstrations, Env, collect
from robot.worlds import make_env, make_expert
from sim.people.recovering import RecoveringPerson, Way
from sim.people.scripted import Faults, FaultyHand, ScriptedPerson, Timing
from sim.task import STEP_M
from sim.tasks.tidy_drawer import DROP_FROM_FRONT, DROP_HEIGHT, TidyDrawer

TIDY = "tandem/tidy-drawer"
FIELDS = ("joint_position", "tcp_position", "object_state")
NOISE_M = 0.003  # standard deviation of where whoever drives sends the hand
LIFTED_M = 0.05  # a cube so high is being carried
HOME_Z_M, OPEN_M = 0.18, 0.035  # as high, and as far open, is the hand at an episode's start
PATIENCE = 30  # ticks of the policy, 20 a second
GAIN_M = 0.01  # nearer by so much is getting on
HOLD = 30  # ticks that HG-DAgger's person drives
STAGE_M = 1.0  # a stage is farther than anything within one

Seen = Mapping[str, np.ndarray]
TASK = TidyDrawer()


def tidy_world() -> Env:
    return make_env(TIDY)


def shown(count: int, seed: int) -> Demonstrations:
    """Return episodes of the expert, whose hand shakes as the person's does."""
    return collect(TIDY, count, seed, noise=NOISE_M).select(FIELDS)


def stage(seen: Seen) -> int:
    """Return how many stages are through."""
    return TASK.stage(seen["object_state"])


def left(seen: Seen) -> float:
    """Return how much is left to do [m], roughly: what shrinks when something is gained."""
    objects, tcp = seen["object_state"], seen["tcp_position"]
    cube, knob, opening = objects[:3], objects[3:6], float(objects[6])
    reached = stage(seen)
    to_knob = float(np.linalg.norm(tcp - knob))
    if reached == 0:
        way = to_knob + (TASK.open_m - opening)
    elif reached == 1:
        drop = knob - TASK.cabinet.knob_m + np.array([DROP_FROM_FRONT, 0.0, DROP_HEIGHT])
        to_cube = 0.0 if cube[2] > LIFTED_M else float(np.linalg.norm(tcp - cube)) + LIFTED_M
        way = to_cube + float(np.linalg.norm(drop - cube))
    else:
        way = to_knob + opening
    return (3 - reached) * STAGE_M + way


class PatientJudge:
    """Finds that it went wrong when `PATIENCE` ticks of the policy have gained nothing; then waits as long again."""

    def reset(self, rng: np.random.Generator) -> None:
        self.best, self.waited = np.inf, 0

    def looks_wrong(self, before: Seen, executed: np.ndarray, after: Seen) -> bool:
        now = left(after)
        gained = now < self.best - GAIN_M
        self.waited = 0 if gained else self.waited + 1
        self.best = now if gained else self.best
        if self.waited < PATIENCE:
            return False
        self.best, self.waited = now, 0
        return True


class Rise:
    """Opens the hand, then goes straight up."""

    def reset(self, seed: int) -> None:
        """Remember nothing."""

    def act(self, observation: Seen) -> np.ndarray:
        tcp = observation["tcp_position"]
        is_open = observation["joint_position"][-1] > OPEN_M
        return np.append(tcp + np.array([0.0, 0.0, STEP_M if is_open else 0.0]), TASK.start.gripper_m)


def is_home(seen: Seen) -> bool:
    """Say whether the hand is where episodes begin: high up, open and empty."""
    return bool(seen["tcp_position"][2] > HOME_Z_M and seen["joint_position"][-1] > OPEN_M)


def is_finished(taken: Seen, seen: Seen) -> bool:
    """Say whether a stage more is through than at the takeover."""
    return stage(seen) > stage(taken)


def hand(env: Env) -> FaultyHand:
    """Return how the person drives."""
    box: Any = env.action_space
    return FaultyHand(make_expert(TIDY, noise=NOISE_M), Faults(), box.low, box.high)


def recovering_person(env: Env, *, recovers: bool = True) -> RecoveringPerson:
    """Return the person of RaC; without recovery they go on from where they took over."""
    way = Way(Rise(), hand(env), is_home, is_finished)
    return RecoveringPerson(way, PatientJudge(), recovers=recovers, patience=40, longest_correction=200)


def handing_person(env: Env) -> ScriptedPerson:
    """Return the person of HG-DAgger: takes over, drives on for some ticks, hands back."""
    return ScriptedPerson(hand(env), PatientJudge(), Timing(hold=HOLD))
