"""Fixed starts, the chunk runner and evaluation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from policies.base.behavior_cloning import BehaviorCloning
from policies.checkpoint import save_policy
from policies.evaluation import evaluate
from policies.starts import evaluation_starts, start_seed
from robot.chunk_runner import ChunkRunner
from robot.errors import CheckpointMismatch
from robot.policy import ActionChunk, PolicySpec
from tests.gates.blocked_peg import BlockedPeg
from tests.policies.rig import CountingBase

NOTHING = {"peg_position": np.zeros(3), "hole_offset": np.zeros(2), "peg_velocity": np.zeros(3)}


def test_starts_are_fixed_and_purposes_do_not_share_them() -> None:
    assert evaluation_starts(3) == evaluation_starts(50)[:3] == [404189455, 726539936, 1244320777]
    seeds = [start_seed(purpose, 0, i) for purpose in ("demonstration", "training", "evaluation") for i in range(500)]
    assert len(set(seeds)) == len(seeds)


def test_the_runner_asks_once_per_execution_horizon_and_stamps_the_answer() -> None:
    runner = ChunkRunner(CountingBase(horizon=4))
    runner.reset()
    answers = [runner.step(NOTHING, 100 * step, generation=7) for step in range(9)]
    assert [answer is not None for answer in answers] == [True, False, False, False] * 2 + [True]
    chunk = answers[4]
    assert chunk is not None
    assert (chunk.observation_time_ns, chunk.generation, chunk.chunk_id, chunk.dt_s) == (400, 7, 1, 0.1)


def test_a_flush_or_a_new_generation_asks_afresh() -> None:
    policy = CountingBase(horizon=4)
    runner = ChunkRunner(policy)
    assert runner.step(NOTHING, 0, generation=1) is not None
    assert runner.step(NOTHING, 1, generation=1) is None
    assert runner.step(NOTHING, 2, generation=2) is not None
    assert policy.resets == 1
    runner.flush()
    assert runner.step(NOTHING, 3, generation=2) is not None
    assert policy.resets == 2


class Recorder(CountingBase):
    """Remembers the observations it was asked with."""

    def __init__(self, horizon: int) -> None:
        super().__init__(horizon)
        self.seen: list[np.ndarray] = []

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        self.seen.append(observation["peg_position"].copy())
        return super().act(observation)


def test_chunks_are_executed_in_order_like_a_plain_queue() -> None:
    policy = Recorder(horizon=8)
    result = evaluate(BlockedPeg, policy, [4])
    env = BlockedPeg()
    observation, _ = env.reset(seed=4)
    queue: list[np.ndarray] = []
    plain, seen, steps, ended = CountingBase(8), [], 0, False
    while not ended:
        if not queue:
            seen.append(observation["peg_position"].copy())
            queue = list(plain.act(observation).actions)
        observation, _, terminated, truncated, _ = env.step(queue.pop(0))
        steps, ended = steps + 1, terminated or truncated
    assert result.episodes[0].steps == steps
    assert np.array_equal(policy.seen, seen)


def test_worker_processes_give_the_same_episodes_in_the_same_order(base: BehaviorCloning, tmp_path: Path) -> None:
    save_policy(tmp_path / "policy.safetensors", base)
    starts = evaluation_starts(12)
    here = evaluate(BlockedPeg, tmp_path / "policy.safetensors", starts)
    there = evaluate(BlockedPeg, tmp_path / "policy.safetensors", starts, workers=2)
    assert here == there == evaluate(BlockedPeg, base, starts)
    assert [episode.seed for episode in here.episodes] == starts
    assert here.success.n == 12


def test_a_policy_of_another_world_is_refused_before_it_moves() -> None:
    policy = CountingBase(4)
    policy.spec = PolicySpec({"image/wrist": (64, 64, 3)}, ("x", "y", "z"), 10.0, 4, 4)
    with pytest.raises(CheckpointMismatch, match="camera wrist"):
        evaluate(BlockedPeg, policy, [0])
    assert policy.asked == 0
