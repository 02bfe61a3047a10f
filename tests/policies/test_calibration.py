"""What a run logs of its critics."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.calibration import critic_metrics
from policies.collection import replay_layout
from policies.data.demonstrations import Demonstrations
from policies.learners.residual import ResidualLearner, ResidualLearnerConfig
from policies.learners.sac import SACLearner, SACLearnerConfig
from policies.recipes import rlpd
from policies.replay import Replay, Transition
from policies.residual_calibration import residual_metrics
from policies.residual_policy import ResidualConfig
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


def ended_rows(count: int, capacity: int) -> Replay:
    """Return a replay whose rows end an episode, so that the target of each is its reward."""
    replay, rng = Replay(replay_layout(2, 1), capacity), np.random.default_rng(0)
    for index in range(count):
        state, action = rng.normal(size=2), rng.uniform(-0.5, 0.5, 1)
        base = action - 0.1
        row = Transition(state, base, action, float(index), 0.0, state, base)
        replay.add(**vars(row))
    return replay


def test_a_residual_run_is_told_the_error_and_the_values_of_its_latest_rows() -> None:
    config = ResidualLearnerConfig(critic_hidden=(16,), heads=3)
    learner = ResidualLearner(2, 1, ResidualConfig(0.3, hidden=(16,)), config, seed=0)
    assert residual_metrics("fresh", learner, Replay(replay_layout(2, 1), 4)) == {}
    replay, before = ended_rows(13, capacity=8), learner.generator.get_state()
    found = residual_metrics("fresh", learner, replay)
    assert torch.equal(learner.generator.get_state(), before)  # the run is the same without it
    rows = replay.split(torch.from_numpy(replay.rows))
    values, base = (learner.critic(rows["state"], rows[name]).detach() for name in ("action", "base"))
    assert sorted(rows["reward"].tolist()) == list(range(5, 13))  # the ring has turned: eight rows are left
    assert found["critic/fresh_td_error"] == pytest.approx(float((values.mean(dim=0) - rows["reward"]).abs().mean()))
    assert found["critic/fresh_value"] == pytest.approx(float(values.mean()))
    assert found["critic/fresh_base_value"] == pytest.approx(float(base.mean()))
    assert found["critic/fresh_corrected_value"] == pytest.approx(float(base.mean()))  # the residual begins at 0
    torch.nn.init.constant_(learner.actor.body[-1].bias, 9.0)  # type: ignore[arg-type]
    at_the_rim = learner.critic(rows["state"], rows["base"] + 0.3).mean().item()
    assert residual_metrics("fresh", learner, replay)["critic/fresh_corrected_value"] == pytest.approx(
        at_the_rim, abs=1e-5
    )
