"""Three gates: a point, a corridor with three walls, a narrow gate in each; who touches a wall is caught by it.

The chain that tells recovering apart from correcting (interventions spec, section 11, T4). A gate hangs in its place or
has swung aside, to either hand, and swings anew when somebody comes free of its wall; nobody but the person sees where
it is. So a first try fails now and then, however well it was learned. From a wall a person can push along it into the
gate: a correction, which cannot be copied without seeing the gate. Or they back off, which can, and try again.
Demonstrations are narrow: of people who were never caught. Numpy only.
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
SWINGS, ASIDE = 0.3, 0.1  # how often a gate has swung aside, and how far
GOAL_X = 1.0
CATCH = 0.1  # a wall holds whoever touched it as long as they are nearer than this
FRICTION, SLIDE = 0.5, 0.3  # the push across that a wall withstands, and what is left of the way along it
TOUCH = 0.03  # what is felt while caught
NOISE = 0.2  # of the action, at every step in the open
HORIZON = 120
RATE_HZ = 10.0
LOW, HIGH = -np.ones(2), np.ones(2)
PATIENCE = 8  # ticks without getting further until a person finds that it went wrong

Seen = Mapping[str, np.ndarray]


class ThreeGates(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Actions in [-1, 1] move the point; observations are its place, and whether a wall holds it.

    Caught, it moves back, or along the wall where pushed hard, and forward in the gate alone. The reward is 1 behind
    the third wall, which terminates; `HORIZON` steps truncate. `info["passed"]` counts gates. `gates` are where they
    really are. Where `touch_ends`, who is caught has failed.
    """

    def __init__(self, *, touch_ends: bool = False) -> None:
        self.touch_ends = touch_ends
        shapes = {"position": (2,), "touch": (1,)}
        self.interface = Interface(shapes, ("x", "y"), RATE_HZ, HORIZON)
        self.observation_space = spaces.Dict(
            {name: spaces.Box(-np.inf, np.inf, shape) for name, shape in shapes.items()}
        )
        self.action_space = spaces.Box(-1.0, 1.0, (2,))
        self.position, self.gates, self.caught, self.steps = np.zeros(2), GATES.copy(), False, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.position = np.array([0.0, self.np_random.uniform(-0.3, 0.3)])
        self.gates = GATES + [self._swing() for _ in GATES]
        self.caught, self.steps = False, 0
        return self._observation(), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        noise = NOISE * self.np_random.standard_normal(2)
        if self.caught:
            self._drag(action)
        else:
            self._move(STEP * (action + noise))
        self.steps += 1
        success = bool(self.position[0] >= GOAL_X)
        info = {"success": success, "executed_action": action, "passed": int((self.position[0] >= WALLS).sum())}
        terminated = success or (self.caught and self.touch_ends)
        return self._observation(), float(success), terminated, not terminated and self.steps >= HORIZON, info

    def _swing(self) -> float:
        """Return how far aside a gate hangs from now on."""
        return ASIDE * self.np_random.choice([-1.0, 1.0]) if self.np_random.random() < SWINGS else 0.0

    def _move(self, moved: np.ndarray) -> None:
        """Move in the open, until a wall catches."""
        wanted = np.clip(self.position + moved, [-0.1, -0.6], [1.1, 0.6])
        for wall, gate in zip(WALLS, self.gates, strict=True):
            if self.position[0] < wall <= wanted[0] and abs(wanted[1] - gate) > HALF_GATE:
                wanted, self.caught = np.array([wall - 1e-3, wanted[1]]), True
            if self.position[0] >= wall > wanted[0]:
                wanted[0] = wall  # no way back through a gate
        self.position = wanted

    def _drag(self, action: np.ndarray) -> None:
        """Move at a wall: back, along it against its friction, or through its gate, until it lets go."""
        ahead = int((self.position[0] >= WALLS).sum())
        if action[0] > 0.0 and abs(self.position[1] - self.gates[ahead]) <= HALF_GATE:
            self.position[0], self.caught = WALLS[ahead], False
            return
        across = SLIDE * action[1] if abs(action[1]) > FRICTION else 0.0
        behind = self.position[0] + STEP * min(action[0], 0.0)
        self.position = np.array([max(behind, -0.1), np.clip(self.position[1] + STEP * across, -0.6, 0.6)])
        if WALLS[ahead] - self.position[0] >= CATCH:
            self.caught = False
            self.gates[ahead] = GATES[ahead] + self._swing()

    def _observation(self) -> dict[str, np.ndarray]:
        return {"position": self.position.copy(), "touch": np.array([TOUCH * self.caught])}


