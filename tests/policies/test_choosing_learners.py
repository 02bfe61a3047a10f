"""EXPO and PA-RL: who chooses, who values, which base answers, and what the base is taught."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.action_choice import base_chunks, decisions_of
from policies.base import flow
from policies.checkpoint import load_policy, read_content, save_policy
from policies.choosing_policy import ChoosingPolicy, sizes_of, steerable
from policies.data.chunks import ChunkBatch
from policies.data.demonstrations import Demonstrations
from policies.evaluation import roll_out
from policies.learners import action_optimizer, critics
from policies.learners.expo import EXPOLearner, EXPOLearnerConfig
from policies.learners.pa_rl import PARLBatch, PARLLearner, PARLLearnerConfig
from policies.learners.sac import Transitions
from policies.recipes import expo, pa_rl
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from policies.steerable import SteerablePolicy
from robot.errors import CheckpointMismatch
from tests.gates.blocked_peg import BlockedPeg
from tests.policies.rig import CountingBase

HORIZON, STEPS = 4, 2
SMALL: dict[str, Any] = {"critic_hidden": (16,), "heads": 4, "subset": 2}
EXPO = EXPOLearnerConfig(**SMALL, samples=3, actor_hidden=(16,), utd_ratio=1, edit_scale=0.1)
PARL = PARLLearnerConfig(**SMALL, samples=3, keep=2, grad_steps=2, step_size=0.1, contrast_samples=2)


@pytest.fixture(scope="module")
def flowing(demonstrations: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> SteerablePolicy:
    """A small flow policy with chunks of four."""
    config = replace(
        flow.PRESETS["debug"], steps=60, action_horizon=HORIZON, execution_horizon=HORIZON, inference_steps=2
    )
    policy, _ = flow.train_base(demonstrations, config, Run(tmp_path_factory.mktemp("flow"), tensorboard=False), seed=0)
    return policy


def expo_learner(base: SteerablePolicy, seed: int = 0, **changes: Any) -> EXPOLearner:
    return EXPOLearner(base, sizes_of(base, STEPS), STEPS, replace(EXPO, **changes), rows=32, seed=seed)


def pa_rl_learner(base: SteerablePolicy, seed: int = 0, **changes: Any) -> PARLLearner:
    return PARLLearner(base, sizes_of(base, STEPS), STEPS, replace(PARL, **changes), rows=32, seed=seed)


def transitions(rows: int = 8, seed: int = 0) -> Transitions:
    draw = torch.Generator().manual_seed(seed)
    state, following = torch.randn(2, rows, 8, generator=draw)
    action = torch.rand(rows, 6, generator=draw) * 2 - 1
    reward = torch.rand(rows, generator=draw)
    return Transitions(
        state, action, reward, torch.full((rows,), 0.9), following, torch.ones(rows), torch.arange(rows).float()
    )


def imitation(rows: int = 8, seed: int = 0) -> ChunkBatch:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, HORIZON, 1)
    mask[0, 2:] = 0.0
    chunks = torch.rand(rows, HORIZON, 3, generator=draw) * 2 - 1
    return ChunkBatch(torch.randn(rows, 8, generator=draw), chunks, mask)


def test_trap_6_one_random_pair_chooses_and_another_one_values(
    flowing: SteerablePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = expo_learner(flowing)
    pairs: list[tuple[int, ...]] = []
    forward = critics.CriticEnsemble.forward

    def spy(self: Any, state: Tensor, action: Tensor, subset: Tensor | None = None) -> Tensor:
        pairs.append(tuple(sorted(subset.tolist())) if subset is not None else ())
        assert self is learner.critics.target
        return forward(self, state, action, subset)

    monkeypatch.setattr(critics.CriticEnsemble, "forward", spy)
    chosen, valued = set(), set()
    for _ in range(30):
        pairs.clear()
        learner.target(transitions())
        assert len(set(pairs[:-1])) == 1, "candidates and their edits are ranked by one pair"
        chosen.add(pairs[0])
        valued.add((pairs[0], pairs[-1]))
    assert len(chosen) == 6, "all pairs of four heads choose"
    assert len({pair for choice, pair in valued if choice == pairs[0]}) > 1, "the valuing pair is drawn anew"


def test_trap_12_the_average_acts_and_the_live_base_answers_in_the_target(
    flowing: SteerablePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = expo_learner(flowing)
    learner.imitation.update(imitation())
    asked: list[Any] = []
    monkeypatch.setattr(
        "policies.learners.choosing.base_chunks",
        lambda network, *rest: asked.append(network) or base_chunks(network, *rest),
    )
    monkeypatch.setattr(
        "policies.action_choice.base_chunks",
        lambda network, *rest: asked.append(network) or base_chunks(network, *rest),
    )
    learner.act(torch.zeros(1, 8))
    learner.target(transitions())
    assert asked == [learner.base.network, learner.imitation.live]
    assert learner.base.network is not learner.imitation.live
    live, average = (next(iter(network.parameters())) for network in (learner.imitation.live, learner.base.network))
    assert not torch.equal(live, average)
    assert learner.base.network is learner.imitation.policy.network, "what acts is what is saved"


def test_trap_12_samples_are_drawn_in_evaluation_mode(flowing: SteerablePolicy) -> None:
    network = flowing.network
    network.train()
    first = base_chunks(network, torch.zeros(2, 8), 3, torch.Generator().manual_seed(0))
    assert not network.training
    assert first.shape == (2, 3, HORIZON, 3)
    torch.testing.assert_close(first, base_chunks(network, torch.zeros(2, 8), 3, torch.Generator().manual_seed(0)))
    assert float(first.abs().max()) <= 1.0
    assert not torch.equal(first[0, 0], first[0, 1]), "each sample has its own noise"


def test_trap_13_cached_base_samples_carry_the_version_of_the_base(flowing: SteerablePolicy) -> None:
    learner = pa_rl_learner(flowing)
    batch = transitions()
    first = learner.next_samples(batch).clone()
    torch.testing.assert_close(learner.next_samples(batch), first, msg="drawn once for one version")
    assert learner.cache.drawn == 8
    learner.distill(imitation(), ends=False)
    assert torch.equal(learner.next_samples(batch), first), "within a round the version stands"
    learner.distill(imitation(), ends=True)
    assert not torch.equal(learner.next_samples(batch), first)
    assert learner.cache.drawn == 16
    learner.cache.forget(3)
    learner.next_samples(batch)
    assert learner.cache.drawn == 17, "a row that was written over is drawn again"


def test_trap_13_expo_draws_afresh_every_so_many_updates_of_the_base(flowing: SteerablePolicy) -> None:
    batch = transitions()
    always, sometimes = expo_learner(flowing), expo_learner(flowing, sample_every=2)
    assert not torch.equal(always.next_samples(batch), always.next_samples(batch))
    first = sometimes.next_samples(batch).clone()
    for updates, same in ((1, True), (2, False)):
        sometimes.imitation.update(imitation())
        assert torch.equal(sometimes.next_samples(batch), first) == same, updates


def test_trap_9_the_edits_loss_reaches_the_edit_alone_and_is_taken_at_stored_actions_inside_the_box(
    flowing: SteerablePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = expo_learner(flowing, edit_scale=0.5)
    batch = replace(transitions(), action=torch.ones(8, 6))
    seen: list[Tensor] = []
    value = learner.critics.actor_value
    monkeypatch.setattr(learner.critics, "actor_value", lambda s, a: seen.append(a) or value(s, a))
    before = [p.detach().clone() for p in learner.critics.live.parameters()]
    learner.update_edit(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.critics.live.parameters(), strict=True))
    assert all(p.grad is None for p in learner.critics.live.parameters())
    assert all(p.grad is None for p in learner.imitation.live.parameters())
    assert float(seen[0].detach().max()) <= 1.0
    assert float(seen[0].detach().min()) >= 0.5, "at most the edit's scale away from the stored action"


def test_trap_5_expos_entropy_target_is_in_units_of_the_scaled_edit(flowing: SteerablePolicy) -> None:
    small, large = expo_learner(flowing, edit_scale=0.05), expo_learner(flowing, edit_scale=0.5)
    assert small.temperature.target_entropy - large.temperature.target_entropy == pytest.approx(6 * np.log(0.1))
    assert small.temperature.target_entropy < 6 * (np.log(2.0) + np.log(0.05)), "a distribution can have it"


def test_the_base_learns_from_improved_decisions_each_continued_by_its_own_chunk(
    flowing: SteerablePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = pa_rl_learner(flowing, grad_steps=0, softmax_temperature=1e-6)
    wanted = torch.full((6,), 0.9)
    monkeypatch.setattr(
        learner.choice, "value", lambda generator: lambda states, actions: -(actions - wanted).square().sum(dim=-1)
    )
    batch = imitation()
    batch.chunks[3] = 0.9  # the stored action is by far the best there
    state = learner.generator.get_state()
    improved = learner.improved(batch)
    learner.generator.set_state(state)
    chunks = base_chunks(learner.base.network, batch.states, 3, learner.generator)
    decisions = torch.cat([decisions_of(chunks, STEPS), decisions_of(batch.chunks, STEPS)[:, None]], dim=1)
    best = (decisions - wanted).square().sum(dim=-1).argmin(dim=1)
    whole = torch.cat([chunks, batch.chunks[:, None]], dim=1)[torch.arange(8), best]
    torch.testing.assert_close(improved.chunks, whole)
    assert torch.equal(improved.chunks[3], batch.chunks[3])
    is_stored = best == 3
    assert torch.equal(improved.mask[is_stored], batch.mask[is_stored])
    assert improved.mask[~is_stored].all(), "a sampled chunk is whole, wherever the episode ended"


def test_the_stored_action_takes_the_place_of_the_worst_kept_candidate() -> None:
    optimizer = action_optimizer.ActionOptimizer(3, 2)
    given, stored = torch.tensor([[[0.1], [0.5], [0.3]]]), torch.tensor([[-0.7]])
    found = optimizer(torch.zeros(1, 1), given, lambda states, actions: actions.sum(dim=-1), stored=stored)
    torch.testing.assert_close(found.actions, torch.tensor([[[0.5], [-0.7]]]))
    assert found.origin.tolist() == [[1, 3]]


def test_pa_rls_critic_gets_a_fresh_optimiser_where_it_goes_online(flowing: SteerablePolicy) -> None:
    learner = pa_rl_learner(flowing)

    def steps() -> int:
        return int(next(iter(learner.critics.optimizer.state.values()))["step"])

    for expected in (1, 2):
        learner.update(PARLBatch(transitions(), is_offline=True))
        assert steps() == expected
    for expected in (1, 2):
        learner.update(PARLBatch(transitions()))
        assert steps() == expected


def test_pa_rls_critics_see_the_warm_up_before_they_choose(
    flowing: SteerablePolicy, demonstrations: Demonstrations
) -> None:
    config = replace(pa_rl.PRESETS["debug"], warmup_updates=4, utd_ratio=2, critic_pretraining=3)
    source = pa_rl.PARLSource(BlockedPeg(), flowing, demonstrations, config, seed=0)
    source.act = lambda: pytest.fail("chose before its critics saw the warm-up")
    handed = [batch for batch in (source.next() for _ in range(3 + config.warmup_steps + 8)) if batch is not None]
    assert [batch.is_offline for batch in handed] == [True] * 3 + [False] * 8
    assert source.progress == source.collector.env_steps == config.warmup_steps
    with pytest.raises(pytest.fail.Exception, match="chose before"):
        source.next()


def test_conservatism_lowers_actions_the_data_does_not_hold_but_not_below_what_was_earned(
    flowing: SteerablePolicy,
) -> None:
    learner = pa_rl_learner(flowing, conservative_weight=5.0, critic_learning_rate=3e-3)
    batch = replace(transitions(16), reward=torch.ones(16), discount=torch.zeros(16), returns=torch.full((16,), -9.0))
    far = -batch.action.sign()
    for _ in range(100):
        learner.update(PARLBatch(batch, is_offline=True))
    inside, outside = (learner.critics.values(batch.state, action).detach().mean() for action in (batch.action, far))
    assert float(inside) > float(outside) + 0.2


def recipe_state(module: Any, base: SteerablePolicy, demos: Demonstrations, folder: Path, stop: int | None) -> Any:
    run = Run(folder, tensorboard=False)
    config = replace(module.PRESETS["debug"], decision_steps=STEPS, evaluate_every=0)
    module.finetune(BlockedPeg(), base, demos, config, run, seed=3, stop_after=stop)
    tree = read_tree(run.state_path)
    tree["loop"].pop("wall_s")
    return tree


@pytest.mark.parametrize("module", [expo, pa_rl])
def test_recipes_over_chunks_resume_bit_for_bit(
    module: Any, flowing: SteerablePolicy, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    whole = recipe_state(module, flowing, demonstrations, tmp_path / "whole", None)
    for stop_after in (5, whole["loop"]["iterations"] - 7):
        recipe_state(module, flowing, demonstrations, tmp_path / "parts", stop_after)
        torch.manual_seed(999)  # the global generators must not matter
        np.random.seed(999)
    parts = recipe_state(module, flowing, demonstrations, tmp_path / "parts", None)
    assert tree_hash(whole) == tree_hash(parts)


def test_a_choosing_policy_loads_alone_and_repeats_itself(flowing: SteerablePolicy, tmp_path: Path) -> None:
    learner = expo_learner(flowing)
    policy = ChoosingPolicy("expo", learner.base, learner.choice)
    save_policy(tmp_path / "policy.safetensors", policy)
    loaded = load_policy(tmp_path / "policy.safetensors")
    assert read_content(tmp_path / "policy.safetensors").metadata["base_sha256"] == flowing.content().sha256
    observation, _ = BlockedPeg().reset(seed=5)
    policy.reset()
    first, second = policy.act(observation).actions, policy.act(observation).actions
    assert first.shape == (STEPS, 3)
    assert not np.array_equal(first, second), "asked again it draws again"
    np.testing.assert_array_equal(loaded.act(observation).actions, first)
    assert roll_out(BlockedPeg(), loaded, 1) == roll_out(BlockedPeg(), policy, 1)


def test_a_base_that_shows_no_network_is_refused() -> None:
    with pytest.raises(CheckpointMismatch, match="CountingBase"):
        steerable(CountingBase(8), "expo")


def test_a_base_that_sees_several_observations_is_refused(
    flowing: SteerablePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = SimpleNamespace(obs_horizon=2, action_horizon=HORIZON)
    monkeypatch.setattr(flowing, "spec", several)
    with pytest.raises(CheckpointMismatch, match="this base sees 2"):
        steerable(flowing, "expo")


def test_a_base_with_too_short_chunks_is_refused(flowing: SteerablePolicy) -> None:
    with pytest.raises(CheckpointMismatch, match="decisions of 9"):
        steerable(flowing, "expo", 9)
