"""Decisions of one or several steps: exact rewards, ends, stored actions and the world behind them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies.checkpoint import load_policy
from policies.data.demonstrations import Demonstrations
from policies.data.trajectories import Trajectory
from policies.decisions import DecisionCollector, Decisions
from policies.evaluation import roll_out
from policies.learners.sac import SACLearner
from policies.normalization import ActionLimits, StateNormalizer
from policies.online import OnlineConfig, OnlineSource, world_limits, world_states
from policies.recipes import rlpd, sac
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from robot.errors import CheckpointMismatch, ConfigError
from tests.gates.blocked_peg import BlockedPeg

IDENTITY = StateNormalizer(np.zeros(1), np.ones(1))
UNIT = ActionLimits(np.zeros(1), np.ones(1))
PEG = {"peg_position": (3,), "hole_offset": (2,), "peg_velocity": (3,)}


def episode(length: int = 5, *, success: bool = True) -> Trajectory:
    """State t at time t, action t / 10, reward 1 at the end of a success."""
    rewards = np.zeros(length)
    rewards[-1] = float(success)
    states, actions = np.arange(length + 1.0)[:, None], np.arange(length)[:, None] / 10
    return Trajectory(states, actions, rewards, success, not success)


def cut(decisions: Decisions, trajectory: Trajectory) -> dict[int, Any]:
    return {int(found.state[0]): (found, returns) for found, returns in decisions.cut(trajectory, IDENTITY, UNIT)}


def test_a_decision_of_two_steps_is_a_chunk_with_its_discounted_reward() -> None:
    found = cut(Decisions(steps=2, discount=0.9), episode(5))
    assert sorted(found) == [0, 1, 2, 3, 4], "every step begins a decision"
    first, last, cut_short = found[0][0], found[3][0], found[4][0]
    np.testing.assert_allclose(first.action, [0.0, 0.1])
    assert (first.reward, round(first.discount, 6), first.next_state[0]) == (0.0, 0.81, 2.0)
    np.testing.assert_allclose(last.action, [0.3, 0.4])
    assert (round(last.reward, 6), last.discount) == (0.9, 0.0)
    np.testing.assert_allclose(cut_short.action, [0.4, 0.4], err_msg="past the end the last action repeats")
    assert (cut_short.reward, cut_short.discount) == (1.0, 0.0)


def test_trap_2_windows_of_decisions_never_cross_an_end_and_gamma_has_the_true_power() -> None:
    found = cut(Decisions(steps=2, n_step=2, discount=0.9), episode(5))
    assert round(found[0][0].discount, 6) == round(0.9**4, 6)
    assert found[0][0].next_state[0] == 4.0
    assert (round(found[1][0].reward, 6), found[1][0].discount) == (round(0.9**3, 6), 0.0)
    assert (round(found[2][0].reward, 6), found[2][0].discount) == (round(0.9**2, 6), 0.0)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_trap_1_a_timeout_ends_the_return_only_where_it_is_set_to(is_terminal: bool) -> None:
    found = cut(Decisions(discount=0.9, timeout_is_terminal=is_terminal), episode(3, success=False))
    transition, returns = found[2]
    assert transition.discount == (0.0 if is_terminal else 0.9)
    assert transition.next_state[0] == 3.0, "the final state of the episode, never the next one's first"
    assert returns == (0.0 if is_terminal else -np.inf)


def test_trap_4_rewards_are_scaled_and_shifted_once_and_returns_follow() -> None:
    found = cut(Decisions(n_step=2, discount=0.5, reward_scale=10.0, reward_bias=-1.0), episode(3))
    rewards = [round(found[t][0].reward, 6) for t in range(3)]
    assert rewards == [-1 - 0.5, -1 + 0.5 * 9, 9]
    assert [round(found[t][1], 6) for t in range(3)] == [-1 + 0.5 * (-1 + 0.5 * 9), -1 + 0.5 * 9, 9]


def collector(steps: int, **changes: Any) -> DecisionCollector:
    env = BlockedPeg(**changes)
    return DecisionCollector(env, PEG, world_states(env), world_limits(env), Decisions(steps), seed=0)


def test_trap_7_the_stored_action_is_the_executed_one() -> None:
    collecting = collector(1)
    step = collecting.env.step

    def limited(action: np.ndarray) -> tuple:
        observation, reward, terminated, truncated, info = step(action * 0.5)  # a safety filter at work
        return observation, reward, terminated, truncated, info | {"executed_action": action * 0.5}

    collecting.env.step = limited  # type: ignore[method-assign]
    stored = [item for _ in range(4) for item in collecting.step(np.array([0.8, -3.0, 0.2]))]
    for transition in stored:
        np.testing.assert_allclose(transition.action, [0.4, -0.5, 0.1])


def test_trap_1_the_last_transition_of_an_episode_holds_its_final_state_not_the_next_start() -> None:
    collecting = collector(4, horizon=6)  # the timeout falls inside the second decision
    first, second = (collecting.step(np.zeros(12))[0] for _ in range(2))
    assert collecting.env_steps == 6
    assert (first.discount > 0, second.discount) == (True, 0.0)
    assert collecting.finished is not None
    np.testing.assert_allclose(second.next_state, collecting.finished.states[-1].astype(np.float32))
    assert not np.allclose(second.next_state, collecting.state_now)
    assert (len(collecting.finished), collecting.finished.truncated) == (6, True)


def source(demonstrations: Demonstrations | None, **changes: Any) -> OnlineSource:
    env = BlockedPeg()
    config = OnlineConfig(**({"env_steps": 60, "warmup_steps": 20, "batch_size": 8, "demo_fraction": 0.5} | changes))
    limits, states = world_limits(env), world_states(env)
    return OnlineSource(env, PEG, states, limits, config=config, rows=32, seed=0, demonstrations=demonstrations)


@pytest.mark.parametrize("steps", [1, 4])
def test_there_is_one_batch_for_each_control_step_after_the_warm_up(demonstrations: Demonstrations, steps: int) -> None:
    made = source(demonstrations, decision_steps=steps)
    batches = [made.next() for _ in range(60)]
    assert made.progress == 60
    assert [batch is None for batch in batches] == [True] * 20 + [False] * 40
    assert len(batches[-1]) == 32


def test_updates_between_the_warm_up_and_the_first_own_action_cost_no_step(demonstrations: Demonstrations) -> None:
    made = source(demonstrations, warmup_updates=7)
    batches = [made.next() for _ in range(28)]
    assert [batch is None for batch in batches] == [True] * 20 + [False] * 8
    assert (made.progress, made.collector.env_steps) == (21, 21)


def test_trap_3_batches_of_the_source_are_half_demonstrations_in_every_slice(demonstrations: Demonstrations) -> None:
    made = source(demonstrations)
    for _ in range(30):
        batch = made.next()
    assert batch is not None
    known = {tuple(row) for row in made.demos.split(torch.from_numpy(made.demos.rows))["state"].tolist()}
    for part in batch.slices(4):
        assert sum(tuple(row) in known for row in part.state.tolist()) == 4


@pytest.mark.parametrize(
    "bad",
    [
        {"warmup_steps": 0},
        {"warmup_updates": -1},
        {"demo_fraction": 1.0},
        {"env_steps": 5},
        {"decision_steps": 0},
        {"discount": 0.0},
    ],
)
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        source(None, **bad)


@pytest.mark.parametrize("interrupted_after", [[3, 31], [87]])
def test_rlpd_resumes_bit_for_bit(demonstrations: Demonstrations, tmp_path: Path, interrupted_after: list[int]) -> None:
    def run(name: str, stop_after: int | None = None) -> dict[str, Any]:
        folder = Run(tmp_path / name, tensorboard=False)
        config = rlpd.PRESETS["debug"]
        rlpd.finetune(BlockedPeg(), None, demonstrations, config, folder, seed=3, stop_after=stop_after)
        tree = read_tree(folder.state_path)
        tree["loop"].pop("wall_s")
        return tree

    whole = run("whole")
    for stop_after in interrupted_after:
        run("parts", stop_after)
        torch.manual_seed(999)  # the global generators must not matter
        np.random.seed(999)
    assert tree_hash(whole) == tree_hash(run("parts"))


def test_sac_needs_neither_a_base_nor_demonstrations_and_its_policy_loads_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, tensorboard=False)
    sac.finetune(BlockedPeg(), None, None, sac.PRESETS["debug"], run, seed=0)
    policy = load_policy(run.policy_path)
    assert roll_out(BlockedPeg(), policy, 0) == roll_out(BlockedPeg(), policy, 0)
    chunk = policy.act(BlockedPeg().reset(seed=1)[0])
    assert chunk.actions.shape == (1, 3)
    assert np.abs(chunk.actions).max() <= 1.0


def test_a_policy_acts_as_its_actor_did_with_any_activation(demonstrations: Demonstrations, tmp_path: Path) -> None:
    run = Run(tmp_path, tensorboard=False)
    config = replace(rlpd.PRESETS["debug"], activation="tanh", actor_layer_norm=True, env_steps=62, evaluate_every=0)
    rlpd.finetune(BlockedPeg(), None, demonstrations, config, run, seed=0)
    loaded = load_policy(run.policy_path)
    learner = SACLearner(8, 3, config, seed=0)
    learner.restore(read_tree(run.state_path)["learner"])
    observation = BlockedPeg().reset(seed=1)[0]
    state = torch.from_numpy(loaded.states.normalize(np.concatenate(list(observation.values()))))[None]
    expected = learner.actor.mode(state).detach().numpy().astype(np.float64)
    np.testing.assert_allclose(loaded.act(observation).actions, loaded.limits.denormalize(expected), atol=1e-6)


def test_a_learner_of_vectors_refuses_images(demonstrations: Demonstrations, tmp_path: Path) -> None:
    shapes = {**demonstrations.observation_shapes, "image/wrist": (84, 84, 3)}
    seeing = replace(demonstrations, observation_shapes=shapes)
    with pytest.raises(CheckpointMismatch, match="image/wrist"):
        rlpd.finetune(BlockedPeg(), None, seeing, rlpd.PRESETS["debug"], Run(tmp_path), seed=0)