def next_gate(position: np.ndarray, gates: np.ndarray = GATES) -> np.ndarray:
    """Return the middle of the gate that comes next; behind the last wall the goal."""
    ahead = np.flatnonzero(position[0] < WALLS)
    return np.array([WALLS[ahead[0]], gates[ahead[0]]]) if len(ahead) else np.array([GOAL_X + STEP, position[1]])


class ThreeGatesExpert:
    """Sees where the gates of `world` are. Lines up before one, goes through; pushes along a wall that holds it."""

    def __init__(self, world: ThreeGates, *, waits_at: float = 0.1) -> None:
        self.world, self.waits_at = world, waits_at  # how far before a gate it lines up

    def reset(self, seed: int) -> None:
        """Remember nothing."""

    def act(self, observation: Seen) -> np.ndarray:
        position = observation["position"]
        gate = next_gate(position, self.world.gates)
        aside, ahead = gate[1] - position[1], gate[0] - position[0]
        if observation["touch"][0]:
            return np.array([0.5, np.sign(aside)])
        is_aligned = abs(aside) < 0.5 * HALF_GATE
        forward = 1.0 if is_aligned else np.clip((ahead - self.waits_at) / STEP, -1.0, 1.0)
        return np.array([forward, np.clip(aside / STEP, -1.0, 1.0)])


class Retreat:
    """Backs off until the wall lets go, then lines up."""

    def reset(self, seed: int) -> None:
        """Remember nothing."""

    def act(self, observation: Seen) -> np.ndarray:
        aside = next_gate(observation["position"])[1] - observation["position"][1]
        if observation["touch"][0]:
            return np.array([-1.0, 0.0])
        return np.array([0.0, np.clip(aside / STEP, -1.0, 1.0)])


class ImpatientJudge:
    """Finds that it went wrong when nothing was gained towards the goal for `PATIENCE` ticks of the policy."""

    def reset(self, rng: np.random.Generator) -> None:
        self.best, self.waited = -np.inf, 0

    def looks_wrong(self, before: Seen, executed: np.ndarray, after: Seen) -> bool:
        x = float(after["position"][0])
        self.waited = 0 if x > self.best + 0.2 * STEP else self.waited + 1
        self.best = max(self.best, x)
        if self.waited < PATIENCE:
            return False
        self.best, self.waited = x, 0
        return True


def hand(world: ThreeGates) -> FaultyHand:
    """Return how the person drives."""
    return FaultyHand(ThreeGatesExpert(world), Faults(noise=0.1), LOW, HIGH)


def is_home(seen: Seen) -> bool:
    """Say whether the point stands free and lined up before where its gate looks to be."""
    aside = next_gate(seen["position"])[1] - seen["position"][1]
    return bool(not seen["touch"][0] and abs(aside) < HALF_GATE)


def is_finished(taken: Seen, seen: Seen) -> bool:
    """Say whether the gate that came next at the takeover lies behind."""
    return bool(seen["position"][0] > next_gate(taken["position"])[0])


def recovering_person(world: ThreeGates, *, recovers: bool = True) -> RecoveringPerson:
    """Return the person of RaC; without recovery they go on from where they took over."""
    return RecoveringPerson(Way(Retreat(), hand(world), is_home, is_finished), ImpatientJudge(), recovers=recovers)


def handing_person(world: ThreeGates) -> ScriptedPerson:
    """Return the person of HG-DAgger: takes over, drives on for some ticks, hands back."""
    return ScriptedPerson(hand(world), ImpatientJudge(), Timing(hold=12))
