"""Our solvers and denoisers against the published ones: diffusers' loop, and the plain form of each network."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from policies.base.conditional_unet import ConditionalUnet
from policies.base.denoisers import each_step
from policies.base.lerobot.reference_unet import reference_unet
from policies.bench import PlainMlp, PlainUnet, make_scheduler, solve_plainly
from policies.data.demonstrations import Demonstrations
from policies.network import seeded
from policies.steerable import SteerablePolicy
from tests.policies.families import make


def decoded_by_diffusers(policy: SteerablePolicy, features: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    config, denoiser = policy.config, policy.network.denoiser
    plain = (PlainMlp if config.denoiser == "mlp" else PlainUnet)(denoiser)
    scheduler = make_scheduler(config.train_steps, config.spacing, config.prediction)
    settings = {"train_steps": config.train_steps, "count": config.inference_steps, "spacing": config.spacing}
    return solve_plainly(plain, features, noise, **settings, scheduler=scheduler)


@pytest.mark.parametrize(("spacing", "count"), [("trailing", 5), ("trailing", 20), ("leading", 8), ("leading", 16)])
@pytest.mark.parametrize("name", ["diffusion", "diffusion-unet"])
@torch.inference_mode()
def test_the_solver_is_diffusers_ddim(name: str, spacing: str, count: int, demonstrations: Demonstrations) -> None:
    """`leading` for any number of steps, `trailing` where it divides the training's: else diffusers misses its grid."""
    policy = make(name, demonstrations, inference_steps=count, spacing=spacing)
    features, noise = torch.randn(7, 8), torch.randn(7, 8, 3)
    assert (policy.decode(features, noise) - decoded_by_diffusers(policy, features, noise)).abs().max() < 1e-5


def batch_gap(policy: SteerablePolicy, features: torch.Tensor, noise: torch.Tensor) -> float:
    """Return how far diffusers' loop comes apart between one observation at a time and all at once."""
    rows = zip(features.split(1), noise.split(1), strict=True)
    alone = torch.cat([decoded_by_diffusers(policy, one, its_noise) for one, its_noise in rows])
    return float((alone - decoded_by_diffusers(policy, features, noise)).abs().max())


@pytest.mark.parametrize("count", [5, 20])
@torch.inference_mode()
def test_noise_prediction_rounds_as_coarsely_in_diffusers(count: int, demonstrations: Demonstrations) -> None:
    """A first step from a signal of 0.0025 shows a rounding 400-fold: in diffusers' loop, batch 1 against 256, too."""
    torch.manual_seed(0)
    coarse = make("diffusion-epsilon", demonstrations, inference_steps=count)
    fine = make("diffusion", demonstrations, inference_steps=count)
    features, noise = torch.randn(256, 8), torch.randn(256, 8, 3)
    gap = batch_gap(coarse, features, noise)
    assert gap > 10 * batch_gap(fine, features, noise)
    differences = (coarse.decode(features, noise) - decoded_by_diffusers(coarse, features, noise)).abs()
    assert differences.max() < 10 * gap
    assert (differences < 1e-5).float().mean() > 0.99


@torch.inference_mode()
def test_conditions_are_the_same_row_by_row_and_all_at_once(demonstrations: Demonstrations) -> None:
    times = torch.tensor([19.0, 7.0, 0.0])
    for name in ("diffusion", "diffusion-unet", "diffusion-transformer"):
        denoiser = make(name, demonstrations).network.denoiser
        features, folded = torch.randn(4, 8), denoiser.fold(torch.randn(4, 8, 3))
        for time, condition in zip(times, each_step(denoiser, features, times), strict=True):
            alone = denoiser.condition(features, time.expand(4))
            torch.testing.assert_close(denoiser(folded, condition), denoiser(folded, alone), atol=1e-5, rtol=0)


def test_a_trailing_grid_that_does_not_divide_ends_at_no_noise() -> None:
    """Each step goes to the next time of the grid: diffusers steps by the rounded-down ratio and falls beside it."""
    from policies.base.diffusion import DdimSchedule

    schedule = DdimSchedule(20, 8, "trailing")
    assert schedule.times.tolist() == [19, 17, 14, 11, 9, 7, 4, 1]
    for (_, _, next_signal, next_noise), (signal, noise, _, _) in zip(schedule.steps, schedule.steps[1:]):
        assert (next_signal, next_noise) == (signal, noise)
    assert schedule.steps[-1][2:] == (1.0, 0.0)


def test_the_noise_schedule_is_that_of_training_too(demonstrations: Demonstrations) -> None:
    policy = make("diffusion", demonstrations)
    scheduler = DDIMScheduler(num_train_timesteps=20, beta_schedule="squaredcos_cap_v2")
    chunks, noise, times = torch.rand(20, 8, 3), torch.randn(20, 8, 3), torch.arange(20)
    schedule = policy.network.schedule
    ours = schedule.signal[times, None, None] * chunks + schedule.noise[times, None, None] * noise
    torch.testing.assert_close(ours, scheduler.add_noise(chunks, noise, times))  # pyright: ignore[reportArgumentType]


def test_the_unet_is_lerobots_on_the_same_weights() -> None:
    if importlib.util.find_spec("lerobot") is None:
        pytest.skip("lerobot is not installed here: make test CONSTRAINTS=constraints/lerobot.txt")
    config = SimpleNamespace(kernel=5, groups=8, time_features=16, channels=(16, 32))
    with seeded(0):
        ours = ConditionalUnet(8, 3, 8, config).eval()
    chunks, features, times = torch.randn(5, 8, 3), torch.randn(5, 8), torch.arange(5).float()
    with torch.inference_mode():
        expected = reference_unet(ours)(chunks, times, features)
        found = ours.unfold(ours(ours.fold(chunks), ours.condition(features, times)))
    assert (found - expected).abs().max() < 1e-5
