"""The shared core of the off-policy learners: known values, ensembles, slices, targets, resuming (off_policy spec)."""

from typing import Any

import numpy as np
import pytest
import torch

from policies.learners.critics import random_subset
from policies.learners.sac import SACLearner, SACLearnerConfig, Transitions
from policies.learners.value_heads import HLGaussHead, make_head
from policies.replay import NStep, Replay, Step, sample_mixed
from robot.errors import ConfigError

SMALL: dict[str, Any] = {"actor_hidden": (16,), "critic_hidden": (32,), "heads": 4, "subset": 2, "utd_ratio": 1}
STATES, GAMMA = 5, 0.9


def learner(seed: int = 0, state: int = 2, **changes: Any) -> SACLearner:
    return SACLearner(state, 1, SACLearnerConfig(**(SMALL | changes)), seed=seed)


def batch(rows: int = 16, seed: int = 0) -> Transitions:
    draw = torch.Generator().manual_seed(seed)
    state, following = torch.randn(2, rows, 2, generator=draw)
    action = torch.rand(rows, 1, generator=draw) * 2 - 1
    return Transitions(state, action, torch.rand(rows, generator=draw), torch.full((rows,), 0.9), following)


def tabular(**changes: Any) -> SACLearner:
    """A learner of the chain, whose critics see the state alone: one value per state."""
    made = learner(state=STATES, critic_learning_rate=1e-2, tau=0.1, backup_entropy=False, **changes)
    made.critics.live.gain = made.critics.target.gain = 0.0
    return made


def chain(timeout_is_terminal: bool, n: int, repeats: int = 39) -> Transitions:
    """A corridor of states 0..4: one step to the right per action, reward 1 and an end after the last one.

    Every third episode is cut by a timeout after its second step.
    """
    window, eye, out = NStep(n, GAMMA, timeout_is_terminal), np.eye(STATES + 1, STATES, dtype=np.float32), []
    rng = np.random.default_rng(0)
    for episode in range(repeats):
        last = 1 if episode % 3 == 0 else STATES - 1
        for at in range(last + 1):
            step = Step(eye[at], np.zeros(1), rng.uniform(-1, 1, 1), float(at == STATES - 1))
            truncated = episode % 3 == 0 and at == last
            out += window.push(
                step, eye[at + 1], np.zeros(1), terminated=at == last and not truncated, truncated=truncated
            )
    rows = {name: torch.tensor(np.array([getattr(item, name) for item in out]), dtype=torch.float32) for name in
            ("state", "action", "reward", "discount", "next_state")}  # fmt: skip
    return Transitions(**rows)


@pytest.mark.parametrize("head", ["mse", "hl_gauss"])
@pytest.mark.parametrize("n", [1, 3])
def test_td_on_a_chain_converges_to_the_known_values(head: str, n: int) -> None:
    made = tabular(head=head, value_high=1.1, bins=51)
    data = chain(timeout_is_terminal=False, n=n)
    for rate, updates in ((1e-2, 150), (2e-3, 100), (5e-4, 50)):
        made.critics.optimizer.param_groups[0]["lr"] = rate
        for _ in range(updates):
            made.update_critics(data)
    eye = torch.eye(STATES)
    found = made.critics.values(eye, torch.zeros(STATES, 1)).detach().mean(dim=0)
    expected = torch.tensor([GAMMA ** (STATES - 1 - at) for at in range(STATES)])
    torch.testing.assert_close(found, expected, atol=2e-2 if head == "hl_gauss" else 1e-2, rtol=0)


def test_trap_1_a_timeout_that_counts_as_an_end_lowers_the_value_and_one_that_does_not_leaves_it() -> None:
    for is_terminal in (True, False):
        made = tabular()
        data = chain(timeout_is_terminal=is_terminal, n=1)
        for rate in (1e-2, 1e-3):
            made.critics.optimizer.param_groups[0]["lr"] = rate
            for _ in range(150):
                made.update_critics(data)
        value = float(made.critics.values(torch.eye(STATES)[1:2], torch.zeros(1, 1)).detach().mean())
        reaching = 1.0 - (1 / 3 if is_terminal else 0.0)  # share of visits to state 1 that go on
        assert value == pytest.approx(reaching * GAMMA**3, abs=0.02)


def test_trap_3_every_utd_slice_has_exactly_half_demonstrations() -> None:
    demos, online = Replay({"reward": 0}, 50), Replay({"reward": 0}, 50)
    for _ in range(50):
        demos.add(reward=1.0)
        online.add(reward=0.0)
    rows = sample_mixed(demos, online, 20 * 16, 0.5, torch.Generator().manual_seed(0))
    reward = demos.split(rows)["reward"]
    mixed = Transitions(reward[:, None], reward[:, None], reward, reward, reward[:, None])
    assert [float(part.reward.mean()) for part in mixed.slices(20)] == [0.5] * 20


