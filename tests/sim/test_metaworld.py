"""The Meta-World adapter: it ends on success, begins anywhere, and repeats exactly."""

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robot.worlds import make_env, make_expert

pytest.importorskip("metaworld", reason="Meta-World is not installed: pip install '.[metaworld]'")
TASK = "metaworld/peg-insert-side-v3"


def rollout(env, expert, seed: int) -> tuple[np.ndarray, bool, bool, list[float]]:
    observation, _ = env.reset(seed=seed)
    expert.reset(seed)
    states, rewards = [observation["state"]], []
    while True:
        observation, reward, terminated, truncated, info = env.step(expert.act(observation))
        states.append(observation["state"])
        rewards.append(reward)
        assert terminated == info["success"]
        if terminated or truncated:
            return np.array(states), terminated, truncated, rewards


def test_every_v3_task_is_offered():
    from sim.suites.metaworld import names

    assert len(names()) == 50
    assert {"peg-insert-side-v3", "door-open-v3"} <= set(names())


@pytest.mark.parametrize("task", ["peg-insert-side-v3", "door-open-v3"])
def test_gymnasium_checker_accepts(task):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(make_env(f"metaworld/{task}", render_mode="rgb_array"), skip_render_check=False)


@pytest.mark.parametrize("task", ["peg-insert-side-v3", "door-open-v3", "push-v3", "drawer-close-v3", "lever-pull-v3"])
def test_the_expert_succeeds_and_a_seed_is_exact_also_after_other_episodes(task):
    env, expert = make_env(f"metaworld/{task}"), make_expert(f"metaworld/{task}")
    first, terminated, truncated, rewards = rollout(env, expert, seed=1)
    assert (terminated, truncated) == (True, False)
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    other, *_ = rollout(env, expert, seed=2)
    again, *_ = rollout(make_env(f"metaworld/{task}"), expert, seed=1)
    back, *_ = rollout(env, expert, seed=1)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, back)
    assert not np.array_equal(first[0], other[0])


def test_goals_are_drawn_anew_at_every_reset():
    env = make_env(TASK)
    goals = {env.reset()[0]["state"][-3:].tobytes() for _ in range(5)}
    assert len(goals) == 5


def test_the_horizon_truncates_and_the_executed_action_is_the_clipped_one():
    env = make_env(TASK, max_steps=4)
    env.reset(seed=0)
    ends = []
    for _ in range(4):
        _, reward, terminated, truncated, info = env.step(np.array([3.0, -0.5, 0.2, -7.0]))
        np.testing.assert_array_equal(info["executed_action"], [1.0, -0.5, 0.2, -1.0])
        assert (reward, terminated) == (0.0, False)
        ends.append(truncated)
    assert ends == [False, False, False, True]


def test_knobs_change_the_expert():
    env = make_env(TASK)
    lengths = {
        name: len(rollout(env, make_expert(TASK, **knobs), seed=1)[0])
        for name, knobs in {"plain": {}, "slow": {"slowness": 2.0}, "drops": {"drop_probability": 1.0}}.items()
    }
    assert lengths["slow"] > lengths["plain"]
    assert lengths["drops"] > lengths["plain"]
    observation, _ = env.reset(seed=1)
    actions = {make_expert(TASK, noise=0.1, bias=(0, 0, 0, 0.0)).act(observation).tobytes() for _ in range(2)}
    assert len(actions) == 1  # noise follows from the expert's seed
    assert actions != {make_expert(TASK).act(observation).tobytes()}
