"""Interrupted and resumed equals uninterrupted, bit for bit, wherever the interruption falls."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies.base.behavior_cloning import BehaviorCloning, train_base
from policies.data.demonstrations import Demonstrations
from policies.learners.residual import ResidualLearner
from policies.recipes.resfit import ResFiT, finetune
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from robot.errors import CheckpointMismatch
from tests.gates.blocked_peg import BlockedPeg
from tests.policies.rig import TINY, TINY_BASE


def final_state(folder: Path) -> dict[str, Any]:
    tree = read_tree(folder / "training_state.safetensors")
    tree["loop"].pop("wall_s")
    return tree


@pytest.mark.parametrize("interrupted_after", [1, 77])
def test_behaviour_cloning_resumes_bit_for_bit(
    demonstrations: Demonstrations, tmp_path: Path, interrupted_after: int
) -> None:
    whole, parts = Run(tmp_path / "whole", tensorboard=False), Run(tmp_path / "parts", tensorboard=False)
    straight, _ = train_base(demonstrations, TINY_BASE, whole, seed=3)
    train_base(demonstrations, TINY_BASE, parts, seed=3, stop_after=interrupted_after)
    torch.manual_seed(999)  # the global generators must not matter
    np.random.seed(999)
    resumed, state = train_base(demonstrations, TINY_BASE, parts, seed=3)
    assert state.updates == TINY_BASE.steps
    assert tree_hash(final_state(whole.folder)) == tree_hash(final_state(parts.folder))
    assert straight.content().sha256 == resumed.content().sha256


# In the warm-up with a half-filled window; among the critic-only updates; inside the updates of one environment step,
# in the middle of an episode and of a chunk; just before the end.
@pytest.mark.parametrize("interrupted_after", [[11], [33], [30 + 7 + 4 * 3 + 2], [5, 35, 62, 120]])
def test_resfit_resumes_bit_for_bit(
    base: BehaviorCloning, demonstrations: Demonstrations, tmp_path: Path, interrupted_after: list[int]
) -> None:
    def run(folder: str, stop_after: int | None = None) -> None:
        finetune(
            BlockedPeg(),
            base,
            demonstrations,
            TINY,
            Run(tmp_path / folder, tensorboard=False),
            seed=1,
            evaluate=lambda step, path: [step, path.is_file()],
            stop_after=stop_after,
        )

    run("whole")
    for stop_after in interrupted_after:
        run("parts", stop_after)
        torch.manual_seed(stop_after)
    run("parts")
    whole, parts = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
    assert whole["loop"]["updates"] == 7 + 30 * 3
    assert tree_hash(whole) == tree_hash(parts)
    files = [tmp_path / name / "policy.safetensors" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_restored_learner_makes_the_identical_next_update(
    base: BehaviorCloning, demonstrations: Demonstrations
) -> None:
    source = ResFiT(BlockedPeg(), base, demonstrations, TINY, seed=0)
    batches = [batch for batch in (source.next() for _ in range(60)) if batch is not None]
    for batch in batches[:-1]:
        source.learner.update(batch)
    copy = ResidualLearner(8, 3, TINY.residual(), TINY.learner(), seed=5)
    copy.restore(source.learner.state())
    assert source.learner.update(batches[-1]) == copy.update(batches[-1])
    assert tree_hash(source.learner.state()) == tree_hash(copy.state())


def test_a_training_state_is_no_policy_and_the_reverse(
    base: BehaviorCloning, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    from policies.checkpoint import load_policy, save_policy

    run = Run(tmp_path, tensorboard=False)
    train_base(demonstrations, TINY_BASE, run, seed=0, stop_after=2)
    with pytest.raises(CheckpointMismatch, match="holds no policy"):
        load_policy(run.state_path)
    save_policy(run.state_path, base)
    with pytest.raises(CheckpointMismatch, match="holds no training state"):
        train_base(demonstrations, TINY_BASE, run, seed=0)
