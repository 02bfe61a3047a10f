"""`tandem imagine eval`, `rollout` and `compare`: what they split, compare, draw and refuse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.evaluation import EpisodeResult, Evaluation
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from tests.world_models.conftest import CONFIG
from tests.world_models.toy import toy_episodes
from world_models.acceptance.rows import Report, read_targets
from world_models.broken import copy_successes
from world_models.compare_verb import ComparePolicies, add_ranking, draw_scatter
from world_models.data import WorldData
from world_models.eval_verb import split
from world_models.metrics.ranking import rank
from world_models.rollout_verb import RolloutPolicy
from world_models.start_records import StartFile
from world_models.starts_verb import FILE, CutStarts
from world_models.video_model import MODEL_FILE, ActionScale, VideoWorldModel


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


def test_starts_are_cut_out_of_a_store_listed_and_saved(
    square_store: Path, square_data: WorldData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale = ActionScale(*(torch.zeros(3), torch.ones(3)) * 2)
    VideoWorldModel(square_data.spec, CONFIG, scale).save(tmp_path / MODEL_FILE)
    found = CutStarts(tmp_path, square_store, lead=2).run()
    read = StartFile.read(tmp_path / FILE, square_data.spec).records
    assert found["kinds"]["start"] == found["episodes"] == 12
    assert len(read) == sum(found["kinds"].values()) > 12
    assert capsys.readouterr().out.count("  frame ") == len(read)
    for record in read:
        assert record.is_plain == (record.kind == "start")
    only = CutStarts(tmp_path, square_store, kinds=("success",), lead=2, out=tmp_path / "some").run()
    assert set(only["kinds"]) == {"success"}
    with pytest.raises(ConfigError, match="takeover"):
        CutStarts(tmp_path, square_store, kinds=("takeover",)).run()
    with pytest.raises(ConfigError, match="kind of start"):
        CutStarts(tmp_path, square_store, kinds=("sucess",))


def test_a_model_that_sees_no_failure_gets_the_solved_episodes_alone(square_store: Path, tmp_path: Path) -> None:
    store, whole = tmp_path / "some", EpisodeStore(square_store)
    solved = {info.episode_id for info in whole.episodes() if whole.load(info.episode_id).columns["reward_task"].any()}
    assert copy_successes(square_store, store) == len(solved) < len(whole.episodes())
    assert {info.episode_id for info in EpisodeStore(store).episodes()} == solved
    assert copy_successes(square_store, store) == len(solved)
