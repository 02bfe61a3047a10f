"""What a run logs of its critics."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.calibration import critic_metrics
from policies.data.demonstrations import Demonstrations
from policies.learners.sac import SACLearner, SACLearnerConfig
from policies.recipes import rlpd
from policies.run import Run
from tests.gates.blocked_peg import BlockedPeg

SMALL = SACLearnerConfig(actor_hidden=(16,), critic_hidden=(16,), heads=3, utd_ratio=1)


def test_values_that_follow_the_returns_rank_one_and_unknown_returns_are_left_out() -> None:
    critics = SACLearner(2, 1, SMALL, seed=0).critics
    state, action = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)).split([2, 1], dim=1)
    action = action.clamp(-1.0, 1.0)
    values = critics.values(state, action).detach()
    mean = values.mean(dim=0)
    for returns, wanted in ((mean.exp(), 1.0), (-mean, -1.0)):
        unknown = returns.clone()
        unknown[::2] = -torch.inf
        for given in (returns, unknown):
            found = critic_metrics("rows", critics, state, action, given)
            assert found["critic/rows_rank"] == pytest.approx(wanted)
    assert found["critic/rows_value"] == pytest.approx(float(mean.mean()))
    assert found["critic/rows_value_max"] == pytest.approx(float(mean.max()))
    assert found["critic/rows_spread"] == pytest.approx(float(np.std(values.numpy(), axis=0).mean()), rel=1e-5)
    assert "critic/rows_rank" not in critic_metrics("rows", critics, state, action, torch.zeros(64))
    same = (rows[:1].expand_as(rows) for rows in (state, action))
    assert "critic/rows_rank" not in critic_metrics("rows", critics, *same, mean)


def test_a_run_logs_what_its_critics_think_of_demonstrations_and_of_fresh_episodes(
    demonstrations: Demonstrations, tmp_path: Path
) -> None:
    run = Run(tmp_path, tensorboard=False)
    rlpd.finetune(BlockedPeg(), None, demonstrations, rlpd.PRESETS["debug"], run, seed=3)
    last = json.loads((tmp_path / Run.METRICS).read_text().splitlines()[-1])
    assert -1.0 <= last["critic/demos_rank"] <= 1.0
    assert np.isfinite(
        [last[f"critic/{name}_{what}"] for name in ("demos", "fresh") for what in ("value", "spread")]
    ).all()
