"""`tandem record` and `tandem replay`: what was recorded comes out again."""

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot.env import TandemEnv
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.lockstep_recording import record_lockstep
from robot.ros.record_verb import RecordConfig, run_record
from robot.ros.replay_verb import ReplayConfig, distances_to_path, run_replay
from robot.types import EndReason, Owner
from robot.worlds import make_env, make_operator


def record_in_lock_step(folder: Path, seed: int) -> str:
    operator = make_operator("tandem/reach", demonstrate=True)
    recorded = record_lockstep("tandem/reach", EpisodeStore(folder), itertools.count(seed), operator=operator)
    episode_id = next(recorded).episode_id
    recorded.close()
    return episode_id


def test_a_lock_step_episode_replays_bit_for_bit(tmp_path: Path) -> None:
    result = run_replay(ReplayConfig(record_in_lock_step(tmp_path, 3), tmp_path))
    assert result["is_exact"] and result["ok"] and result["success_replayed"]


def test_the_comparison_sees_another_scene(tmp_path: Path) -> None:
    """The same commands after another start leave the tcp elsewhere, and do not solve the task."""
    store = EpisodeStore(tmp_path)
    env = make_env("tandem/reach").unwrapped
    assert isinstance(env, TandemEnv)
    writer = store.open_episode({"station": "fr3_sim", "task": "reach", "seed": 4}, episode_id="mislabelled")
    for _, record in env.loop.run_episode(None, 3, make_operator("tandem/reach", demonstrate=True)):
        writer.append(record)
    writer.close(record.end_reason)
    result = run_replay(ReplayConfig("mislabelled", tmp_path))
    assert not result["ok"] and not result["is_exact"]


def test_distance_to_a_path_is_to_its_segments_not_to_its_points() -> None:
    path = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    points = np.array([[0.5, 0.1, 0.0], [1.0, 1.0, 0.3], [-1.0, 0.0, 0.0], [1.0, 2.5, 0.0]])
    np.testing.assert_allclose(distances_to_path(points, path), [0.1, 0.3, 1.0, 0.5])


def test_an_episode_with_gaps_or_an_unknown_one_is_refused(tmp_path: Path) -> None:
    record_in_lock_step(tmp_path, 3)
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({"station": "fr3_sim", "task": "reach", "seed": 3}, episode_id="gap")
    writer.close(EndReason.CRASH)
    with pytest.raises(ConfigError, match="gaps"):
        run_replay(ReplayConfig("gap", tmp_path))
    with pytest.raises(ConfigError, match="unknown episode"):
        run_replay(ReplayConfig("nothing", tmp_path))


@pytest.mark.ros
@pytest.mark.slow
def test_demonstrations_recorded_through_the_graph_are_whole_and_replay(tmp_path: Path) -> None:
    result = run_record(RecordConfig(task="reach", episodes=2, store=tmp_path, seed=7, cameras=("scene",)))
    assert result["ok"] and result["success"] == 1.0
    assert [episode["missing_steps"] for episode in result["episodes"]] == [0, 0]
    assert [episode["seed"] for episode in result["episodes"]] == [7, 8]
    episode_id = result["episodes"][0]["id"]
    columns = EpisodeStore(tmp_path).load(episode_id).columns
    assert (columns["owner"][1:] == Owner.HUMAN).all()
    assert np.isfinite(columns["executed_action"]).all()
    assert columns["terminated"].tolist() == [False] * (len(columns["step"]) - 1) + [True]
    lock_step = run_replay(ReplayConfig(episode_id, tmp_path))
    assert lock_step["ok"] and lock_step["max_tcp_error_m"] < 0.01
    graph = run_replay(ReplayConfig(episode_id, tmp_path, graph=True))
    assert graph["ok"], f"the tcp left its path by {graph['max_tcp_error_m']} m"
