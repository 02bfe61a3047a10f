"""Behaviour cloning, normalisers, chunks and checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.base.behavior_cloning import BehaviorCloning, build
from policies.checkpoint import load_policy, read_content, restore_policy, save_policy
from policies.data.chunks import ChunkBatch, ChunkDataset, ChunkSource, cut_chunks
from policies.data.demonstrations import Demonstrations
from policies.data.trajectories import Trajectory
from policies.learners.supervised import SupervisedLearner
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import flatten, flatten_batch, unflatten
from policies.state_file import read_tree, write_tree
from robot.errors import CheckpointMismatch, ConfigError
from robot.policy import Policy
from robot.preflight import compare
from tests.gates.blocked_peg import BlockedPeg
from tests.policies.rig import TINY_BASE

FINITE = st.floats(-50, 50, allow_nan=False, width=32)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (12, 3), elements=FINITE), st.floats(0.001, 1.0), st.floats(0.0, 1.0))
def test_action_limits_round_trip_and_keep_the_range_inside(actions: np.ndarray, floor: float, widen: float) -> None:
    limits = ActionLimits.fit(actions, floor, widen)
    normalized = limits.normalize(actions)
    assert np.abs(normalized).max() <= 1 / (1 + widen) + 1e-9
    np.testing.assert_allclose(limits.denormalize(normalized), actions, atol=1e-9)
    again = ActionLimits.from_statistics(limits.statistics())
    assert np.array_equal(again.normalize(actions), normalized)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, (20, 2), elements=FINITE), st.floats(0.01, 1.0))
def test_state_normaliser_centres_and_never_divides_by_less_than_its_floor(states: np.ndarray, floor: float) -> None:
    normalizer = StateNormalizer.fit(states, floor)
    assert (normalizer.scale >= floor).all()
    assert np.abs(normalizer.normalize(states).mean(axis=0)).max() < 1e-2


def test_a_missing_or_broken_statistic_is_an_error() -> None:
    with pytest.raises(CheckpointMismatch, match="'scale' is missing"):
        StateNormalizer.from_statistics({"mean": np.zeros(2)})
    with pytest.raises(CheckpointMismatch, match="not finite"):
        ActionLimits.from_statistics({"middle": np.zeros(2), "half": np.array([1.0, np.nan])})
    with pytest.raises(ConfigError, match="positive"):
        ActionLimits.fit(np.zeros((3, 2)), floor=0.0)


def test_chunks_never_cross_an_end_and_the_last_action_repeats_under_a_mask() -> None:
    actions = np.arange(5.0)[:, None]
    chunks, mask = cut_chunks(actions, 3)
    assert chunks[..., 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4], [4, 4, 4]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0]]
    first = Trajectory(np.zeros((3, 1)), np.zeros((2, 1)), np.zeros(2), False, True)
    second = Trajectory(np.ones((3, 1)), np.ones((2, 1)), np.zeros(2), False, True)
    dataset = ChunkDataset.cut([first, second], 4)
    assert (dataset.chunks.min(axis=1) == dataset.chunks.max(axis=1)).all()


def test_padded_steps_do_not_count_in_the_loss(demonstrations: Demonstrations) -> None:
    learner = SupervisedLearner(build(demonstrations, TINY_BASE), seed=0)
    network = learner.policy.network
    states, chunks = torch.randn(4, 8), torch.zeros(4, 8, 3)
    mask = torch.zeros(4, 8, 1)
    mask[:, :2] = 1.0
    with torch.no_grad():
        expected = network.decode(network.encode(states))[:, :2].abs().mean()
    spoiled = chunks.clone()
    spoiled[:, 2:] = 1e6
    assert learner.update(ChunkBatch(states, spoiled, mask))["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_falls(demonstrations: Demonstrations) -> None:
    policy = build(demonstrations, TINY_BASE)
    learner = SupervisedLearner(policy, seed=0)
    dataset = ChunkDataset.cut(demonstrations.trajectories, 8)
    source = ChunkSource(dataset, policy.states, policy.actions, batch_size=64, seed=0)
    losses = [float(learner.update(source.next())["loss"]) for _ in range(200)]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])


def test_one_and_many_give_the_same_chunk(base: BehaviorCloning, demonstrations: Demonstrations) -> None:
    states = demonstrations.states[np.arange(256) % demonstrations.ticks]
    together = base.act_states(states)
    alone = np.concatenate([base.act_states(state[None]) for state in states])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_the_policy_meets_the_contract_and_is_repeatable(base: BehaviorCloning) -> None:
    env = BlockedPeg()
    interface = env.interface
    assert isinstance(base, Policy)
    assert all(line.fits for line in compare(base.spec, interface))
    observation, _ = env.reset(seed=0)
    first, second = base.act(observation), base.act(observation)
    assert first.actions.shape == (8, 3)
    assert np.array_equal(first.actions, second.actions)
    batch = {name: np.stack([value, value]) for name, value in observation.items()}
    np.testing.assert_allclose(base.act_batch(batch)[0], first.actions, atol=1e-5)
    with torch.inference_mode():
        features = base.encode(flatten(observation, base.spec.observation_shapes)[None])
        assert torch.equal(base.decode(features), base.decode(features, None))
    assert base.noise_spec is None


def test_flattening_and_back_keeps_the_declared_order() -> None:
    shapes = {"b": (2,), "a": (2, 2)}
    observation = {"a": np.arange(4.0).reshape(2, 2), "b": np.array([8.0, 9.0])}
    flat = flatten(observation, shapes)
    assert flat.tolist() == [8, 9, 0, 1, 2, 3]
    back = unflatten(flat, shapes)
    assert all(np.array_equal(back[name], observation[name]) for name in shapes)
    stacked = {name: np.stack([value, value]) for name, value in observation.items()}
    assert np.array_equal(flatten_batch(stacked, shapes), np.stack([flat, flat]))
    with pytest.raises(CheckpointMismatch, match="'a' is missing"):
        flatten({"b": np.zeros(2)}, shapes)


def test_a_checkpoint_loads_by_itself_and_acts_the_same(base: BehaviorCloning, tmp_path: Path) -> None:
    sha256 = save_policy(tmp_path / "policy.safetensors", base, note="kept")
    loaded = load_policy(tmp_path)
    content = read_content(tmp_path / "policy.safetensors")
    assert (content.metadata["note"], len(sha256)) == ("kept", 64)
    assert loaded.spec == base.spec
    observation, _ = BlockedPeg().reset(seed=1)
    assert np.array_equal(loaded.act(observation).actions, base.act(observation).actions)


def test_a_damaged_or_foreign_file_is_refused(base: BehaviorCloning, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    save_policy(path, base)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointMismatch, match="damaged"):
        load_policy(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointMismatch, match="not a readable checkpoint"):
        load_policy(path)
    with pytest.raises(CheckpointMismatch, match="no checkpoint file"):
        load_policy(tmp_path / "absent.safetensors")


def test_a_checkpoint_that_does_not_fit_prints_expected_and_found(base: BehaviorCloning) -> None:
    from dataclasses import replace

    content = base.content()
    with pytest.raises(CheckpointMismatch, match=r"head\.weight: expected \(24, 64\), found \(24, 32\)"):
        restore_policy(replace(content, config=content.config | {"hidden": [64]}))
    with pytest.raises(ConfigError, match="did you mean 'bc'"):
        restore_policy(replace(content, kind="bcc"))


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    tree = {
        "tensor": torch.arange(6.0).reshape(2, 3),
        "array": np.arange(3, dtype=np.int64),
        "by_number": {0: {"step": torch.tensor(3.0)}, 1: None},
        "list": [1, 2.5, "text", True, 2**100],
    }
    write_tree(tmp_path / "tree.safetensors", tree)
    back = read_tree(tmp_path / "tree.safetensors")
    assert torch.equal(back["tensor"], tree["tensor"])
    assert np.array_equal(back["array"], tree["array"])
    assert torch.equal(back["by_number"][0]["step"], torch.tensor(3.0))
    assert (back["by_number"][1], back["list"]) == (None, tree["list"])


def test_demonstrations_are_repeatable_and_survive_saving(demonstrations: Demonstrations, tmp_path: Path) -> None:
    from policies.data.demonstrations import collect_from
    from tests.gates.blocked_peg import BlockedPegExpert

    again = collect_from(BlockedPeg(), BlockedPegExpert(), "gates/blocked-peg", 12, seed=0)
    other = collect_from(BlockedPeg(), BlockedPegExpert(), "gates/blocked-peg", 12, seed=1)
    assert again.sha256 == demonstrations.sha256 != other.sha256
    demonstrations.save(tmp_path / "demos.safetensors")
    loaded = Demonstrations.load(tmp_path / "demos.safetensors")
    assert loaded.sha256 == demonstrations.sha256
    assert loaded.observation_shapes == demonstrations.observation_shapes
    assert all(trajectory.is_success for trajectory in loaded.trajectories)
