"""R1 to R5 of the residual specification: what a rising success curve cannot see."""

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.base.behavior_cloning import BehaviorCloning
from policies.collection import ResidualCollector, relabel
from policies.data.demonstrations import Demonstrations
from policies.normalization import ActionLimits, StateNormalizer
from policies.recipes.resfit import ResFiT
from policies.replay import NStep, Step, Transition
from policies.residual_policy import BaseQueue, ResidualActor, ResidualConfig, ResidualPolicy, compose
from robot.chunk_runner import ChunkRunner
from tests.gates.blocked_peg import BlockedPeg
from tests.policies.rig import TINY, CountingBase

STATE_SIZE = 8


def collector(base: CountingBase, horizon: int = 60, seed: int = 0) -> ResidualCollector:
    states = StateNormalizer(np.zeros(STATE_SIZE), np.ones(STATE_SIZE))
    limits = ActionLimits(np.zeros(3), np.ones(3))
    window = NStep(3, 0.9, timeout_is_terminal=True)
    return ResidualCollector(BlockedPeg(horizon=horizon), base, states, limits, window, scale=0.3, seed=seed)


@pytest.mark.parametrize("scale", [0.05, 0.2, 1.0])
def test_r1_a_fresh_agent_without_noise_is_the_base_bit_for_bit(
    base: BehaviorCloning, demonstrations: Demonstrations, scale: float
) -> None:
    actor = ResidualActor(STATE_SIZE, 3, ResidualConfig(scale, hidden=(16, 16)))
    actor.initialize(torch.Generator().manual_seed(0))
    limits = ActionLimits.fit(demonstrations.actions, 0.05, widen=scale)
    states = StateNormalizer.fit(demonstrations.states, 0.01)
    policy = ResidualPolicy(base, actor, states, limits, ResidualConfig(scale, hidden=(16, 16)))
    env = BlockedPeg()
    runner, plain = ChunkRunner(policy), ChunkRunner(base)
    runner.reset()
    observation, _ = env.reset(seed=3)
    ended, steps, pending = False, 0, np.zeros((0, 3))
    while not ended:
        chunk = plain.step(observation, steps)
        pending = chunk.actions if chunk is not None else pending[1:]
        answer = runner.step(observation, steps)
        assert answer is not None
        assert np.array_equal(answer.actions, pending)
        assert np.array_equal(answer.base, pending)
        observation, _, terminated, truncated, _ = env.step(answer.actions[0])
        ended, steps = terminated or truncated, steps + 1
    assert steps > 8


def test_r2_normalising_and_back_is_the_identity_and_limits_are_widened() -> None:
    actions = np.random.default_rng(0).uniform([-2.0, 0.1, 3.0], [1.0, 0.4, 3.0], (500, 3))
    actions[:, 2] = 3.0
    limits = ActionLimits.fit(actions, 0.05, widen=0.2)
    np.testing.assert_allclose(limits.denormalize(limits.normalize(actions)), actions, rtol=0, atol=1e-12)
    assert np.abs(limits.normalize(actions)).max() == pytest.approx(1 / 1.2)
    assert limits.half[2] == pytest.approx(0.05 * 1.2)
    assert limits.middle[2] == 3.0


def stream(ends: dict[int, str], length: int, window: NStep) -> dict[int, Transition]:
    """Push steps 0, 1, ... whose state, base and reward tell their time; return the transitions by their time."""
    out: list[Transition] = []
    for t in range(length):
        end = ends.get(t, "")
        reward = 1.0 if end == "success" else 0.0
        out += window.push(
            Step(np.array([t]), np.array([t + 0.25]), np.array([t + 0.5]), reward),
            np.array([t + 1 + (100 if end else 0)]),  # the final state of an episode is not the next one's first
            np.array([t + 1.25 + (100 if end else 0)]),
            terminated=end == "success",
            truncated=end == "timeout",
        )
        if end == "reset":
            out += window.cut()
    return {int(transition.state[0]): transition for transition in out}


