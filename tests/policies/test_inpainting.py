"""Real-time chunking: what is frozen begins the chunk, what is planned draws it, and nothing changes without either."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from policies.base.flow import FlowPolicy
from policies.data.demonstrations import Demonstrations, collect_from
from policies.inpainting import LARGEST_PULL, pull, soft_mask
from policies.steerable import ContinuingNetwork, SteerablePolicy
from robot.chunk_runner import ChunkRunner, PrefixPolicy
from tests.gates.two_gaps import TwoGaps, TwoGapsExpert
from tests.policies.families import FAMILIES, fit, make

SOLVED = ["diffusion", "diffusion-epsilon", "diffusion-unet", "diffusion-transformer", "flow", "flow-unet"]
FROZEN = 2


@pytest.fixture(scope="module")
def demonstrations() -> Demonstrations:
    return collect_from(TwoGaps(), TwoGapsExpert(), "gates/two-gaps", 40, seed=0)


def trained(name: str, demonstrations: Demonstrations) -> SteerablePolicy:
    policy = make(name, demonstrations, learning_rate=1e-3, hidden=(128, 128))
    fit(policy, demonstrations, 600)
    return policy


def test_the_mask_freezes_falls_and_ends_as_in_equation_5() -> None:
    mask = soft_mask(2, 5, 8)[:, 0].tolist()
    c = [(5 - i) / (5 - 2 + 1) for i in range(8)]
    expected = [1.0, 1.0, *(c[i] * (np.exp(c[i]) - 1) / (np.e - 1) for i in (2, 3, 4)), 0.0, 0.0, 0.0]
    assert mask == pytest.approx(expected, abs=1e-6)
    assert soft_mask(3, 3, 4)[:, 0].tolist() == [1.0, 1.0, 1.0, 0.0], "nothing is known beyond the frozen steps"
    assert soft_mask(0, 0, 3)[:, 0].tolist() == [0.0, 0.0, 0.0]


def test_the_weight_of_the_pull_is_that_of_equation_2() -> None:
    assert pull(0.0) == 0.0, "pure noise"
    assert pull(0.02) == LARGEST_PULL
    for tau in (0.3, 0.5, 0.75):
        r_squared = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        assert pull(tau) == pytest.approx(min(LARGEST_PULL, (1 - tau) / (tau * r_squared)))


@pytest.mark.parametrize("name", SOLVED)
def test_without_weight_it_is_the_plain_decoder(name: str, demonstrations: Demonstrations) -> None:
    policy = make(name, demonstrations)
    features = policy.encode(demonstrations.states[:7]).clone()
    noise, planned = torch.randn(7, 8, 2), torch.randn(7, 8, 2)
    with torch.no_grad():
        plain = policy.decode(features, noise)
        leaning = policy.network.decode_after(features, noise, planned, torch.zeros(8, 1))
    assert (leaning - plain).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["diffusion", "flow"])
def test_the_solver_itself_comes_to_the_frozen_actions_and_repeats_bit_for_bit(
    name: str, demonstrations: Demonstrations
) -> None:
    """Measured before the frozen actions are written over the beginning: the network agrees with them by then."""
    policy = trained(name, demonstrations)
    states = demonstrations.states[:64]
    generator = torch.Generator().manual_seed(0)
    noise, other = (torch.randn(64, 8, 2, generator=generator) for _ in range(2))
    with torch.no_grad():
        features = policy.encode(states)
        planned, plain = policy.decode(features, other), policy.decode(features, noise)
        weights = soft_mask(FROZEN, 8, 8)
        leaning = policy.network.decode_after(features, noise, planned, weights)
        again = policy.network.decode_after(features, noise, planned, weights)
    assert torch.equal(leaning, again)
    before, after = ((chunk - planned)[:, :FROZEN].abs().mean() for chunk in (plain, leaning))
    assert after < 0.35 * before, (before, after)


@pytest.mark.parametrize("name", ["diffusion", "flow"])
def test_the_seam_is_smoother_than_a_chunk_that_only_gets_a_new_beginning(
    name: str, demonstrations: Demonstrations
) -> None:
    """The jump from the last frozen action to the first free one, over starts of which both ways are open."""
    policy = trained(name, demonstrations)
    jumps: dict[str, list[float]] = {"naive": [], "continued": []}
    for start in range(60):
        observation = {"position": np.array([0.0, 0.02 * (start / 30 - 1)])}
        rng = np.random.default_rng(start)
        planned = policy.act(observation, rng.standard_normal((8, 2))).actions[1:]
        noise = rng.standard_normal((8, 2))
        for way, chunk in (
            ("naive", policy.act(observation, noise)),
            ("continued", policy.act_after(observation, planned, FROZEN, noise)),
        ):
            jumps[way].append(float(np.linalg.norm(chunk.actions[FROZEN] - planned[FROZEN - 1])))
    assert np.mean(jumps["continued"]) < 0.7 * np.mean(jumps["naive"]), {k: np.mean(v) for k, v in jumps.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_runs_asynchronously_and_begins_with_what_is_frozen(
    name: str, demonstrations: Demonstrations
) -> None:
    """Families that cannot lean answer plainly; the runner freezes the beginning of their chunks."""
    policy = make(name, demonstrations)
    policy.spec = replace(policy.spec, execution_horizon=4)
    assert isinstance(policy, PrefixPolicy)
    continues = ("diffusion", "flow", "shortcut")
    assert isinstance(policy.network, ContinuingNetwork) == (name.split("-", maxsplit=1)[0] in continues)
    runner = ChunkRunner(policy, f"async:{FROZEN}", in_real_time=True)
    runner.reset()
    given = []
    for step in range(9):
        chunk = runner.step({"position": np.array([0.01 * step, 0.0])}, step * 100_000_000)
        given += [chunk] if chunk is not None else []
    assert len(given) == 3
    for old, new in pairwise(given):
        np.testing.assert_array_equal(new.actions[:FROZEN], old.actions[4 : 4 + FROZEN])
        assert new.actions.shape == (8, 2)


def test_it_needs_no_grad_mode_of_its_caller(demonstrations: Demonstrations) -> None:
    policy = make("flow", demonstrations)
    assert isinstance(policy, FlowPolicy)
    observation, planned = {"position": np.zeros(2)}, np.full((4, 2), 0.5)
    noise = np.zeros((8, 2))
    expected = policy.act_after(observation, planned, FROZEN, noise).actions
    with torch.no_grad():
        np.testing.assert_array_equal(policy.act_after(observation, planned, FROZEN, noise).actions, expected)
    assert all(parameter.grad is None for parameter in policy.network.parameters())
