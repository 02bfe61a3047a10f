"""Three gates: a point, a corridor with three walls, a narrow gate in each; who touches a wall is caught by it.

The chain that tells recovering apart from correcting (interventions spec, section 11, T4). Near a wall that it has
touched the point cannot slide: it has to back off before it can try again, and the drift of an episode, which nobody
sees, makes first tries miss. Numpy only.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robot.worlds import Interface
from sim.people.recovering import RecoveringPerson, Way
from sim.people.scripted import Faults, FaultyHand, ScriptedPerson, Timing

STEP = 0.05  # way per step at full action, along each axis
WALLS = np.array([0.3, 0.6, 0.9])
GATES = np.array([0.25, -0.25, 0.2])
HALF_GATE = 0.03
GOAL_X = 1.0
CATCH = 0.06  # a wall holds whoever touched it as long as they are nearer than this
DRIFT = 0.012  # per step, across: constant in an episode
NOISE = 0.25  # of the action, at every step
HORIZON = 100
RATE_HZ = 10.0
LOW, HIGH = -np.ones(2), np.ones(2)
PATIENCE = 6  # ticks without getting further until a person finds that it went wrong


class ThreeGates(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Actions in [-1, 1] move the point; observations are its place, and whether a wall holds it.

    The reward is 1 behind the third wall, which terminates; `HORIZON` steps truncate. `info["passed"]` counts gates.
    """

    def __init__(self) -> None:
        shapes = {"position": (2,), "caught": (1,)}
        self.interface = Interface(shapes, ("x", "y"), RATE_HZ, HORIZON)
        self.observation_space = spaces.Dict(
            {name: spaces.Box(-np.inf, np.inf, shape) for name, shape in shapes.items()}
        )
        self.action_space = spaces.Box(-1.0, 1.0, (2,))
        self.position, self.caught, self.drift, self.steps = np.zeros(2), False, 0.0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.position = np.array([0.0, self.np_random.uniform(-0.3, 0.3)])
        self.drift = self.np_random.uniform(-DRIFT, DRIFT)
        self.caught, self.steps = False, 0
        return self._observation(), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        moved = STEP * (action + NOISE * self.np_random.standard_normal(2)) + [0.0, self.drift]
        if self.caught:
            moved = np.array([min(moved[0], 0.0), 0.0])
        self._move(moved)
        self.steps += 1
        success = bool(self.position[0] >= GOAL_X)
        info = {"success": success, "executed_action": action, "passed": int((self.position[0] >= WALLS).sum())}
        return self._observation(), float(success), success, not success and self.steps >= HORIZON, info

    def _move(self, moved: np.ndarray) -> None:
        wanted = np.clip(self.position + moved, [-0.1, -0.6], [1.1, 0.6])
        for wall, gate in zip(WALLS, GATES, strict=True):
            if self.position[0] < wall <= wanted[0] and abs(wanted[1] - gate) > HALF_GATE:
                wanted, self.caught = np.array([wall - 1e-3, wanted[1]]), True
            if self.position[0] >= wall > wanted[0]:
                wanted[0] = wall  # no way back through a gate
        self.position = wanted
        ahead = WALLS[wanted[0] < WALLS]
        self.caught &= bool(len(ahead)) and ahead[0] - wanted[0] < CATCH

    def _observation(self) -> dict[str, np.ndarray]:
        return {"position": self.position.copy(), "caught": np.array([float(self.caught)])}


def next_gate(position: np.ndarray) -> np.ndarray:
    """Return the middle of the gate that comes next; behind the last wall the goal."""
    ahead = np.flatnonzero(position[0] < WALLS)
    return np.array([WALLS[ahead[0]], GATES[ahead[0]]]) if len(ahead) else np.array([GOAL_X + STEP, position[1]])


class ThreeGatesExpert:
    """Lines up before a gate, then goes through; backs off, as little as needed, where a wall holds it."""

    def __init__(self, *, waits_at: float = 0.1) -> None:
        self.waits_at = waits_at  # how far before a gate it lines up

    def reset(self, seed: int) -> None:
        """Remember nothing."""

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        position, gate = observation["position"], next_gate(observation["position"])
        if observation["caught"][0]:
            return np.array([-1.0, 0.0])
        aside, ahead = gate[1] - position[1], gate[0] - position[0]
        is_aligned = abs(aside) < 0.6 * HALF_GATE
        forward = 1.0 if is_aligned else np.clip((ahead - self.waits_at) / STEP, -1.0, 1.0)
        return np.array([forward, np.clip(aside / STEP, -1.0, 1.0)])


class Retreat:
    """Backs off to well before the gate and lines up there."""

    def reset(self, seed: int) -> None:
        """Remember nothing."""

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        position, gate = observation["position"], next_gate(observation["position"])
        back = -1.0 if gate[0] - position[0] < 0.12 else 0.0
        return np.array([back, np.clip((gate[1] - position[1]) / STEP, -1.0, 1.0)])


class ImpatientJudge:
    """Finds that it went wrong when nothing was gained towards the goal for `PATIENCE` ticks of the policy."""

    def reset(self, rng: np.random.Generator) -> None:
        self.best, self.waited = -np.inf, 0

    def looks_wrong(
        self, before: Mapping[str, np.ndarray], executed: np.ndarray, after: Mapping[str, np.ndarray]
    ) -> bool:
        x = float(after["position"][0])
        self.waited = 0 if x > self.best + 0.2 * STEP else self.waited + 1
        self.best = max(self.best, x)
        if self.waited < PATIENCE:
            return False
        self.best, self.waited = x, 0
        return True


def hand() -> FaultyHand:
    return FaultyHand(ThreeGatesExpert(), Faults(noise=0.1), LOW, HIGH)


def is_home(seen: Mapping[str, np.ndarray]) -> bool:
    """Say whether the point stands lined up, well before its gate."""
    away = next_gate(seen["position"]) - seen["position"]
    return bool(not seen["caught"][0] and away[0] > 0.1 and abs(away[1]) < HALF_GATE)


def is_finished(taken: Mapping[str, np.ndarray], seen: Mapping[str, np.ndarray]) -> bool:
    """Say whether the gate that came next at the takeover lies behind, but for one step."""
    gate = next_gate(taken["position"])
    return bool(seen["position"][0] > gate[0])


def recovering_person(*, recovers: bool = True) -> RecoveringPerson:
    """Return the person of RaC; without recovery they go on from where they took over."""
    return RecoveringPerson(Way(Retreat(), hand(), is_home, is_finished), ImpatientJudge(), recovers=recovers)


def handing_person() -> ScriptedPerson:
    """Return the person of HG-DAgger: takes over, drives on for some ticks, hands back."""
    return ScriptedPerson(hand(), ImpatientJudge(), Timing(hold=8))
