"""Figures by which a person finds the episodes worth a look: roughness, standing still, length, where the arm ended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robot.episode import Episode
from robot.types import EndReason

STILL_SHARE = 0.05  # of the episode set's typical speed: slower counts as still
OUTLIER = 3.5  # robust z-score beyond which a value stands out (Iglewicz and Hoaglin 1993)
NORMAL_MAD = 0.6745  # median absolute deviation of the standard normal distribution
END_FIELDS = ("tcp_position", "joint_position")


@dataclass(frozen=True)
class Score:
    """Figures of one episode. `remarks` name those that stand out among the episodes scored with it."""

    episode_id: str
    end_reason: EndReason
    steps: int
    duration_s: float
    jerk: float  # root mean square third difference of the executed action per step^3, each dimension in its own spread
    still: float  # share of steps that hardly moved
    end_distance: float  # robust z-score of the end position from the median end of the successes; nan: too few
    remarks: tuple[str, ...] = ()


def score(episodes: Sequence[Episode]) -> list[Score]:
    """Score episodes of one task against each other, in their order; empty ones are left out."""
    episodes = [episode for episode in episodes if len(episode)]
    if not episodes:
        return []
    spread = _spread(np.concatenate([_executed(episode) for episode in episodes]))
    speeds = [_speed(episode, spread) for episode in episodes]
    moving = np.concatenate(speeds)
    typical = float(np.median(moving[moving > 0])) if (moving > 0).any() else 0.0
    ends = _end_distances(episodes)
    jerks = [_jerk(episode, spread) for episode in episodes]
    stills = [float(np.mean(speed <= STILL_SHARE * typical)) if len(speed) else 1.0 for speed in speeds]
    lengths = [float(len(episode)) for episode in episodes]
    high = {"jerk": robust_z(jerks), "still": robust_z(stills), "long": robust_z(lengths)}
    scores = []
    for number, episode in enumerate(episodes):
        remarks = [name for name, z in high.items() if z[number] > OUTLIER]
        remarks += ["short"] if high["long"][number] < -OUTLIER else []
        remarks += ["end"] if ends[number] > OUTLIER else []
        scores.append(
            Score(
                episode_id=episode.info.episode_id,
                end_reason=episode.end_reason,
                steps=len(episode),
                duration_s=float(np.ptp(episode.columns["tick_time_ns"])) / 1e9,
                jerk=jerks[number],
                still=stills[number],
                end_distance=ends[number],
                remarks=tuple(remarks),
            )
        )
    return scores


def robust_z(values: Sequence[float]) -> np.ndarray:
    """Return the modified z-score of each value: distance from the median in median absolute deviations."""
    array = np.asarray(values, np.float64)
    return NORMAL_MAD * (array - np.median(array)) / _mad(array)


def _mad(values: np.ndarray) -> np.ndarray:
    """Return the median absolute deviation along the first axis, never zero."""
    centre = np.median(values, axis=0)
    mad = np.median(np.abs(values - centre), axis=0)
    return np.maximum(mad, 1e-3 * np.abs(centre) + 1e-9)


def _executed(episode: Episode) -> np.ndarray:
    actions = episode.columns["executed_action"]
    return actions[np.isfinite(actions).all(axis=1)]


def _spread(actions: np.ndarray) -> np.ndarray:
    """Return the range that holds nine tenths of a dimension's actions; 1 for one that never moves."""
    if not len(actions):
        return np.ones(actions.shape[1])
    low, high = np.percentile(actions, [5, 95], axis=0)
    return np.where(high - low > 1e-9, high - low, 1.0)


def _speed(episode: Episode, spread: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(_executed(episode), axis=0) / spread, axis=1)


def _jerk(episode: Episode, spread: np.ndarray) -> float:
    third = np.diff(_executed(episode) / spread, n=3, axis=0)
    return float(np.sqrt(np.mean(third**2))) if len(third) else 0.0


def _end_distances(episodes: Sequence[Episode]) -> list[float]:
    """Return how far each episode ended from where the successes do; nan without such a field or three successes."""
    name = next((f"observation/{f}" for f in END_FIELDS if f"observation/{f}" in episodes[0].columns), None)
    if name is None or any(name not in episode.columns for episode in episodes):
        return [float("nan")] * len(episodes)
    ends = np.stack([episode.columns[name][-1].ravel() for episode in episodes])
    good = ends[[episode.end_reason is EndReason.SUCCESS for episode in episodes]]
    if len(good) < 3:
        return [float("nan")] * len(episodes)
    distances = np.linalg.norm(ends - np.median(good, axis=0), axis=1)
    usual = np.linalg.norm(good - np.median(good, axis=0), axis=1)
    return (NORMAL_MAD * distances / max(float(np.median(usual)), 1e-6)).tolist()
