"""Actors on Ray: the run of local processes, bit for bit, whoever is killed on the way."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="actors on Ray need the extra `scale`: pip install '.[scale]'")

from policies.actors.contract import ActorLost
from policies.actors.ray_workers import RayCluster
from policies.state_file import tree_hash
from tests.policies.actors.test_actors import TASK, TWO, learn, order


@pytest.mark.slow
def test_ray_makes_the_run_of_local_processes(tmp_path: Path) -> None:
    on_ray = learn(tmp_path / "ray", actors=replace(TWO, back_end="ray"))[1]
    assert tree_hash(on_ray) == tree_hash(learn(tmp_path / "processes")[1])


@pytest.mark.slow
def test_a_killed_ray_actor_is_lost_and_another_takes_its_place() -> None:
    cluster: Any = RayCluster(2)
    try:
        first, second = (cluster.start(TASK, seed) for seed in (1, 2))
        for worker in (first, second):
            worker.ask(order())
            assert len(worker.answer(60.0)) == 10
        process = cluster._ray.get(first._actor.__ray_call__.remote(lambda _: os.getpid()))
        os.kill(process, signal.SIGKILL)
        first.ask(order())
        with pytest.raises(ActorLost, match="a Ray actor ended"):
            first.answer(60.0)
        second.ask(order())
        assert cluster.first_ready([second], 60.0) == 0
        assert len(second.answer(60.0)) == 10
    finally:
        cluster.close()
