"""The chain of gates tells going back from pushing on, whatever is learned in it."""

from collections.abc import Mapping

import numpy as np

from policies.data.demonstrations import collect_from
from tests.gates.three_gates import GATES, HALF_GATE, ThreeGates, ThreeGatesExpert, hand

EPISODES = 40


class Blind(ThreeGatesExpert):
    """Aims where the gates should hang, as who cannot see them; a wall is left, or pushed along to one side."""

    def __init__(self, world: ThreeGates, *, retreats: bool) -> None:
        super().__init__(world)
        self.retreats = retreats

    def reset(self, seed: int) -> None:
        self.side = np.random.default_rng(seed).choice([-1.0, 1.0])

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        if observation["touch"][0]:
            return np.array([-1.0, 0.0]) if self.retreats else np.array([0.5, self.side])
        gates, self.world.gates = self.world.gates, GATES
        action = super().act(observation)
        self.world.gates = gates
        return action


def share_of_successes(*, retreats: bool) -> float:
    world = ThreeGates()
    blind, wins = Blind(world, retreats=retreats), 0
    for seed in range(EPISODES):
        seen, _ = world.reset(seed=seed)
        blind.reset(seed)
        is_over = success = False
        while not is_over:
            seen, _, success, truncated, _ = world.step(blind.act(seen))
            is_over = success or truncated
        wins += success
    return wins / EPISODES


def test_who_cannot_see_the_gates_gets_through_by_going_back_and_not_by_pushing_on() -> None:
    assert share_of_successes(retreats=True) > 0.95
    assert 0.3 < share_of_successes(retreats=False) < 0.8


def test_nobody_is_caught_in_a_demonstration() -> None:
    world = ThreeGates(touch_ends=True)
    shown = collect_from(world, hand(world), "gates/three-gates", 5, 0)
    assert not any(trajectory.states[:, -1].any() for trajectory in shown.trajectories)
    assert all(trajectory.is_success for trajectory in shown.trajectories)


def test_a_wall_lets_go_of_who_backs_off_and_its_gate_swings_anew() -> None:
    world = ThreeGates()
    places = set()
    for seed in range(20):
        world.reset(seed=seed)
        world.position = np.array([0.29, 0.0])
        seen = world.step(np.array([1.0, 0.0]))[0]
        assert seen["touch"][0] > 0.0
        assert world.position[0] < 0.3
        stuck = world.step(np.array([1.0, 0.0]))[0]["position"]
        assert np.array_equal(stuck, seen["position"]), "neither forward nor, against friction, along"
        for _ in range(2):
            seen = world.step(np.array([-1.0, 0.0]))[0]
        assert seen["touch"][0] == 0.0
        places.add(round(float(world.gates[0] - GATES[0]), 3))
    assert places == {-0.1, 0.0, 0.1}
    assert min(places, key=abs) == 0.0 < HALF_GATE
