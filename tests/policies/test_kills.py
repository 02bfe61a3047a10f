"""A run that is killed (SIGKILL) at twenty random points and resumed each time ends as one that was left alone."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.base.behavior_cloning import BehaviorCloning
from policies.data.demonstrations import Demonstrations
from policies.learners.residual import Batch, ResidualLearner
from policies.recipes.resfit_guarded import GuardedResFiTConfig, finetune
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from tests.gates.blocked_peg import BlockedPeg
from tests.policies.rig import TINY

KILLS = 20
CONFIG = GuardedResFiTConfig(**{**vars(TINY), "env_steps": 120, "caution": 0.0, "checkpoint_every": 2})  # 277 updates


def trainer(base: BehaviorCloning, demonstrations: Demonstrations, folder: Path) -> Callable[[], None]:
    def go_on() -> None:
        finetune(BlockedPeg(), base, demonstrations, CONFIG, Run(folder, tensorboard=False), seed=1)

    return go_on


def _child(train: Callable[[], None], updated: Connection) -> None:
    """Train, and tell of every update."""
    torch.set_num_threads(1)
    update = ResidualLearner.update

    def told(learner: ResidualLearner, batch: Batch) -> dict[str, torch.Tensor]:
        metrics = update(learner, batch)
        updated.send_bytes(b".")
        return metrics

    ResidualLearner.update = told  # type: ignore[method-assign]  # in this process alone
    train()


def kill_after(updates: int, delay_s: float, train: Callable[[], None]) -> None:
    """Train in a process of its own and kill it a moment after so many updates, whatever it does just then."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(train, there))
    process.start()
    there.close()
    for _ in range(updates):
        here.recv_bytes()
    time.sleep(delay_s)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def final_state(folder: Path) -> dict[str, Any]:
    tree = read_tree(folder / "training_state.safetensors")
    tree["loop"].pop("wall_s")
    return tree


def test_twenty_kills_at_random_points_change_no_bit_of_what_follows(
    base: BehaviorCloning, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(base, demonstrations, whole)()
    rng, progress = np.random.default_rng(0), []
    for _ in range(KILLS):
        kill_after(int(rng.integers(7, 17)), rng.uniform(0.0, 0.004), trainer(base, demonstrations, parts))
        progress.append(final_state(parts)["source"]["progress"])
    trainer(base, demonstrations, parts)()
    assert progress == sorted(progress)
    assert len(set(progress)) >= KILLS // 2, f"the kills fell on too few training states: {progress}"
    assert tree_hash(final_state(whole)) == tree_hash(final_state(parts))
    assert (whole / "policy.safetensors").read_bytes() == (parts / "policy.safetensors").read_bytes()
    assert [path.name for path in parts.iterdir() if path.name.startswith(".")] == [], "half-written files stay behind"