def facts(transition: Transition) -> tuple[float, float, float, float]:
    return (
        round(transition.reward, 6),
        round(transition.discount, 6),
        float(transition.next_state[0]),
        float(transition.next_base[0]),
    )


@pytest.mark.parametrize("timeout_is_terminal", [True, False])
def test_r3_n_step_targets_around_success_timeout_and_outside_reset(timeout_is_terminal: bool) -> None:
    g = 0.9
    found = stream({4: "success", 7: "timeout", 9: "reset"}, 13, NStep(3, g, timeout_is_terminal))
    # m, e and the state to bootstrap from, time by time; at a success nothing is bootstrapped.
    assert facts(found[0]) == (0.0, round(g**3, 6), 3.0, 3.25)
    assert facts(found[1]) == (0.0, round(g**3, 6), 4.0, 4.25)
    for t, m in ((2, 3), (3, 2), (4, 1)):
        assert facts(found[t])[:2] == (round(g ** (m - 1), 6), 0.0)
    for t, m in ((5, 3), (6, 2), (7, 1)):
        bootstrap = 0.0 if timeout_is_terminal else round(g**m, 6)
        assert facts(found[t]) == (0.0, bootstrap, 108.0, 108.25)
    for t, m in ((8, 2), (9, 1)):
        assert facts(found[t]) == (0.0, round(g**m, 6), 110.0, 110.25)
    assert facts(found[10]) == (0.0, round(g**3, 6), 13.0, 13.25)
    assert sorted(found) == [*range(11)]


def offsets(collecting: ResidualCollector) -> tuple[float, float]:
    """Return number of the chunk and index in it of the action that is due."""
    return round(100 * collecting._point[0]), round(100 * collecting._point[1])


def test_r4_a_fresh_chunk_after_a_timeout_that_falls_inside_a_chunk() -> None:
    base = CountingBase(horizon=8)
    collecting = collector(base, horizon=21)  # 21 is no multiple of 8
    for _ in range(21):
        collecting.step(np.zeros(3), np.zeros(3))
    assert collecting.episodes == 1
    assert offsets(collecting)[1] == 0
    assert base.resets == 2
    first = offsets(collecting)[0]
    for index in range(1, 8):
        collecting.step(np.zeros(3), np.zeros(3))
        assert offsets(collecting) == (first, index)


def test_r4_a_fresh_chunk_after_success() -> None:
    base = CountingBase(horizon=8)
    collecting = collector(base)
    env = collecting.env
    assert isinstance(env, BlockedPeg)
    for _ in range(3):
        collecting.step(np.zeros(3), np.zeros(3))
    before = offsets(collecting)[0]
    env.peg = np.array([*env.hole, 0.001])
    env.drift = np.zeros(2)
    collecting.step(np.zeros(3), np.array([0.0, 0.0, -1.0]))
    assert (collecting.successes, offsets(collecting)[1]) == (1, 0)
    assert offsets(collecting)[0] > before


def test_r4_a_fresh_chunk_after_a_hand_back(base: BehaviorCloning, demonstrations: Demonstrations) -> None:
    counting = CountingBase(horizon=8)
    policy = ResFiT(BlockedPeg(), base, demonstrations, TINY, seed=0).policy()
    policy.queue = BaseQueue(counting)
    runner = ChunkRunner(policy)
    observation, _ = BlockedPeg().reset(seed=0)
    for step in range(3):
        assert runner.step(observation, step, generation=1) is not None
    answer = runner.step(observation, 4, generation=3)
    assert answer is not None
    assert (counting.asked, answer.generation) == (2, 3)
    assert round(100 * answer.base[0, 1]) == 0


