"""`tandem imagine eval`, `rollout` and `compare`: what they split, compare, draw and refuse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.evaluation import EpisodeResult, Evaluation
from robot.errors import ConfigError
from tests.world_models.toy import toy_episodes
from world_models.acceptance.rows import Report, read_targets
from world_models.compare_verb import ComparePolicies, add_ranking, draw_scatter
from world_models.eval_verb import split
from world_models.metrics.ranking import rank
from world_models.rollout_verb import RolloutPolicy


def test_episodes_are_split_into_halves_that_share_none_and_hold_both_outcomes() -> None:
    episodes = toy_episodes(14, frames=8)
    failures = [replace(episode, labels=np.zeros(8, bool)) for episode in toy_episodes(4, frames=8, seed=1)]
    test, calibration = split([*episodes, *failures])
    for part in (test, calibration):
        assert sum(episode.is_success for episode in part) * 2 == len(part)
    assert len(test) > len(calibration) >= 4
    assert not {id(episode) for episode in test} & {id(episode) for episode in calibration}
    with pytest.raises(ConfigError, match="successes and failures: found 0 and 4"):
        split(failures)


def test_a_ranking_is_held_to_its_targets_and_drawn(tmp_path: Path) -> None:
    true = np.linspace(0.05, 0.95, 8)
    for imagined, failed in ((true + 0.05, []), (true[::-1], ["A13"]), (np.minimum(true + 0.3, 1.0), ["A13"])):
        report = Report(read_targets("cpu"))
        add_ranking(rank(imagined, true), report)
        assert report.failed() == failed
    sides = [
        [Evaluation(tuple(EpisodeResult(seed, seed < wins, 5) for seed in range(10))) for wins in (2, 8)]
        for _ in range(2)
    ]
    assert draw_scatter(tmp_path / "ranking.png", *sides).stat().st_size > 5000


def test_too_few_policies_or_episodes_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 8 policies"):
        ComparePolicies(Path("model"), (Path("a"), Path("b"), Path("c")))
    with pytest.raises(ConfigError, match="episodes 0"):
        RolloutPolicy(Path("model"), Path("policy"), episodes=0)
