"""Tell recovery from correction without the operator's key, and how well that agrees with the key.

Each state gets the time index of its nearest state in the demonstrations. A person who recovers goes back in it, one
who corrects goes forward: the split is where the index is lowest (RaC's definitions, made operational).
"""

import numpy as np
from scipy.spatial import KDTree

from policies.data.trajectories import Trajectory
from policies.normalization import StateNormalizer

SMOOTHING = 3  # ticks of the running mean of the index


class DemonstratedTime:
    """The time index, 0 at a demonstration's beginning and 1 at its end, of the nearest demonstrated state."""

    def __init__(self, demonstrations: list[Trajectory], states: StateNormalizer) -> None:
        self._states = states
        self._tree = KDTree(np.concatenate([states.normalize(item.states) for item in demonstrations]))
        self._times = np.concatenate([np.linspace(0.0, 1.0, len(item.states)) for item in demonstrations])

    def of(self, states: np.ndarray) -> np.ndarray:
        """Return the index of states (T, state), shape (T,)."""
        _, nearest = self._tree.query(self._states.normalize(states))
        return self._times[np.atleast_1d(nearest)]

    def distance(self, states: np.ndarray) -> np.ndarray:
        """Return how far states (T, state) are from anything demonstrated, in normalised units, shape (T,)."""
        return np.atleast_1d(self._tree.query(self._states.normalize(states))[0])


def recovery_of(times: np.ndarray) -> np.ndarray:
    """Say which ticks of one intervention are recovery, by their time indices, shape (T,): up to the lowest one."""
    width = min(SMOOTHING, len(times))
    padded = np.pad(times, (width // 2, (width - 1) // 2), mode="edge")
    smooth = np.convolve(padded, np.ones(width) / width, mode="valid")
    lowest = len(smooth) - 1 - int(np.argmin(smooth[::-1]))
    return np.arange(len(times)) < lowest


def agreement(found: np.ndarray, marked: np.ndarray) -> float:
    """Return the F1 of `found` recovery ticks against those that the operator marked; 1 where neither has any."""
    both, either = (found & marked).sum(), found.sum() + marked.sum()
    return float(2.0 * both / either) if either else 1.0
