"""A flow that is told the length of its step: a long step equals two short ones, and one carries noise to the data."""

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.base.denoisers import each_step
from policies.base.flow import TIME_SCALE
from policies.shortcut_flow import DEVIATION, HALVINGS, PLAIN, PRESETS, Preconditioned, ShortcutFlowNetwork
from policies.steerable import SteerablePolicy
from robot.errors import ConfigError
from tests.policies.families import decode_prior, fit, make, one_dimensional

WAYS = np.array([-0.8, 0.8])


def between_the_ways(policy: SteerablePolicy) -> float:
    """Return which share of the chunks that one step gives lies far from both ways."""
    found = decode_prior(policy, np.zeros((512, 1)))
    return float((np.abs(found[..., None] - WAYS).min(axis=-1) > 0.4).mean())


def test_one_step_gives_one_of_two_ways_where_a_plain_flow_s_falls_between() -> None:
    demonstrations = one_dimensional([-0.8, 0.8])
    lost = {}
    for name in ("flow", "shortcut-flow"):
        policy = make(name, demonstrations, inference_steps=1, action_horizon=1, execution_horizon=1, steps=1600)
        fit(policy, demonstrations, 1600)
        lost[name] = between_the_ways(policy)
    assert lost["flow"] > 0.5 and lost["shortcut-flow"] < 0.2, lost


def network(**changes: object) -> ShortcutFlowNetwork:
    found = make("shortcut-flow", one_dimensional([0.0]), **changes).network
    assert isinstance(found, ShortcutFlowNetwork)
    return found


def test_the_target_of_a_long_step_is_two_of_half_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a velocity of x + 10 t + 100 level the mean of both halves can be worked out by hand (eq. 5)."""
    flow = network()

    def velocity(chunks: Tensor, times: Tensor, features: Tensor, levels: Tensor) -> Tensor:
        return chunks + 10.0 * times[:, None, None] + 100.0 * levels[:, None, None]

    monkeypatch.setattr(flow, "velocity", velocity)
    chunks, times, levels = torch.full((2, 1, 1), 2.0), torch.tensor([1.0, 0.5]), torch.tensor([0, 1])
    found = flow.two_halves(chunks, times, torch.zeros(2, 1), levels).flatten()
    first = torch.tensor([2.0 + 10.0 + 100.0, 2.0 + 5.0 + 200.0])  # of half the length: levels 1 and 2
    moved = 2.0 - torch.tensor([0.5, 0.25]) * first
    second = moved + torch.tensor([5.0, 2.5]) + torch.tensor([100.0, 200.0])
    torch.testing.assert_close(found, 0.5 * (first + second))


def test_the_number_of_steps_says_which_length_is_asked_for() -> None:
    levels = {count: network(inference_steps=count).level for count in (1, 2, 4, 8, 3, 10)}
    assert levels == {1: 0, 2: 1, 4: 2, 8: HALVINGS - 1, 3: PLAIN, 10: PLAIN}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_one_of_both_untrained_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="shortcut_share is"):
        type(PRESETS["cpu"])(shortcut_share=share)


@pytest.mark.parametrize("denoiser", ["mlp", "unet", "transformer"])
def test_what_of_the_velocity_is_linear_in_the_chunk_is_not_left_to_the_network(denoiser: str) -> None:
    """With an inner network that gives nothing, the velocity is the best linear guess for data of sigma_d."""
    outer = network(denoiser=denoiser).denoiser
    assert isinstance(outer, Preconditioned)
    noisy, features = torch.randn(2, 8, 1), torch.zeros(2, 1 + PLAIN + 1)
    outer.inner.forward = lambda folded, conditions: torch.zeros_like(folded)
    generator = torch.Generator().manual_seed(0)
    data, noise = DEVIATION * torch.randn(200_000, generator=generator), torch.randn(200_000, generator=generator)
    times = torch.tensor([1.0, 0.5, 0.1])
    for time, condition in zip(times, each_step(outer, features, TIME_SCALE * times), strict=True):
        found = outer.unfold(outer(outer.fold(noisy), condition)) / noisy
        mixed = time * noise + (1.0 - time) * data
        slope = (mixed * (noise - data)).mean() / mixed.square().mean()
        torch.testing.assert_close(found, slope.expand_as(found), atol=0.02, rtol=0.0)
        each = outer.condition(features, TIME_SCALE * time.expand(2))
        torch.testing.assert_close(outer.unfold(outer(outer.fold(noisy), each)) / noisy, found)
