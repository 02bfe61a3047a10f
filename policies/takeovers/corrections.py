"""One correction as a target for three learners: the clone, the residual over a base, and the noise that steers it.

A person's action says what the clone should do, how far that is from what the base does, and, where the base can make
it at all, from which noise (interventions spec, section 15.8). What a learner cannot express is left out, not bent.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies.data.chunks import cut_chunks
from policies.steerable import SteerablePolicy
from robot.errors import ConfigError

LEARNING_RATE = 0.1
PRIOR_WEIGHT = 1e-3  # of the pull towards noise that the base was trained with


@dataclass(frozen=True)
class Inversion:
    """Noise (batch, *noise_spec[0]) that decodes nearest to given chunks, and what is left [normalised units, RMS]."""

    noise: Tensor
    error: Tensor  # (batch,)


def invert(
    policy: SteerablePolicy,
    states: np.ndarray,
    chunks: Tensor,
    mask: Tensor,
    *,
    steps: int = 150,
    tries: int = 4,
    seed: int = 0,
) -> Inversion:
    """Find the noise from which a base decodes what a person did, by descent on the decoder's own error.

    Args:
        policy: a base with noise.
        states: flat, shape (batch, state).
        chunks: normalised actions, shape (batch, action_horizon, action_dim).
        mask: which points of a chunk the person drove, shape (batch, action_horizon, 1).
        steps: of Adam.
        tries: beginnings of the descent, drawn from the prior; the best one counts.
        seed: of the beginnings.
    """
    if policy.noise_spec is None:
        raise ConfigError(f"a {policy.kind} policy has no noise to invert an action to: take diffusion, flow or act")
    count, shape = len(states), policy.noise_spec[0]
    with torch.no_grad():
        features = policy.encode(states).repeat_interleave(tries, dim=0)
    wanted, kept = chunks.repeat_interleave(tries, dim=0), mask.repeat_interleave(tries, dim=0)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((count * tries, *shape), generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([noise], lr=LEARNING_RATE)

    def errors() -> Tensor:
        decoded = policy.network.decode(features, noise).clamp(-1.0, 1.0)
        square = (decoded - wanted).square() * kept
        return square.sum(dim=(-2, -1)) / (kept.sum(dim=(-2, -1)) * wanted.shape[-1])

    for _ in range(steps):
        loss = (errors() + PRIOR_WEIGHT * noise.square().flatten(1).mean(dim=1)).sum()
        optimizer.zero_grad()
        loss.backward(inputs=[noise])
        optimizer.step()
    with torch.no_grad():
        left = errors().sqrt().unflatten(0, (count, tries))
        best = left.argmin(dim=1)
        rows = torch.arange(count)
        return Inversion(noise.detach().unflatten(0, (count, tries))[rows, best], left[rows, best])


@dataclass(frozen=True)
class Corrections:
    """What a stretch of a person's ticks teaches, row by row; T rows, all in the base's normalised units."""

    states: np.ndarray  # (T, state), as observed
    chunks: Tensor  # (T, action_horizon, action_dim): what a clone is to do
    mask: Tensor  # (T, action_horizon, 1)
    residuals: Tensor  # (T, action_dim), in [-1, 1]: what a residual actor is to add, in units of its scale
    is_in_reach: Tensor  # (T,) whether the residual alone gets there
    noise: Tensor | None  # (T, *noise_spec[0]): what a steering actor is to choose; None where the base has no noise
    is_decodable: Tensor  # (T,) whether that noise decodes to the person's actions


def corrections_of(
    policy: SteerablePolicy,
    states: np.ndarray,
    actions: np.ndarray,
    base_actions: np.ndarray,
    *,
    residual_scale: float,
    largest_error: float = 0.1,
    largest_noise: float = 2.0,
    seed: int = 0,
) -> Corrections:
    """Return what one stretch of a person's ticks teaches.

    Args:
        policy: the base.
        states: flat, one per tick, shape (T, state).
        actions: of the person, station units, shape (T, action_dim).
        base_actions: of the base at these ticks, from the record, shape (T, action_dim).
        residual_scale: of the residual actor, share of the action range.
        largest_error: RMS in normalised units above which an inversion is not believed.
        largest_noise: RMS of the noise above which it lies outside what the base was trained with.
        seed: of the inversion.
    """
    wanted = policy.actions.normalize(actions)
    chunks, mask = cut_chunks(wanted.clip(-1.0, 1.0), policy.spec.action_horizon)
    offsets = torch.from_numpy((wanted - policy.actions.normalize(base_actions)) / residual_scale).float()
    rows, masks = torch.from_numpy(np.float32(chunks)), torch.from_numpy(mask)[..., None]
    found = None if policy.noise_spec is None else invert(policy, states, rows, masks, seed=seed)
    none = torch.zeros(len(states), dtype=torch.bool)
    return Corrections(
        states,
        rows,
        masks,
        offsets.clamp(-1.0, 1.0),
        (offsets.abs() <= 1.0).all(dim=1),
        None if found is None else found.noise,
        none if found is None else (found.error <= largest_error) & (_rms(found.noise) <= largest_noise),
    )


def _rms(noise: Tensor) -> Tensor:
    return noise.flatten(1).square().mean(dim=1).sqrt()
