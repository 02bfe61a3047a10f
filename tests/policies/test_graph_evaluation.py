"""A policy through the graph: real processes, recorded episodes, the takeover of a scripted person."""

import os
from pathlib import Path

import numpy as np
import pytest

from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.data.demonstrations import collect
from policies.data.episodes import read_store
from policies.graph_evaluation import evaluate_in_graph, graph_nodes
from policies.run import Run
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.types import EndReason, Owner
from tests.domains import some_domain


def test_only_station_tasks_have_a_graph(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="metaworld/reach-v3 has no graph"):
        evaluate_in_graph("metaworld/reach-v3", tmp_path / "policy.safetensors", [0], tmp_path / "store")


def test_a_takeover_brings_a_person_into_the_graph(tmp_path: Path) -> None:
    for has_takeover in (False, True):
        nodes = graph_nodes("reach", tmp_path / "policy.safetensors", tmp_path / "store", has_takeover=has_takeover)
        assert ("operator" in [node.name for node in nodes]) == has_takeover


@pytest.mark.ros
@pytest.mark.slow
def test_a_cloned_policy_runs_recorded_episodes_with_a_takeover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(some_domain()))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    run = Run(tmp_path / "base", tensorboard=False)
    config = BehaviorCloningConfig(action_horizon=8, execution_horizon=4, hidden=(32,), steps=200)
    train_base(collect("tandem/peg-insert", 3, seed=0), config, run, seed=0)
    evaluation = evaluate_in_graph(
        "tandem/peg-insert", run.policy_path, [1, 2], tmp_path / "out/episodes", has_takeover=True
    )
    assert [episode.seed for episode in evaluation.episodes] == [1, 2]
    assert os.environ["ROS_DOMAIN_ID"]
    store = EpisodeStore(tmp_path / "out/episodes")
    infos = store.episodes()
    assert len(infos) == 2
    owners = np.concatenate([store.load(info.episode_id).columns["owner"] for info in infos])
    assert {int(Owner.POLICY), int(Owner.HUMAN)} <= set(owners.tolist())
    demonstrations = read_store(tmp_path / "out/episodes", end_reasons=list(EndReason))
    assert demonstrations.observation_shapes["tcp_position"] == (3,)
    assert all(np.isfinite(trajectory.actions).all() for trajectory in demonstrations.trajectories)