def test_r5_the_stored_action_is_what_the_world_received_and_targets_clip_alike() -> None:
    collecting = collector(CountingBase(horizon=8))
    env = collecting.env
    received: list[np.ndarray] = []
    step = env.step

    def spy(action: np.ndarray) -> tuple:
        answer = step(action)
        received.append(answer[4]["executed_action"])
        return answer

    env.step = spy  # type: ignore[method-assign]
    rng = np.random.default_rng(0)
    stored = []
    for _ in range(25):
        stored += collecting.step(rng.uniform(-1, 1, 3), rng.normal(0, 2.0, 3))  # far beyond the limits
    assert len(stored) > 20
    for transition, action in zip(stored, received, strict=False):
        np.testing.assert_array_equal(transition.action, action)
        assert np.abs(transition.action).max() <= 1.0
    wild = torch.tensor([0.9, -0.9]), torch.tensor([1.0, -1.0]), 0.5
    assert torch.equal(compose(*wild), torch.tensor([1.0, -1.0]))


def test_r5_what_the_world_changes_is_what_is_stored() -> None:
    collecting = collector(CountingBase(horizon=8))
    step = collecting.env.step

    def limited(action: np.ndarray) -> tuple:
        observation, reward, terminated, truncated, info = step(action * 0.5)  # a safety filter at work
        return observation, reward, terminated, truncated, info | {"executed_action": action * 0.5}

    collecting.env.step = limited  # type: ignore[method-assign]
    stored = [item for _ in range(6) for item in collecting.step(np.full(3, 0.5), np.zeros(3))]
    for transition in stored:
        asked = compose(transition.base, np.full(3, 0.5), 0.3)
        np.testing.assert_allclose(transition.action, 0.5 * asked, atol=1e-12)


def test_trap_6_relabelling_resets_the_base_for_each_demonstration(demonstrations: Demonstrations) -> None:
    base = CountingBase(horizon=8)
    queue = BaseQueue(base)
    shapes = base.spec.observation_shapes
    labels = [relabel(queue, trajectory, shapes) for trajectory in demonstrations.trajectories]
    assert base.resets == len(labels)
    for label, trajectory in zip(labels, demonstrations.trajectories, strict=True):
        assert len(label) == len(trajectory) + 1
        assert np.array_equal(np.round(100 * label[:, 1]), np.arange(len(label)) % 8)


def test_the_checkpoint_of_a_residual_policy_holds_its_base(
    base: BehaviorCloning, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    from policies.checkpoint import load_policy, read_content, save_policy

    policy = ResFiT(BlockedPeg(), base, demonstrations, TINY, seed=0).policy()
    torch.nn.init.normal_(policy.actor.body[-1].weight, std=0.3)  # type: ignore[arg-type]
    save_policy(tmp_path / "policy.safetensors", policy)
    loaded = load_policy(tmp_path / "policy.safetensors")
    assert read_content(tmp_path / "policy.safetensors").metadata["base_sha256"] == base.content().sha256
    observation, _ = BlockedPeg().reset(seed=5)
    policy.reset()
    for _ in range(10):
        expected, found = policy.act(observation), loaded.act(observation)
        assert np.array_equal(expected.actions, found.actions)
        assert np.array_equal(expected.base, found.base)
        assert not np.array_equal(expected.actions[0], expected.base[0])


def test_the_residual_covers_a_few_points_and_fades_to_the_base(
    base: BehaviorCloning, demonstrations: Demonstrations
) -> None:
    policy = ResFiT(BlockedPeg(), base, demonstrations, TINY, seed=0).policy()
    torch.nn.init.normal_(policy.actor.body[-1].weight, std=1.0)  # type: ignore[arg-type]
    observation, _ = BlockedPeg().reset(seed=5)
    policy.reset()
    lengths = []
    for _ in range(9):
        chunk = policy.act(observation)
        lengths.append(len(chunk.actions))
        changed = (chunk.actions != chunk.base).any(axis=1)
        assert changed[: policy.config.hold_steps].all()
        assert not changed[policy.config.hold_steps :].any()
    assert lengths == [8, 7, 6, 5, 4, 3, 2, 1, 8]
