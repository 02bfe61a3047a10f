"""The action optimiser on a value whose best action is known: Q(s, a) = -|a - a*(s)|^2 (off_policy specification)."""

import pytest
import torch
from torch import Tensor

from policies.learners.action_optimizer import ActionOptimizer
from robot.errors import ConfigError

DRAW = torch.Generator().manual_seed(0)
STATES = torch.rand(12, 3, generator=DRAW) * 1.6 - 0.8


def value(states: Tensor, actions: Tensor) -> Tensor:
    """The best action is the state itself."""
    return -(actions - states).square().sum(dim=-1)


def candidates(count: int, seed: int = 1) -> Tensor:
    return torch.rand(len(STATES), count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def best_of(actions: Tensor) -> Tensor:
    return value(STATES[:, None].expand_as(actions).flatten(0, 1), actions.flatten(0, 1)).unflatten(
        0, actions.shape[:2]
    ).amax(dim=1)  # fmt: skip


def test_pa_rl_ascent_reaches_the_best_action() -> None:
    found = ActionOptimizer(32, 10, grad_steps=40, step_size=0.2)(STATES, candidates(32), value)
    assert found.actions.shape == (12, 10, 3)
    torch.testing.assert_close(found.best(), STATES, atol=1e-4, rtol=0)


@pytest.mark.parametrize("step_size", [0.05, 1.0, 30.0])
def test_pa_rl_never_answers_worse_than_it_was_given(step_size: float) -> None:
    given = candidates(6)
    found = ActionOptimizer(6, 6, grad_steps=3, step_size=step_size)(STATES, given, value)  # 30 jumps across the box
    assert (best_of(found.best()[:, None]) >= best_of(given)).all()
    torch.testing.assert_close(best_of(found.best()[:, None]), found.values.amax(dim=1))
    assert float(found.actions.abs().max()) <= 1.0


def test_a_climb_at_the_edge_of_the_box_stays_inside() -> None:
    outside = torch.full((1, 3), 1.4)
    found = ActionOptimizer(4, 4, grad_steps=50, step_size=0.1)(outside, candidates(4)[:1], value)
    torch.testing.assert_close(found.best(), torch.ones(1, 3))


def test_expo_picks_the_best_of_sixteen() -> None:
    given = candidates(8)

    def edit(states: Tensor, actions: Tensor) -> Tensor:
        return 0.1 * torch.sin(40 * actions)

    found = ActionOptimizer(8, 8)(STATES, given, value, edit)
    everything = torch.cat([given, (given + 0.1 * torch.sin(40 * given)).clamp(-1, 1)], dim=1)
    assert found.actions.shape == (12, 16, 3)
    torch.testing.assert_close(best_of(found.best()[:, None]), best_of(everything))
    assert (best_of(found.best()[:, None]) >= best_of(given)).all()
    assert 0.0 < float(found.edited_share()) < 1.0
    far = ActionOptimizer(8, 8)(STATES, given, value, lambda states, actions: torch.full_like(actions, 9.0))
    assert float(far.actions.max()) == 1.0, "edited actions are clipped to the box"


def test_ibrl_picks_the_better_of_two() -> None:
    pair = torch.stack([STATES, STATES + 0.3], dim=1)
    pair[::2] = pair[::2].flip(1)
    found = ActionOptimizer(2, 2)(STATES, pair, value)
    torch.testing.assert_close(found.best(), STATES)
    drawn = [float(best_of(found.sample(100.0, DRAW)[:, None]).min()) for _ in range(5)]
    assert min(drawn) < -0.2, "a hot softmax takes the worse one as well"
    torch.testing.assert_close(found.sample(1e-4, DRAW), STATES)


def test_best_of_n_keeps_the_most_valued_and_says_where_they_come_from() -> None:
    given = candidates(9)
    found = ActionOptimizer(9, 3)(STATES, given, value)
    scores = value(STATES[:, None].expand_as(given).flatten(0, 1), given.flatten(0, 1)).unflatten(0, (12, 9))
    assert torch.equal(found.values, scores.sort(dim=1, descending=True).values[:, :3])
    assert torch.equal(found.actions[:, 0], given[torch.arange(12), found.origin[:, 0]])


@pytest.mark.parametrize("bad", [(2, 3, 0, 0.0), (2, 0, 0, 0.0), (2, 2, 5, 0.0), (2, 2, -1, 0.1)])
def test_impossible_settings_are_refused(bad: tuple[int, int, int, float]) -> None:
    with pytest.raises(ConfigError):
        ActionOptimizer(*bad)
