"""Learn a warning from an episode store in which people took over, and judge it on episodes kept aside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policies.checkpoint import load_policy, save_policy
from policies.data.episodes import flat_states, open_episodes
from policies.observations import vector_shapes
from policies.takeovers.ticks import Ticks
from policies.takeovers.warning.forecast import ForecastConfig, Recorded, TakeoverForecast
from policies.takeovers.warning.foresight import foresee, lowest_threshold
from policies.takeovers.warning.policy import WarnedPolicy
from robot.errors import ConfigError
from robot.types import EndReason

UNFINISHED = (EndReason.OPEN, EndReason.DISCARD, EndReason.CRASH)
SHARES = 4  # two to learn from, one to choose the threshold on, one to judge by
LEAD_S = 0.5  # how early a warning has to come


def stored_episodes(path: Path, fields: Sequence[str], task: str | None = None) -> tuple[list[Recorded], float]:
    """Return a store's episodes, however they ended, as a policy with these fields saw them, and their rate [Hz]."""
    ends = [reason for reason in EndReason if reason not in UNFINISHED]
    chosen = open_episodes(path, task=task, end_reasons=ends)
    episodes = [Recorded(flat_states(one, fields), Ticks.of_columns(one.columns)) for one in chosen.episodes]
    return episodes, chosen.contract.rate_hz


def learn_warning(
    path: Path, policy: Path, out: Path, *, task: str | None, false_alarms_per_min: float, seed: int
) -> dict[str, Any]:
    """Write `policy` with a warning to `out`; return what the warning is worth on the episodes kept aside.

    Raises:
        ConfigError: too few episodes, or nobody took over in those to learn from.
    """
    base: Any = load_policy(policy)
    episodes, rate_hz = stored_episodes(path, list(vector_shapes(base.spec.observation_shapes)), task)
    if len(episodes) < SHARES:
        raise ConfigError(
            f"{path} has {len(episodes)} finished episodes; a warning needs {SHARES} and more: record some"
        )
    chosen, judged = episodes[2::SHARES], episodes[3::SHARES]
    learned = [episode for index, episode in enumerate(episodes) if index % SHARES < 2]
    forecast = TakeoverForecast.fit(learned, ForecastConfig.at(rate_hz), seed=seed)
    threshold = lowest_threshold(forecast, chosen, rate_hz, false_alarms_per_min=false_alarms_per_min)
    found = foresee(judged, [forecast.risks(episode) for episode in judged], threshold, rate_hz)
    save_policy(out, WarnedPolicy(base, forecast, threshold))
    return {
        "out": out,
        "threshold": threshold,
        "judged_takeovers": len(found.leads_s),
        "warned": found.warned(LEAD_S),
        "median_lead_s": found.median_lead_s,
        "false_alarms_per_min": found.false_alarms_per_min,
    }
