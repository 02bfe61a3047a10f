"""WSRL, its offline learners, and IBRL: exact steps of theirs (off_policy specification)."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.base.behavior_cloning import BehaviorCloning
from policies.data.demonstrations import Demonstrations
from policies.finetune_verb import outcome
from policies.learners.conservative import Contrast, conservative_gap, random_contrast
from policies.learners.ibrl import IBRLLearner, IBRLLearnerConfig
from policies.learners.offline import OfflineConfig, OfflineLearner, expectile_loss
from policies.learners.sac import SACLearner, SACLearnerConfig, Transitions
from policies.recipes import ibrl, wsrl
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from robot.errors import ConfigError
from tests.gates.blocked_peg import BlockedPeg

SMALL = SACLearnerConfig(actor_hidden=(16,), critic_hidden=(16,), heads=3, utd_ratio=1)


def data(rows: int = 32) -> Transitions:
    draw = torch.Generator().manual_seed(0)
    state, following = torch.randn(2, rows, 2, generator=draw)
    action = torch.rand(rows, 1, generator=draw) * 2 - 1
    reward, discount = torch.rand(rows, generator=draw), torch.full((rows,), 0.9)
    return Transitions(state, action, reward, discount, following, torch.full((rows,), 0.3), torch.arange(rows).float())


def test_the_conservative_gap_is_its_formula_and_floors_the_policys_samples_only() -> None:
    critics = SACLearner(2, 1, SMALL, seed=0).critics
    batch = data(4)
    random = random_contrast(4, 2, 1, torch.Generator().manual_seed(1))
    assert float(random.log_prob[0, 0]) == pytest.approx(-math.log(2.0))
    is_policy = torch.tensor([False, True])
    found = conservative_gap(critics, batch, Contrast(random.actions, random.log_prob, is_policy))
    values = torch.stack([critics.values(batch.state, random.actions[:, k]) for k in range(2)], dim=-1)
    values[..., 1] = values[..., 1].clamp(min=0.3)
    above = (values - random.log_prob).exp().sum(dim=-1).log()
    torch.testing.assert_close(found, (above - critics.values(batch.state, batch.action)).mean())


def test_an_unknown_return_bounds_nothing() -> None:
    critics = SACLearner(2, 1, SMALL, seed=0).critics
    contrast = random_contrast(32, 2, 1, torch.Generator().manual_seed(1))
    contrast = replace(contrast, is_policy=torch.ones(2, dtype=torch.bool))
    unknown = replace(data(), returns=torch.full((32,), -torch.inf))
    torch.testing.assert_close(
        conservative_gap(critics, unknown, contrast),
        conservative_gap(critics, replace(unknown, returns=None), contrast),
    )


def test_the_expectile_of_known_numbers() -> None:
    earned, value = torch.tensor([0.0, 1.0]), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([value], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        expectile_loss(earned - value, 0.8).backward()
        optimizer.step()
    assert float(value.detach()) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("method", ["cal_ql", "iql"])
def test_offline_learning_prefers_what_the_data_was_rewarded_for(method: str) -> None:
    """A bandit: reward 1 - |a - 0.5|, actions all over the box."""
    sac = SACLearner(2, 1, replace(SMALL, critic_learning_rate=3e-3, actor_learning_rate=3e-3, tau=0.05), seed=0)
    learner = OfflineLearner(sac, 2, OfflineConfig(method, conservative_weight=0.1, inverse_temperature=10.0))
    batch = data(128)
    batch = replace(batch, reward=1 - (batch.action[:, 0] - 0.5).abs(), discount=torch.zeros(128))
    batch = replace(batch, returns=batch.reward)
    for _ in range(250):
        metrics = learner.update(batch)
    assert all(math.isfinite(float(value)) for value in metrics.values())
    assert float(sac.actor.mode(batch.state).detach().mean()) == pytest.approx(0.5, abs=0.25)


def test_offline_values_start_at_nothing_in_both_ensembles() -> None:
    sac, batch = SACLearner(2, 1, SMALL, seed=0), data(256)
    assert float(sac.critics.values(batch.state, batch.action).detach().abs().mean()) > 0.1
    OfflineLearner(sac, 2, OfflineConfig())
    for ensemble in (sac.critics.live, sac.critics.target):
        assert float(ensemble(batch.state, batch.action).detach().abs().max()) < 0.02


def wsrl_state(folder: Path, demonstrations: Demonstrations, stop_after: int | None = None, **changes: Any) -> Any:
    run = Run(folder, tensorboard=False)
    config = replace(wsrl.PRESETS["debug"], **changes)
    wsrl.finetune(BlockedPeg(), None, demonstrations, config, run, seed=3, stop_after=stop_after)
    if not run.state_path.exists():
        return None
    tree = read_tree(run.state_path)
    tree["loop"].pop("wall_s")
    return tree


@pytest.mark.parametrize("method", ["cal_ql", "iql"])
def test_wsrl_resumes_bit_for_bit_within_and_after_its_offline_part(
    demonstrations: Demonstrations, tmp_path: Path, method: str
) -> None:
    whole = wsrl_state(tmp_path / "whole", demonstrations, method=method)
    assert wsrl_state(tmp_path / "parts", demonstrations, 7, method=method) is None, "still offline"
    for stop_after in (90, None):
        torch.manual_seed(999)  # the global generators must not matter
        np.random.seed(999)
        parts = wsrl_state(tmp_path / "parts", demonstrations, stop_after, method=method)
    assert tree_hash(whole) == tree_hash(parts)


def test_wsrl_keeps_no_data_and_starts_from_the_whole_offline_state(
    demonstrations: Demonstrations, tmp_path: Path
) -> None:
    tree = wsrl_state(tmp_path, demonstrations, stop_after=61)
    offline = read_tree(tmp_path / "offline/training_state.safetensors")["learner"]["sac"]
    updates = wsrl.PRESETS["debug"].offline_updates
    steps = tree["learner"]["critics"]["optimizer"]["state"][0]["step"]
    assert float(offline["critics"]["optimizer"]["state"][0]["step"]) == updates
    assert float(steps) == updates + 2, "the optimisers' moments go on: one environment step, two slices"
    assert int(tree["source"]["online"]["added"]) == 61
    with pytest.raises(ConfigError, match="keeps no data"):
        replace(wsrl.PRESETS["debug"], demo_fraction=0.5)


def test_wsrl_warms_up_with_the_pre_trained_actor_and_without_updates(
    demonstrations: Demonstrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted: list[int] = []
    act = SACLearner.act
    monkeypatch.setattr(SACLearner, "act", lambda self, state: acted.append(1) or act(self, state))
    tree = wsrl_state(tmp_path, demonstrations, stop_after=60)
    assert len(acted) == 60
    assert tree["loop"]["updates"] == 0


IBRL = IBRLLearnerConfig(actor_hidden=(16,), critic_hidden=(16,), heads=3, utd_ratio=1, sigma=0.0)


def data_of(state: int, action: int) -> Transitions:
    zeros, ones = torch.zeros(8), torch.ones(8)
    wide = torch.zeros(8, state)
    return Transitions(wide, torch.zeros(8, action), zeros, ones, wide, None, torch.arange(8.0))


def ibrl_learner(base: BehaviorCloning, **changes: Any) -> IBRLLearner:
    return IBRLLearner(base, (8, 3), 1, replace(IBRL, **changes), rows=16, seed=0)


def test_ibrl_acts_with_the_more_valued_of_the_clone_and_the_actor(
    base: BehaviorCloning, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = ibrl_learner(base)
    state = torch.zeros(1, 8)
    clone, own = torch.from_numpy(learner.base_decision(state)), learner.actor.eval().mode(state)[0].detach()
    assert not torch.allclose(clone, own)
    for wanted in (clone, own):

        def value(generator: torch.Generator, wanted: Tensor = wanted) -> Any:
            return lambda states, actions: -(actions - wanted).square().sum(dim=-1)

        monkeypatch.setattr(learner.choice, "value", value)
        torch.testing.assert_close(torch.from_numpy(learner.act(state)), wanted)


@pytest.mark.parametrize("prefers_clone", [True, False])
def test_ibrls_noise_is_the_actors_alone(
    base: BehaviorCloning, monkeypatch: pytest.MonkeyPatch, prefers_clone: bool
) -> None:
    learner, state = ibrl_learner(base, sigma=0.3), torch.zeros(1, 8)
    clone = torch.from_numpy(learner.base_decision(state))
    sign = -1.0 if prefers_clone else 1.0
    monkeypatch.setattr(
        learner.choice, "value", lambda _: lambda states, actions: sign * (actions - clone).square().sum(dim=-1)
    )
    taken = [learner.act(state) for _ in range(5)]
    assert all(np.array_equal(action, clone) for action in taken) == prefers_clone
    assert len({action.tobytes() for action in taken}) == (1 if prefers_clone else 5)


def test_ibrls_target_asks_the_averaged_actor(base: BehaviorCloning) -> None:
    learner = ibrl_learner(base)
    state = torch.zeros(1, 8)
    last = learner.target_actor.body[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias += 0.5
        asked = learner.target_actor.mode(state)
    found = learner.answers(state, learner.draw(learner.base.network, state))
    torch.testing.assert_close(found.actions[found.origin == 1], asked)
    before = [value.clone() for value in learner.target_actor.parameters()]
    learner.update_actor(data_of(8, 3))
    for old, new, live in zip(before, learner.target_actor.parameters(), learner.actor.parameters(), strict=True):
        torch.testing.assert_close(new, old + learner.config.tau * (live - old))


def test_trap_12_ibrls_actor_proposes_without_dropout_and_learns_with_it(base: BehaviorCloning) -> None:
    learner = ibrl_learner(base, actor_dropout=0.5, heads=2)
    learner.update(data_of(8, 3))
    assert learner.actor.training
    first = learner.act(torch.ones(1, 8))
    assert not learner.actor.training
    np.testing.assert_array_equal(learner.act(torch.ones(1, 8)), first)


def test_ibrl_resumes_bit_for_bit_with_dropout(
    base: BehaviorCloning, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    def run(name: str, stop_after: int | None = None) -> Any:
        folder = Run(tmp_path / name, tensorboard=False)
        ibrl.finetune(BlockedPeg(), base, demonstrations, ibrl.PRESETS["debug"], folder, seed=3, stop_after=stop_after)
        tree = read_tree(folder.state_path)
        tree["loop"].pop("wall_s")
        return tree

    whole = run("whole")
    run("parts", 91)
    torch.manual_seed(999)  # the global generators must not matter
    assert tree_hash(whole) == tree_hash(run("parts"))


def test_trap_14_the_outcome_tells_the_worst_point_of_the_curve_and_the_last_policy() -> None:
    from policies.evaluation import EpisodeResult, Evaluation

    def evaluation(wins: int) -> Evaluation:
        return Evaluation(tuple(EpisodeResult(seed, seed < wins, 5) for seed in range(10)))

    found = outcome(evaluation(5), evaluation(8), [[0, 0.5, 10], [100, 0.1, 10], [200, 1.0, 10], [300, 0.8, 10]])
    assert found["curve_min"] == {"env_steps": 100, "success": 0.1, "n": 10}
    assert found["final_success"]["value"] == 0.8
