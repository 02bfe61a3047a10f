"""One correction for three learners: exact where it can be expressed, left out where it cannot."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.base import flow
from policies.base.behavior_cloning import BehaviorCloning
from policies.data.demonstrations import Demonstrations
from policies.run import Run
from policies.steerable import SteerablePolicy
from policies.takeovers.corrections import corrections_of, invert
from robot.errors import ConfigError


@pytest.fixture(scope="module")
def steered(demonstrations: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> SteerablePolicy:
    folder: Path = tmp_path_factory.mktemp("flow")
    config = replace(flow.PRESETS["debug"], action_horizon=4, execution_horizon=4, inference_steps=3, steps=300)
    return flow.train_base(demonstrations, config, Run(folder, tensorboard=False), seed=0)[0]


def test_what_the_base_can_do_is_inverted(steered: SteerablePolicy, demonstrations: Demonstrations) -> None:
    states = demonstrations.states[:12]
    noise = torch.randn((12, *steered.noise_spec[0]), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        chunks = steered.decode(steered.encode(states), noise).clamp(-1.0, 1.0)
    found = invert(steered, states, chunks, torch.ones(12, 4, 1))
    with torch.no_grad():
        again = steered.decode(steered.encode(states), found.noise).clamp(-1.0, 1.0)
    assert (again - chunks).abs().max() < 0.15
    assert found.error.max() < 0.05
    drawn = torch.randn(noise.shape, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        other = steered.decode(steered.encode(states), drawn).clamp(-1.0, 1.0)
    assert (other - chunks).abs().mean() > 4 * (again - chunks).abs().mean(), "any noise would not do"


def test_one_correction_teaches_all_three(steered: SteerablePolicy, demonstrations: Demonstrations) -> None:
    trajectory = demonstrations.trajectories[0]
    states, actions = trajectory.states[:8], trajectory.actions[:8]
    base = actions - 0.1 * steered.actions.half
    taught = corrections_of(steered, states, actions, base, residual_scale=0.2)
    assert torch.allclose(taught.residuals, torch.full((8, 3), 0.5), atol=1e-5)
    assert taught.is_in_reach.all()
    composed = steered.actions.normalize(base) + 0.2 * taught.residuals.numpy()
    assert np.allclose(steered.actions.denormalize(composed), actions, atol=1e-6), "base and residual make the action"
    assert np.allclose(taught.chunks[0].numpy(), steered.actions.normalize(actions[:4]).clip(-1, 1), atol=1e-6)
    assert taught.mask[-1].ravel().tolist() == [1.0, 0.0, 0.0, 0.0], "no chunk reaches beyond the person's ticks"
    assert taught.noise is not None
    assert taught.is_decodable.float().mean() > 0.5


def test_what_cannot_be_expressed_is_left_out(steered: SteerablePolicy, demonstrations: Demonstrations) -> None:
    states = demonstrations.trajectories[0].states[:8]
    low, high = steered.actions.denormalize(np.array([-np.ones(3), np.ones(3)]))
    strange = np.where(np.arange(8)[:, None] % 2 == 0, low, high)  # from one end of the range to the other
    taught = corrections_of(steered, states, strange, -strange, residual_scale=0.2)
    assert not taught.is_in_reach.any()
    assert taught.is_decodable.float().mean() < 0.5


def test_a_base_without_noise_says_so(base: BehaviorCloning, demonstrations: Demonstrations) -> None:
    states, actions = demonstrations.states[:4], demonstrations.actions[:4]
    with pytest.raises(ConfigError, match="no noise"):
        invert(base, states, torch.zeros(4, 8, 3), torch.ones(4, 8, 1))
    taught = corrections_of(base, states, actions, actions, residual_scale=0.2)
    assert taught.noise is None
    assert not taught.is_decodable.any()
    assert not taught.residuals.any()
