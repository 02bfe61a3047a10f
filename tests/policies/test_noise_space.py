"""Coordinates of noise: what a choice is in each mode, and that the prior stays the prior (DSRL section 11)."""

from typing import Any

import numpy as np
import pytest
import torch

from policies.noise_space import NoiseSpace
from robot.errors import ConfigError

SHAPE = (8, 3)
ALL: dict[str, dict[str, Any]] = {
    "full": {},
    "repeated": {},
    "low_rank": {"rank": 3},
    "active": {"active": (0, 2)},
}
SIZES = {"full": 24, "repeated": 3, "low_rank": 9, "active": 16}


def space(mode: str, **changes: Any) -> NoiseSpace:
    return NoiseSpace(SHAPE, mode, **({"box": 1.5} | ALL[mode] | changes))


def draw(made: NoiseSpace, count: int = 4, seed: int = 0) -> torch.Tensor:
    return made.prior(count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ALL)
def test_every_mode_gives_noise_of_the_bases_shape_and_equal_choices_equal_noise(mode: str) -> None:
    made = space(mode)
    coordinates = draw(made)
    assert coordinates.shape == (4, SIZES[mode])
    assert made.noise(coordinates).shape == (4, *SHAPE)
    assert torch.equal(made.noise(coordinates), space(mode).noise(coordinates)), "what is not chosen is a fixed draw"


def test_trap_2_the_prior_is_clipped_to_the_box_before_anything_is_stored() -> None:
    made = space("full")
    coordinates = draw(made, 5000)
    assert float(coordinates.abs().max()) == 1.0
    noise = made.noise(coordinates)
    assert float(noise.abs().max()) == pytest.approx(1.5)
    inside = coordinates.abs() < 1.0
    assert float((~inside).float().mean()) == pytest.approx(0.1336, abs=0.005), "2 (1 - Phi(1.5))"
    assert float((made.noise(coordinates).flatten(1)[inside]).std()) == pytest.approx(0.742, abs=0.01)


def test_the_box_scales_the_noise_of_one_choice() -> None:
    choice = torch.full((1, 24), 0.5)
    torch.testing.assert_close(space("full", box=2.0).noise(choice), torch.full((1, *SHAPE), 1.0))
    torch.testing.assert_close(space("full", box=0.5).noise(choice), torch.full((1, *SHAPE), 0.25))


def test_repeated_noise_is_one_vector_at_every_point() -> None:
    noise = space("repeated").noise(draw(space("repeated")))
    assert torch.equal(noise, noise[:, :1].expand_as(noise))
    assert not torch.equal(noise[0], noise[1])


def test_low_rank_noise_keeps_the_priors_variance_at_every_point() -> None:
    made = [space("low_rank", box=100.0, seed=seed) for seed in range(400)]
    noise = torch.cat([one.noise(draw(one, 20, seed)) for seed, one in enumerate(made)])
    np.testing.assert_allclose(noise.var(dim=0).numpy(), 1.0, atol=0.2)
    basis = made[0]._basis
    torch.testing.assert_close(basis.T @ basis, torch.eye(3))
    torch.testing.assert_close(basis.T @ made[0]._rest, torch.zeros(3, 3), atol=1e-5, rtol=0.0)


def test_low_rank_of_full_rank_chooses_everything() -> None:
    made = space("low_rank", rank=8)
    torch.testing.assert_close(made._rest, torch.zeros(SHAPE), atol=1e-5, rtol=0.0)
    assert made.size == 24


def test_active_noise_leaves_the_other_dimensions_at_their_seeded_draw() -> None:
    made = space("active")
    noise = made.noise(draw(made))
    assert torch.equal(noise[0, :, 1], noise[3, :, 1])
    assert not torch.equal(noise[0, :, 0], noise[3, :, 0])
    other = space("active", seed=1)
    assert not torch.equal(other.noise(draw(other))[0, :, 1], noise[0, :, 1])


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"mode": "half"}, "full, repeated, low_rank, active"),
        ({"box": 0.0}, "above 0"),
        ({"mode": "low_rank", "rank": 9}, "1..8"),
        ({"mode": "active"}, "at least one"),
        ({"mode": "active", "active": (3,)}, "0..2"),
        ({"shape": (32,), "mode": "repeated"}, "choose full or active"),
    ],
)
def test_impossible_noise_is_refused(bad: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        NoiseSpace(**({"shape": SHAPE} | bad))
