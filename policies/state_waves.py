"""Sines and cosines of a state beside it, so that small networks can tell states apart that are close to each other.

A network fits slow changes of its input first. Where a value falls from 1 to 0 within a tenth of a standard deviation,
as beside a narrow hole, bootstrapped critics carry the high value across for thousands of updates, and the actor
follows it. Fixed frequencies of the normalised state remove most of that (Tancik et al. 2020; for values Yang et al.
2022, "Overcoming the spectral bias of neural value approximation").
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def waves(state: Tensor, frequencies: Sequence[float]) -> Tensor:
    """Return (..., state) as (..., state * (1 + 2 * frequencies)): x, then sin(k x), cos(k x) of each frequency k.

    Frequencies are in radians per standard deviation; none leaves the state as it is.
    """
    if not frequencies:
        return state
    angles = [k * state for k in frequencies]
    return torch.cat([state, *(wave for angle in angles for wave in (angle.sin(), angle.cos()))], dim=-1)


def waves_size(state: int, frequencies: Sequence[float]) -> int:
    """Return the width of `waves` of a state of this width."""
    return state * (1 + 2 * len(frequencies))
