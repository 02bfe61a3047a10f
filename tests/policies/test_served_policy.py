"""Weights exchanged while a policy is served: between chunks, and only the file that was announced."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.base.behavior_cloning import BehaviorCloning
from policies.checkpoint import save_policy
from policies.served_policy import AGE_GROUP, ServedPolicy, Weights, file_hash, in_real_time, load_verified
from robot.chunk_runner import ChunkRunner
from robot.errors import CheckpointMismatch
from robot.policy import ActionChunk, PolicySpec

SPEC = PolicySpec({"x": (1,)}, ("a",), 10.0, action_horizon=8, execution_horizon=3)
SEEN = {"x": np.zeros(1)}


class Constant:
    """Answers one number."""

    def __init__(self, value: float) -> None:
        self.spec, self.value, self.resets = SPEC, value, 0

    def reset(self) -> None:
        self.resets += 1

    def act(self, observation: object) -> ActionChunk:
        return ActionChunk(np.full((8, 1), self.value), 0.1)


def test_an_offer_is_taken_up_with_the_next_chunk_and_aged_from_then_on() -> None:
    served = ServedPolicy(Constant(1.0), lambda: 5_000_000_000)
    runner = ChunkRunner(served)
    first = runner.step(SEEN, 0)
    served.offer(Constant(2.0), Weights("", "", version=9, time_ns=3_000_000_000))
    assert first is not None and (first.actions[0, 0], first.policy_version, dict(first.groups)) == (1.0, 0, {})
    assert [runner.step(SEEN, t) for t in (1, 2)] == [None, None], "not within the chunk"
    second = runner.step(SEEN, 3)
    assert second is not None and (second.actions[0, 0], second.policy_version) == (2.0, 9)
    assert second.groups[AGE_GROUP] == pytest.approx(2.0)


@pytest.mark.parametrize(("action", "execution", "expected"), [(8, 8, 6), (8, 4, 4), (1, 1, 1), (2, 2, 1), (16, 1, 1)])
def test_in_real_time_the_next_answer_comes_before_the_chunk_has_run_out(
    action: int, execution: int, expected: int
) -> None:
    spec = replace(SPEC, action_horizon=action, execution_horizon=execution)
    assert in_real_time(spec).execution_horizon == expected


def test_only_the_announced_file_with_the_same_interface_is_loaded(base: BehaviorCloning, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    save_policy(path, base)
    good = Weights(str(path), file_hash(path), version=1)
    loaded = load_verified(good, base.spec)
    seen = {name: np.zeros(shape) for name, shape in base.spec.observation_shapes.items()}
    np.testing.assert_array_equal(loaded.act(seen).actions, base.act(seen).actions)
    with pytest.raises(CheckpointMismatch, match="sha256 expected 000000000000"):
        load_verified(replace(good, sha256="0" * 64), base.spec)
    with pytest.raises(CheckpointMismatch, match="no file"):
        load_verified(replace(good, path=str(tmp_path / "gone")), base.spec)
    with pytest.raises(CheckpointMismatch, match="spec expected"):
        load_verified(good, replace(base.spec, rate_hz=7.0))


def test_warming_up_leaves_no_trace() -> None:
    policy = Constant(1.0)
    served = ServedPolicy(policy, lambda: 0)
    served.warm_up()
    assert policy.resets == 1
