"""Whether a base can be steered by its noise at all, measured before anything is executed (DSRL spec, section 11).

On logged observations the base is decoded with many noises. Where its chunks hardly differ there is nothing to choose
from, and no learner in the noise can help; where they differ, that one of them is better has yet to be seen.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from policies.noise_decoder import NoiseDecoder
from robot.errors import CheckpointMismatch

STILL = 1e-3  # of half the demonstrated range: a dimension that moves less has no spread to compare with
TWO_MODES = 5.0 / 9.0  # Sarle's coefficient of a uniform distribution: above it there are two modes


@dataclass(frozen=True)
class Steerability:
    """How the chunks of one observation differ with the noise."""

    spread: float  # standard deviation over noises / that of the demonstrated actions, mean over dimensions and states
    two_modes: float  # share of states whose chunks fall into two groups along their main direction
    rank: float  # effective number of directions that the chunks vary in, mean over states

    def metrics(self) -> dict[str, float]:
        return {f"steerability/{name}": value for name, value in vars(self).items()}

    def __str__(self) -> str:
        return (
            f"spread {self.spread:.3f} of the demonstrated actions', two modes at {100 * self.two_modes:.0f} % of "
            f"observations, {self.rank:.1f} directions"
        )


@torch.no_grad()
def probe(
    decoder: NoiseDecoder, features: Tensor, actions: Tensor, *, seed: int, samples: int = 64, states: int = 64
) -> Steerability:
    """Decode `samples` noises of the clipped prior at each of up to `states` observations.

    Args:
        decoder: the base and its noise.
        features: of logged observations, shape (rows, features).
        actions: demonstrated actions in normalised units, shape (rows, action).
        seed: of the noise and of which observations.
        samples: noises at each.
        states: observations.
    """
    generator = torch.Generator().manual_seed(seed)
    picked = features[torch.randperm(len(features), generator=generator)[:states]]
    noise = decoder.space.prior(len(picked) * samples, generator)
    chunks = decoder(picked.repeat_interleave(samples, dim=0), noise).unflatten(0, (len(picked), samples))
    steps = chunks.unflatten(2, (decoder.steps, decoder.width))
    reference = actions.std(dim=0)
    moving = reference > STILL
    spread = (steps.std(dim=1).mean(dim=(0, 1)) / reference)[moving].mean() if moving.any() else torch.zeros(())
    centred = chunks - chunks.mean(dim=1, keepdim=True)
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    variances = sizes.square()
    rank = variances.sum(dim=1).square() / variances.square().sum(dim=1).clamp(min=1e-12)
    along = (centred @ directions[:, :1].mT).squeeze(-1)
    return Steerability(float(spread), float((_bimodality(along) > TWO_MODES).float().mean()), float(rank.mean()))


def _bimodality(values: Tensor) -> Tensor:
    """Return Sarle's coefficient, (skewness^2 + 1) / kurtosis, along the last axis."""
    centred = values - values.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1).clamp(min=1e-12)
    skewness = centred.pow(3).mean(dim=-1) / variance.pow(1.5)
    return (skewness.square() + 1.0) / (centred.pow(4).mean(dim=-1) / variance.square()).clamp(min=1e-12)


def require_spread(found: Steerability, least: float) -> None:
    """Raise CheckpointMismatch where noise changes too little."""
    if found.spread < least:
        raise CheckpointMismatch(
            f"this base is not steerable: {found}; a spread of {least} is wanted (min_spread). Chunks hardly depend "
            "on the noise: train it on more varied demonstrations or for fewer steps, widen `box`, or improve it "
            "with resfit"
        )


def require_success(successes: int, episodes: int, least: int) -> None:
    """Raise CheckpointMismatch where the base's own noise led too rarely to what the noise is to be steered to."""
    if successes < least:
        raise CheckpointMismatch(
            f"this base is not steerable here: {successes} of its {episodes} warm-up episodes succeeded, {least} are "
            "wanted (min_successes). Steering chooses among what a base already does: give a base that succeeds at "
            "times, a longer warmup_steps, or demonstrations (demo_fraction)"
        )
