"""How much each tick counts in imitation: HG-DAgger, IWR and Sirius as weightings of one set of ticks.

Weights have mean 1 over the ticks that count, so the learning rate means the same with each of them.
"""

from collections.abc import Callable
from enum import IntEnum

import numpy as np

from policies.takeovers.labels import ticks_to_takeover
from policies.takeovers.ticks import Ticks
from robot.errors import ConfigError

SIRIUS_PRE_TICKS = 15  # before each takeover, cut at the previous one
SIRIUS_INTERVENTION, SIRIUS_PRE = 0.5, 0.002  # shares of the whole weight


class Kind(IntEnum):
    """What a tick is to a weighting."""

    ROLLOUT = 0
    DEMONSTRATION = 1
    INTERVENTION = 2
    PRE_INTERVENTION = 3
    NOTHING = 4  # a blend, a hold: nobody's intention


def kinds_of(ticks: Ticks, pre_ticks: int = SIRIUS_PRE_TICKS) -> np.ndarray:
    """Return the Kind of each tick of an episode made by policy and person, shape (T,)."""
    kinds = np.full(len(ticks), Kind.ROLLOUT)
    kinds[ticks_to_takeover(ticks, pre_ticks) < 0] = Kind.PRE_INTERVENTION
    kinds[ticks.is_human] = Kind.INTERVENTION
    kinds[~ticks.is_driven | (ticks.blend_weight < 1.0)] = Kind.NOTHING
    return kinds


def hg_dagger(kinds: np.ndarray) -> np.ndarray:
    """Weigh demonstrations and a person's ticks alike, and nothing else (Kelly et al. 2019)."""
    return _scaled(np.isin(kinds, (Kind.DEMONSTRATION, Kind.INTERVENTION)).astype(np.float64))


def iwr(kinds: np.ndarray) -> np.ndarray:
    """Give the interventions and all other ticks half of the weight each (Mandlekar et al. 2020)."""
    weights = np.zeros(len(kinds))
    is_pool = kinds == Kind.INTERVENTION
    for pool in (is_pool, ~is_pool & (kinds != Kind.NOTHING)):
        weights[pool] = 1.0 / max(pool.sum(), 1)
    return _scaled(weights)


def sirius(kinds: np.ndarray) -> np.ndarray:
    """Weigh the four kinds as Sirius does (Liu et al. 2023).

    A demonstration counts 1, all interventions together half of the whole weight, what led to them next to nothing,
    and roll-outs what is left, at least nothing.
    """
    counted = max((kinds != Kind.NOTHING).sum(), 1)
    shares = {kind: (kinds == kind).sum() / counted for kind in Kind}
    left = 1.0 - SIRIUS_INTERVENTION - SIRIUS_PRE - shares[Kind.DEMONSTRATION]
    totals = {
        Kind.DEMONSTRATION: shares[Kind.DEMONSTRATION],
        Kind.INTERVENTION: SIRIUS_INTERVENTION,
        Kind.PRE_INTERVENTION: SIRIUS_PRE,
        Kind.ROLLOUT: max(left, 0.0),
    }
    weights = np.zeros(len(kinds))
    for kind, total in totals.items():
        weights[kinds == kind] = total / max(shares[kind], 1e-12)
    return _scaled(weights)


def _scaled(weights: np.ndarray) -> np.ndarray:
    """Return the weights with mean 1 over the ticks that count."""
    counting = weights > 0.0
    if not counting.any():
        raise ConfigError("no tick counts: imitation needs demonstrations or a person's ticks")
    return weights / weights[counting].mean()


WEIGHTINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"hg_dagger": hg_dagger, "iwr": iwr, "sirius": sirius}
