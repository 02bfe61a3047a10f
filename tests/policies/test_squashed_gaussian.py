"""The squashed Gaussian against numbers, and the temperature in the right units (off_policy specification)."""

import math

import pytest
import torch

from policies.learners.squashed_gaussian import SquashedGaussian
from policies.learners.temperature import Temperature, entropy_target, scaled_log_prob
from robot.errors import ConfigError

STATE = torch.tensor([[0.5, -1.0]])


def actor(action: int = 1, spread: float = 0.3) -> SquashedGaussian:
    made = SquashedGaussian(2, action, (16,))
    made.initialize(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(made.body[-1].weight, std=spread, generator=torch.Generator().manual_seed(1))
    return made


def test_log_prob_integrates_to_one_and_agrees_with_sampling() -> None:
    made = actor()
    edges = torch.linspace(-1.0, 1.0, 20_001, dtype=torch.float64)
    middles = ((edges[1:] + edges[:-1]) / 2).float()[:, None]
    density = made.log_prob(STATE, middles).detach().double().exp()
    assert float(density.mean() * 2.0) == pytest.approx(1.0, abs=1e-3)
    sampled, log_prob = made.sample(STATE.expand(1000, -1), torch.Generator().manual_seed(3))
    torch.testing.assert_close(log_prob, made.log_prob(STATE, sampled), atol=2e-3, rtol=1e-3)
    expected = float((middles[:, 0].double() * density).mean() * 2.0)
    many, _ = made.sample(STATE.expand(40_000, -1), torch.Generator().manual_seed(4))
    assert float(many.detach().mean()) == pytest.approx(expected, abs=0.01)


def test_trap_8_log_prob_is_finite_at_the_edge_of_the_box_and_far_outside_tanhs_range() -> None:
    made = actor(action=3)
    edges = torch.tensor([[1.0, -1.0, 1.0], [1.5, 0.0, -2.0]])
    log_prob = made.log_prob(STATE.expand(2, -1), edges)
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters())
    torch.nn.init.constant_(made.body[-1].bias, 200.0)  # tanh is 1 in float32
    action, log_prob = made.sample(STATE, torch.Generator().manual_seed(0))
    assert float(action.detach().max()) == 1.0
    assert torch.isfinite(log_prob).all()


def test_log_std_is_clipped_and_the_mode_needs_no_noise() -> None:
    made = SquashedGaussian(2, 2, (8,), log_std=(-1.0, 0.5))
    torch.nn.init.normal_(made.body[-1].weight, std=30.0, generator=torch.Generator().manual_seed(0))
    log_std = made(torch.randn(64, 2, generator=torch.Generator().manual_seed(1)))[1]
    assert (float(log_std.detach().min()), float(log_std.detach().max())) == (-1.0, 0.5)
    assert torch.equal(made.mode(STATE), made.mode(STATE))


def optimized_bandit(scale: float, per_dimension: float, steps: int = 1500) -> tuple[float, float, list[float]]:
    """Return entropy, its target (both of the scaled action), and alpha on the way: two equal modes at +-0.6."""
    target = entropy_target(1, per_dimension, scale)
    made, temperature = actor(), Temperature(target, initial=0.1)
    torch.nn.init.constant_(made.body[-1].bias[1:], -1.0)  # narrow: it takes one mode, and the entropy matters
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(
        [{"params": made.parameters(), "lr": 3e-3}, {"params": temperature.parameters(), "lr": 1e-2}]
    )
    inputs, alphas = STATE.expand(256, -1), []
    for _ in range(steps):
        action, log_prob = made.sample(inputs, generator)
        log_prob = scaled_log_prob(log_prob, 1, scale)
        value = -(((scale * action).abs() - 0.6 * scale) / scale).square().mean()
        optimizer.zero_grad()
        ((temperature() * log_prob).mean() - value + temperature.loss(log_prob)).backward()
        optimizer.step()
        alphas.append(float(temperature()))
    _, log_prob = made.sample(STATE.expand(20_000, -1), generator)
    return -float(scaled_log_prob(log_prob, 1, scale).detach().mean()), target, alphas


@pytest.mark.parametrize("scale", [0.05, 0.2, 0.7])
def test_trap_5_the_entropy_meets_its_target_for_scaled_actions_and_alpha_stays_bounded(scale: float) -> None:
    entropy, target, alphas = optimized_bandit(scale, per_dimension=-0.5)
    width = abs(-0.5)  # of the target in units of the unscaled action
    assert entropy == pytest.approx(target, abs=0.05 * width)
    assert max(alphas) < 1.0
    assert abs(alphas[-1] - alphas[-200]) < 0.1 * alphas[-1], "alpha has settled"


def test_trap_5_a_target_that_forgets_the_scale_cannot_be_met() -> None:
    largest = math.log(2.0) + math.log(0.05)
    assert largest < -0.5  # no distribution on +-0.05 has EXPO's entropy of -d/2
    temperature = Temperature(-0.5, initial=0.1)
    optimizer = torch.optim.Adam(temperature.parameters(), lr=1e-2)
    for _ in range(1000):
        optimizer.zero_grad()
        temperature.loss(torch.full((8,), -largest)).backward()
        optimizer.step()
    assert float(temperature()) > 100.0, "that is the defect the scale in entropy_target takes away"


def test_trap_5_the_temperature_falls_where_there_is_entropy_to_spare_and_rises_where_it_lacks() -> None:
    for log_prob, sign in ((-3.0, 1.0), (3.0, -1.0)):
        temperature = Temperature(entropy_target(2))
        temperature.loss(torch.full((4,), log_prob)).backward()
        assert float(temperature.log_alpha.grad) * sign > 0


def test_impossible_targets_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.693"):
        entropy_target(3, 0.7)
    with pytest.raises(ConfigError, match="above 0"):
        Temperature(-1.0, initial=0.0)
