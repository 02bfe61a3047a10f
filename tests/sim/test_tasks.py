"""The station's tasks: gymnasium's contract, exact seeds, experts, the declared disturbance."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robot.errors import ConfigError
from robot.worlds import env_ids, make_env, make_expert
from sim.suites.tandem import names
from sim.tasks.peg_insert import PegInsert

TASKS = names()


def rollout(env, expert, seed: int, steps: int = 10_000) -> list[dict[str, np.ndarray]]:
    observation, info = env.reset(seed=seed)
    expert.reset(seed)
    seen = [observation]
    for _ in range(steps):
        observation, _, terminated, truncated, info = env.step(expert.act(observation))
        seen.append(observation)
        if terminated or truncated:
            break
    rollout.success = info["success"]
    return seen


def success_rate(env_id: str, episodes: int, **knobs) -> float:
    env, expert = make_env(env_id), make_expert(env_id, **knobs)
    solved = 0
    for seed in range(episodes):
        rollout(env, expert, seed)
        solved += rollout.success
    return solved / episodes


def equal(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_station_tasks_are_found_by_name():
    known = ("reach", "lift", "peg-insert", "place-in-bin", "open-drawer", "stack", "tidy-drawer", "handover")
    assert {f"tandem/{name}" for name in known} <= set(env_ids())


@pytest.mark.parametrize("task", TASKS)
def test_gymnasium_checker_accepts(task):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(make_env(f"tandem/{task}", render_mode="rgb_array"), skip_render_check=False)


def test_gymnasium_checker_accepts_images():
    env: Any = make_env("tandem/reach", images=("scene", "wrist"), image_size=32)
    assert env.unwrapped.interface.observation_shapes["image/wrist"] == (32, 32, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_is_exact_also_after_other_episodes(task):
    env, expert = make_env(f"tandem/{task}"), make_expert(f"tandem/{task}", noise=0.002)
    fresh = rollout(make_env(f"tandem/{task}"), expert, seed=3, steps=50)
    rollout(env, expert, seed=4)
    used = rollout(env, expert, seed=3, steps=50)
    assert len(fresh) == len(used)
    assert all(equal(a, b) for a, b in zip(fresh, used, strict=True))
    other, _ = env.reset(seed=5)
    assert not np.array_equal(other["object_state"], fresh[0]["object_state"])
    assert not np.array_equal(other["tcp_position"], fresh[0]["tcp_position"])


def test_without_a_seed_episodes_differ_and_follow_from_the_first_seed():
    env = make_env("tandem/reach")
    goals = [env.reset(seed=0)[0]["object_state"], *(env.reset()[0]["object_state"] for _ in range(2))]
    again = [env.reset(seed=0)[0]["object_state"], *(env.reset()[0]["object_state"] for _ in range(2))]
    np.testing.assert_array_equal(goals, again)
    assert len({goal.tobytes() for goal in goals}) == 3


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_solves_its_task(task):
    assert success_rate(f"tandem/{task}", 20) >= 0.95


@pytest.mark.parametrize("task", ["reach", "lift", "place-in-bin"])
def test_the_expert_solves_its_task_on_the_small_arm(task):
    assert success_rate(f"tandem/{task}?station=so101_sim", 20) >= 0.95


def test_a_task_out_of_reach_of_an_arm_is_refused():
    with pytest.raises(ConfigError, match="within reach of so101"):
        make_env("tandem/tidy-drawer?station=so101_sim")


def test_success_terminates_with_reward_and_failure_truncates_without():
    env, expert = make_env("tandem/reach", max_steps=9), make_expert("tandem/reach")
    ends = set()
    for seed in range(30):
        observation, _ = env.reset(seed=seed)
        for step in range(1, 10):
            observation, reward, terminated, truncated, info = env.step(expert.act(observation))
            assert (reward, terminated) == (float(info["success"]), info["success"])
            assert truncated == (step == 9 and not terminated)
            if terminated or truncated:
                ends.add((terminated, truncated))
                break
    assert ends == {(True, False), (False, True)}


def test_knobs_make_the_expert_worse():
    assert success_rate("tandem/peg-insert", 8, bias=(0.006, 0.0, 0.0, 0.0)) <= 0.25
    assert success_rate("tandem/peg-insert", 8, noise=0.02) <= 0.8
    with pytest.raises(ConfigError, match="bias"):
        make_expert("tandem/reach", bias=(1.0,))
    with pytest.raises(ConfigError, match="did you mean 'drift_high_m_s'"):
        make_env("tandem/peg-insert", drift_high=0.0)


def test_slowness_and_dropped_grasps_cost_time():
    lengths = {}
    for name, knobs in {"plain": {}, "slow": {"slowness": 2.0}, "drops": {"drop_probability": 1.0}}.items():
        lengths[name] = len(rollout(make_env("tandem/lift"), make_expert("tandem/lift", **knobs), seed=1))
    assert lengths["slow"] > 1.3 * lengths["plain"]
    assert lengths["drops"] > lengths["plain"] + 5


def open_loop_rate(chunk: int, steps: int, episodes: int = 40, **options) -> float:
    """Success within `steps` of the expert planning `chunk` actions from one observation, each executed in full."""
    env, expert = make_env("tandem/peg-insert", max_steps=steps, **options), make_expert("tandem/peg-insert")
    solved = 0
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        expert.reset(seed)
        ended = False
        while not ended:
            imagined, actions = dict(observation), []
            for _ in range(chunk):
                actions.append(expert.act(imagined))
                imagined["tcp_position"] = actions[-1][:3]
            for action in actions:
                observation, _, terminated, truncated, _ = env.step(action)
                ended = terminated or truncated
                if ended:
                    solved += terminated
                    break
    return solved / episodes


def test_the_drift_makes_an_open_loop_chunk_miss_and_nothing_else_does():
    chunk, first_attempt_steps = 16, 18  # the clone's default chunk; the slowest expert needs 16 steps
    assert open_loop_rate(1, first_attempt_steps) >= 0.97
    assert open_loop_rate(chunk, first_attempt_steps) <= 0.40
    assert open_loop_rate(chunk, first_attempt_steps, drift_low_m_s=0.0, drift_high_m_s=1e-9) >= 0.95


def test_the_drift_is_constant_within_an_episode_differs_between_and_is_not_observed():
    env: Any = make_env("tandem/peg-insert")
    velocities = []
    for seed in range(20):
        hole = [env.reset(seed=seed)[0]["object_state"]]
        start = np.append(env.loop.observation.values["tcp_position"], 0.01)
        for _ in range(6):
            hole.append(env.step(start)[0]["object_state"])
        steps = np.diff(np.array(hole)[:, :2], axis=0) * 20.0
        if np.ptp(steps, axis=0).max() < 1e-9:  # did not turn back at an edge meanwhile
            velocities.append(steps[0])
    speeds = np.linalg.norm(velocities, axis=1)
    assert len(velocities) > 10
    assert speeds.min() >= PegInsert.drift_low_m_s - 1e-9
    assert speeds.max() <= PegInsert.drift_high_m_s + 1e-9
    assert np.ptp(speeds) > 0.3 * (PegInsert.drift_high_m_s - PegInsert.drift_low_m_s)
    assert len({(x > 0, y > 0) for x, y in velocities}) == 4
    assert env.unwrapped.interface.observation_shapes["object_state"] == (6,)


def test_a_misaligned_peg_is_blocked_on_the_surface():
    env = make_env("tandem/peg-insert", drift_low_m_s=0.0, drift_high_m_s=1e-9)
    observation, _ = env.reset(seed=0)
    hole = observation["object_state"][:3]
    beside = np.array([hole[0] + 0.02, hole[1], 0.0, 0.01])
    for height in [*np.linspace(observation["tcp_position"][2], 0.08, 30), *[0.08] * 15]:
        beside[2] = height
        observation, _, terminated, _, _ = env.step(beside)
        assert not terminated
    assert observation["tcp_position"][2] - 0.05 > hole[2] - 0.004
    assert np.abs(observation["joint_velocity"]).max() < 0.2
