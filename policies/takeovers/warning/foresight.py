"""What a warning is worth: how long before the takeovers it came, and how often it came for nothing.

A warning begins where the risk reaches a threshold and lasts while it is reached, small gaps included. It was right
where a person takes over at most `LONGEST_S` after it began: who warns all the time is wrong all the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from policies.takeovers.labels import before_takeover
from policies.takeovers.ticks import Ticks
from policies.takeovers.warning.forecast import TakeoverForecast, Watched, driven_since

LONGEST_S = 2.0  # a warning that came earlier was about something else
GAP_TICKS = 2  # so many ticks below the threshold do not end a warning
SECONDS_PER_MINUTE = 60.0
THRESHOLDS = 51  # that are tried


@dataclass(frozen=True)
class Foresight:
    """Warnings of some episodes against the takeovers in them."""

    leads_s: tuple[float, ...]  # of each takeover, 0 where nobody was warned
    false_alarms: int
    policy_s: float  # for how long the policy drove

    def warned(self, lead_s: float) -> float:
        """Return the share of takeovers that were warned of so long before; nan without any takeover."""
        return float(np.mean(np.array(self.leads_s) >= lead_s - 1e-9)) if self.leads_s else float("nan")

    @property
    def median_lead_s(self) -> float:
        return float(np.median(self.leads_s)) if self.leads_s else float("nan")

    @property
    def false_alarms_per_min(self) -> float:
        return self.false_alarms / max(self.policy_s / SECONDS_PER_MINUTE, 1e-9)


def foresee(episodes: Sequence[Watched], risks: Sequence[np.ndarray], threshold: float, rate_hz: float) -> Foresight:
    """Hold the warnings of `risks`, one array of (T,) for each episode, against the episodes' takeovers."""
    leads: list[float] = []
    false_alarms = policy_ticks = 0
    for episode, risk in zip(episodes, risks, strict=True):
        for run, ends_taken in policy_runs(episode.ticks):
            policy_ticks += len(run)
            begun = [(len(run) - first) / rate_hz for first in warnings_of(risk[run] >= threshold)]
            right = [lead for lead in begun if ends_taken and lead <= LONGEST_S]
            false_alarms += len(begun) - len(right)
            if ends_taken:
                leads.append(max(right, default=0.0))
    return Foresight(tuple(leads), false_alarms, policy_ticks / rate_hz)


def policy_runs(ticks: Ticks) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield the ticks of each stretch that the policy drove, and whether a person took over at its end."""
    driven = np.flatnonzero(ticks.is_policy)
    since, taken = driven_since(ticks), before_takeover(ticks)
    for run in np.split(driven, np.flatnonzero(np.diff(since[driven])) + 1):
        if len(run):
            yield run, bool(taken[run[-1]])


def warnings_of(reached: np.ndarray) -> list[int]:
    """Return where the warnings of one stretch begin, by whether the threshold is reached at its ticks, shape (T,)."""
    high = np.flatnonzero(reached)
    return high[np.diff(high, prepend=-GAP_TICKS - 2) > GAP_TICKS + 1].tolist()


def lowest_threshold(
    forecast: TakeoverForecast, episodes: Sequence[Watched], rate_hz: float, *, false_alarms_per_min: float
) -> float:
    """Return the lowest threshold from which up there is no more often a warning for nothing than this.

    Above every risk there is no warning at all, so there always is one. Take episodes that it did not learn from.
    """
    risks = [forecast.risks(episode) for episode in episodes]
    steps = np.unique(np.quantile(np.concatenate(risks), np.linspace(0.0, 1.0, THRESHOLDS)))
    chosen = float(np.nextafter(steps[-1], np.inf))
    for threshold in steps[::-1]:
        if foresee(episodes, risks, float(threshold), rate_hz).false_alarms_per_min > false_alarms_per_min:
            break
        chosen = float(threshold)
    return chosen


def calibration_error(forecast: TakeoverForecast, rows: np.ndarray, is_near: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error of the risk of rows (n, ...), against what came, shape (n,)."""
    risk = forecast.risk(rows)
    where = np.minimum((risk * bins).astype(int), bins - 1)
    errors = [
        abs(risk[where == part].mean() - is_near[where == part].mean()) * (where == part).mean()
        for part in np.unique(where)
    ]
    return float(np.sum(errors))
