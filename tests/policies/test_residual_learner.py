"""The critic ensemble and the residual learner: exact checks, and the numbered traps of the residual specification."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import tyro
from torch import Tensor

from policies.collection import replay_layout, store
from policies.learners.critics import CriticEnsemble, mean_square, random_subset
from policies.learners.residual import Batch, ResidualLearner, ResidualLearnerConfig
from policies.presets import resolve
from policies.recipes.resfit import PRESETS, ResFiTConfig
from policies.replay import NStep, Replay, Step, sample_mixed
from policies.residual_policy import ResidualConfig
from robot.errors import ConfigError

NO_NOISE = ResidualLearnerConfig(
    critic_hidden=(32,), heads=4, target_noise=0.0, critic_learning_rate=3e-3, actor_learning_rate=0.0, tau=0.05
)


def learner(config: ResidualLearnerConfig = NO_NOISE, state: int = 5, action: int = 1) -> ResidualLearner:
    return ResidualLearner(state, action, ResidualConfig(0.3, hidden=(16,)), config, seed=0)


def batch(size: int = 32, *, update_actor: bool = True, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    return Batch(
        state=draw(size, 5),
        base=draw(size, 1) * 0.6,
        action=draw(size, 1),
        reward=draw(size).abs(),
        discount=torch.full((size,), 0.9),
        next_state=draw(size, 5),
        next_base=draw(size, 1) * 0.6,
        update_actor=update_actor,
    )


def test_trap_1_settings_that_follow_from_others_follow_the_override() -> None:
    assert replace(ResFiTConfig(), sigma=0.025).learner().target_noise == 0.025
    assert resolve(PRESETS, "cpu", ["sigma=0.025"]).learner().target_noise == 0.025
    assert tyro.cli(ResFiTConfig, args=["--sigma", "0.025"]).learner().target_noise == 0.025
    assert resolve(PRESETS, "cpu", ["sigma=0.025", "target_sigma=0.2"]).learner().target_noise == 0.2
    assert resolve(PRESETS, "cpu", ["residual_scale=0.11"]).residual().scale == 0.11


def test_trap_2_the_critic_loss_is_the_mean_of_squares_and_does_not_couple_heads() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, -1.0]], requires_grad=True)
    target = torch.tensor([0.5, 0.5])
    loss = mean_square(values, target)
    assert loss.item() == pytest.approx(np.mean([0.25, 2.25, 6.25, 2.25]))
    loss.backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, 2 * (values.detach() - target) / 4)


def test_trap_3_every_head_starts_orthogonal_and_different() -> None:
    critic = CriticEnsemble(20, 4, (32, 32), heads=4)
    critic.initialize(torch.Generator().manual_seed(0))
    for layer in (0, 1):
        heads = critic.weights[layer].detach()
        for head in heads:
            small = head if head.shape[0] <= head.shape[1] else head.T
            torch.testing.assert_close(small @ small.T, 2 * torch.eye(len(small)), atol=1e-4, rtol=1e-4)
        assert all((heads[i] - heads[j]).abs().max() > 0.1 for i in range(4) for j in range(i))
    values = critic(torch.randn(6, 20), torch.randn(6, 4))
    assert values.shape == (4, 6)
    assert values.std(dim=0).min() > 1e-3


def test_trap_4_the_replay_holds_clipped_actions() -> None:
    """Demonstrated actions outside the limits are clipped like executed ones (see also R5)."""
    from policies.collection import trajectory_transitions
    from policies.data.trajectories import Trajectory
    from policies.normalization import ActionLimits, StateNormalizer

    demo = Trajectory(np.zeros((4, 2)), np.array([[5.0], [0.1], [-5.0]]), np.array([0, 0, 1.0]), True, False)
    limits, states = ActionLimits(np.zeros(1), np.ones(1)), StateNormalizer(np.zeros(2), np.ones(2))
    stored = trajectory_transitions(demo, np.zeros((4, 1)), states, limits, NStep(1, 0.9, True))
    assert [float(item.action[0]) for item in stored] == [1.0, 0.1, -1.0]


def test_trap_7_no_window_crosses_an_outside_reset() -> None:
    window = NStep(3, 0.9, timeout_is_terminal=True)
    before = [window.push(step(t), now(t + 1), now(t + 1), terminated=False, truncated=False) for t in range(2)]
    cut = window.cut()
    after = [window.push(step(t), now(t + 1), now(t + 1), terminated=False, truncated=False) for t in range(10, 13)]
    assert [len(items) for items in before] == [0, 0]
    assert [(float(t.state[0]), float(t.next_state[0])) for t in cut] == [(0, 2), (1, 2)]
    assert [(float(t.state[0]), float(t.next_state[0])) for items in after for t in items] == [(10, 13)]


def now(t: float) -> np.ndarray:
    return np.array([t])


def step(t: float) -> Step:
    return Step(now(t), now(t), now(t), 0.0)


@pytest.mark.parametrize("timeout_is_terminal", [True, False])
def test_the_ensemble_learns_the_values_of_a_tabular_chain(timeout_is_terminal: bool) -> None:
    """Five states, one step each, a time limit of five: success at the end, or a timeout in state 2."""
    discount = 0.9
    config = replace(NO_NOISE, critic_hidden=(64, 64), critic_learning_rate=2e-3, weight_decay=0.0)
    agent = learner(config)
    eye = np.eye(5, dtype=np.float32)
    replay = Replay(replay_layout(5, 1), 20)
    window, zero = NStep(1, discount, timeout_is_terminal), np.zeros(1)
    for t in range(5):
        is_last = t == 4
        here, after = Step(eye[t], zero, zero, float(is_last)), eye[min(t + 1, 4)]
        store(replay, window.push(here, after, zero, terminated=is_last, truncated=False))
    # An episode that is cut in state 2 by the clock; the chain itself would go on to state 3.
    here = Step(eye[2], zero, zero + 0.8, 0.0)
    store(replay, window.push(here, eye[3], zero, terminated=False, truncated=True))
    generator = torch.Generator().manual_seed(0)
    for _ in range(1500):
        agent.update(Batch(**replay.split(replay.sample(64, generator)), update_actor=False))
    with torch.no_grad():
        values = agent.critic(torch.eye(5), torch.zeros(5, 1)).mean(0)
        cut = agent.critic(torch.eye(5)[2:3], torch.full((1, 1), 0.8)).mean()
    np.testing.assert_allclose(values, discount ** np.arange(4, -1, -1.0), atol=1e-2)
    assert float(cut) == pytest.approx(0.0 if timeout_is_terminal else discount * discount, abs=1e-2)


def test_subsets_are_drawn_without_replacement_and_cover_every_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [tuple(sorted(random_subset(5, 2, generator).tolist())) for _ in range(2000)]
    assert all(first != second for first, second in pairs)
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert len(counts) == 10
    assert min(counts.values()) > 140


def test_one_subset_serves_the_whole_batch() -> None:
    agent = learner(replace(NO_NOISE, heads=4, subset=2))
    data = batch()
    with torch.no_grad():
        action = data.next_base  # the fresh residual is zero
        heads = agent.target_critic(data.next_state, action)
        found = agent.target(data)
    candidates = [
        torch.addcmul(data.reward, data.discount, torch.minimum(heads[i], heads[j])) for i in range(4) for j in range(i)
    ]
    assert sum(torch.allclose(found, candidate, atol=1e-6) for candidate in candidates) == 1


def test_the_target_uses_the_clipped_sum_of_next_base_and_target_residual() -> None:
    agent = learner(replace(NO_NOISE, heads=2, subset=2))
    torch.nn.init.constant_(agent.target_actor.body[-1].bias, 5.0)  # type: ignore[arg-type]
    data = replace(batch(), next_base=torch.full((32, 1), 0.9))
    with torch.no_grad():
        expected = agent.target_critic(data.next_state, torch.ones(32, 1)).amin(0)
        torch.testing.assert_close(agent.target(data), data.reward + data.discount * expected)
    blocked = replace(data, discount=torch.zeros(32))
    torch.testing.assert_close(agent.target(blocked), data.reward)


def test_the_actor_moves_only_when_asked_and_the_critic_not_by_its_loss() -> None:
    agent = learner(replace(NO_NOISE, actor_learning_rate=1e-2))
    before = [parameter.clone() for parameter in agent.actor.parameters()]
    agent.update(batch(update_actor=False))
    assert all(torch.equal(old, new) for old, new in zip(before, agent.actor.parameters(), strict=True))
    critic = [parameter.clone() for parameter in agent.critic.parameters()]
    agent._update_actor(batch())
    assert all(torch.equal(old, new) for old, new in zip(critic, agent.critic.parameters(), strict=True))
    assert any(not torch.equal(old, new) for old, new in zip(before, agent.actor.parameters(), strict=True))


def test_the_actor_climbs_the_mean_of_all_heads() -> None:
    agent = learner()
    data = batch()
    loss, residual = agent.actor_loss(data)
    assert residual.abs().max() == 0.0
    torch.testing.assert_close(loss, -agent.critic(data.state, data.base).mean())


def test_targets_do_not_alias_the_live_networks() -> None:
    agent = learner()
    live = {parameter.data_ptr() for module in (agent.actor, agent.critic) for parameter in module.parameters()}
    target = [p for module in (agent.target_actor, agent.target_critic) for p in module.parameters()]
    assert not live & {parameter.data_ptr() for parameter in target}
    before = [parameter.clone() for parameter in agent.target_critic.parameters()]
    agent.update(batch(update_actor=False))
    for old, new, now_live in zip(before, agent.target_critic.parameters(), agent.critic.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.05 * (now_live - old))


def test_every_slice_of_a_mixed_batch_has_its_half_of_demonstrations() -> None:
    demos, online = Replay({"source": 0}, 10), Replay({"source": 0}, 10)
    demos.add(source=1.0)
    online.add(source=0.0)
    generator = torch.Generator().manual_seed(0)
    rows = sample_mixed(demos, online, 256, 0.5, generator)[:, 0]
    for part in rows.split(32):
        assert part.sum() == 16
    assert sample_mixed(demos, online, 100, 0.25, generator).sum() == 25
    assert sample_mixed(demos, online, 8, 0.0, generator).sum() == 0
    with pytest.raises(ConfigError, match="empty"):
        sample_mixed(demos, Replay({"source": 0}, 10), 8, 0.5, generator)


def test_a_full_replay_overwrites_the_oldest_row_and_restores() -> None:
    replay = Replay({"value": 2, "scalar": 0}, 4)
    for t in range(6):
        replay.add(value=np.array([t, -t]), scalar=t / 2)
    rows = replay.split(torch.from_numpy(replay.rows))
    assert sorted(rows["scalar"].tolist()) == [1.0, 1.5, 2.0, 2.5]
    copy = Replay({"value": 2, "scalar": 0}, 4)
    copy.restore(replay.state())
    for buffer in (replay, copy):
        buffer.add(value=np.zeros(2), scalar=9.0)
    assert np.array_equal(replay.rows, copy.rows)


def test_layer_norm_can_be_left_out_and_changes_the_values() -> None:
    state, action = torch.randn(6, 5), torch.randn(6, 1)
    values = []
    for use_layer_norm in (True, False):
        critic = CriticEnsemble(5, 1, (16,), 3, use_layer_norm=use_layer_norm)
        critic.initialize(torch.Generator().manual_seed(0))
        values.append(critic(state * 100, action))
    assert values[0].abs().max() < values[1].abs().max()


@pytest.mark.parametrize("bad", [{"subset": 5, "heads": 4}, {"env_steps": 5}, {"n_step": 0}])
def test_impossible_settings_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        replace(ResFiTConfig(), **bad).learner()
