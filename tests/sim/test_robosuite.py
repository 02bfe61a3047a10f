"""The robosuite adapter, where robosuite is installed: it ends on success, begins anywhere, and repeats exactly."""

import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robot.errors import ConfigError
from robot.worlds import make_env, make_expert

pytest.importorskip("robosuite", reason="robosuite needs its own environment: constraints/robosuite.txt")
pytestmark = pytest.mark.slow
LIFT = "robosuite/Lift"


def rollout(env: Any, seed: int) -> tuple[np.ndarray, bool]:
    observation, _ = env.reset(seed=seed)
    expert = make_expert(LIFT)
    seen, ended, terminated = [observation["object_state"]], False, False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(expert.act(observation))
        assert (reward, terminated) == (float(info["success"]), info["success"])
        seen.append(observation["object_state"])
        ended = terminated or truncated
    return np.array(seen), terminated


def test_the_expert_lifts_and_a_seed_is_exact_also_after_other_episodes():
    env = make_env(LIFT, max_steps=100)
    first, _ = rollout(env, 0)
    assert all(rollout(env, seed)[1] for seed in range(1, 10))
    again, _ = rollout(env, 0)
    np.testing.assert_array_equal(first, again)
    fresh, _ = rollout(make_env(LIFT, max_steps=100), 0)
    np.testing.assert_array_equal(first[0], fresh[0])
    assert not np.array_equal(env.reset(seed=1)[0]["object_state"], first[0])


def test_gymnasium_checker_accepts():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(make_env(LIFT), skip_render_check=True)


def test_two_arms_have_two_robots_in_their_fields():
    env: Any = make_env("robosuite/TwoArmLift")
    shapes = env.interface.observation_shapes
    assert {"robot0_eef_pos", "robot1_eef_pos", "object_state"} <= set(shapes)
    assert len(env.interface.action_names) == 14


def test_a_task_without_an_expert_says_so():
    with pytest.raises(ConfigError, match="--data"):
        make_expert("robosuite/Door")