def test_a_batch_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="16 rows cannot be cut into 3"):
        batch(16).slices(3)


def test_the_subset_is_drawn_without_replacement_and_every_pair_comes_up() -> None:
    draw = torch.Generator().manual_seed(0)
    pairs = {tuple(sorted(random_subset(4, 2, draw).tolist())) for _ in range(200)}
    assert pairs == {(a, b) for a in range(4) for b in range(a + 1, 4)}


def test_the_actor_climbs_the_mean_of_all_heads_or_their_minimum() -> None:
    data = batch()
    for name in ("mean", "min"):
        made = learner(actor_value=name)
        values = made.critics.values(data.state, data.action)
        expected = values.mean(dim=0) if name == "mean" else values.min(dim=0).values
        torch.testing.assert_close(made.critics.actor_value(data.state, data.action), expected)


def test_trap_10_the_critics_normalise_their_layers_and_the_actor_only_where_asked() -> None:
    assert len(learner().critics.live.gains) == 1
    assert len(learner(layer_norm=False).critics.live.gains) == 0
    norms = [isinstance(part, torch.nn.LayerNorm) for part in learner(actor_layer_norm=True).actor.body]
    assert any(norms)
    assert not any(isinstance(part, torch.nn.LayerNorm) for part in learner().actor.body)


def test_trap_11_targets_do_not_alias_and_move_by_tau() -> None:
    made = learner(tau=0.25)
    live, target = made.critics.live, made.critics.target
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(live.parameters(), target.parameters(), strict=True))
    before = [p.detach().clone() for p in target.parameters()]
    made.update_critics(batch())
    for old, now, ahead in zip(before, target.parameters(), live.parameters(), strict=True):
        torch.testing.assert_close(now.detach(), old + 0.25 * (ahead.detach() - old))


def test_the_actor_moves_only_the_actor_and_the_critics_only_the_critics() -> None:
    made = learner()
    before = [p.detach().clone() for p in made.critics.live.parameters()]
    made.update_actor(batch())
    assert all(torch.equal(a, b) for a, b in zip(before, made.critics.live.parameters(), strict=True))
    assert all(p.grad is None for p in made.critics.live.parameters())
    actor = [p.detach().clone() for p in made.actor.parameters()]
    made.update_critics(batch())
    assert all(torch.equal(a, b) for a, b in zip(actor, made.actor.parameters(), strict=True))


def test_no_entropy_enters_the_target_where_it_is_switched_off() -> None:
    with_entropy, without = learner(), learner(backup_entropy=False)
    data = batch()
    _, log_prob = learner().actor.sample(data.next_state, torch.Generator().manual_seed(99))
    state = with_entropy.generator.get_state()
    first = with_entropy.target(data)
    without.generator.set_state(state)
    second = without.target(data)
    with_entropy.generator.set_state(state)
    _, log_prob = with_entropy.actor.sample(data.next_state, with_entropy.generator)
    torch.testing.assert_close(second - first, 0.9 * float(with_entropy.temperature()) * log_prob.detach())


def test_one_update_is_one_of_the_actor_and_utd_of_the_critics() -> None:
    made = learner(utd_ratio=4)
    made.update(batch(32))
    steps = [made.critics.optimizer, made.entropic.optimizer, made.entropic.temperature_optimizer]
    assert [int(next(iter(item.state.values()))["step"]) for item in steps] == [4, 1, 1]


def test_restored_from_its_state_the_next_update_is_the_same_bit_for_bit() -> None:
    whole, resumed = learner(seed=1, utd_ratio=2), learner(seed=2, utd_ratio=2)
    for seed in range(3):
        whole.update(batch(seed=seed))
    resumed.restore(whole.state())
    for seed in (3, 4):
        first, second = whole.update(batch(seed=seed)), resumed.update(batch(seed=seed))
        assert {name: float(value) for name, value in first.items()} == {n: float(v) for n, v in second.items()}
    for a, b in zip(whole.actor.parameters(), resumed.actor.parameters(), strict=True):
        assert torch.equal(a, b)


def test_trap_4_hl_gauss_histograms_keep_the_value_and_clip_at_the_range() -> None:
    head = HLGaussHead(-2.0, 1.0, 60)
    target = torch.tensor([-1.9, -0.333, 0.0, 0.9])
    shares = head.histogram(target)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(4))
    torch.testing.assert_close(shares[1:3] @ head.centers, target[1:3], atol=1e-3, rtol=0)
    assert float(head.value((head.histogram(torch.tensor([7.0])) + 1e-9).log())[0]) > 0.9
    with pytest.raises(ConfigError, match="hl_gauss"):
        make_head("c51")


@pytest.mark.parametrize(
    "bad", [{"subset": 5}, {"actor_value": "max"}, {"actor_batch": "first"}, {"utd_ratio": 0}, {"head": "c51"}]
)
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        learner(**bad)
