"""Every registered world: gymnasium's contract, its stated interface, seeds that repeat, and an expert that can."""

from collections.abc import Iterator

import numpy as np
import pytest
from gymnasium import spaces

from policies.data.demonstrations import Env, demonstrate, interface_of
from robot.errors import ConfigError, RobotError
from robot.worlds import make_env, make_expert
from tests.conformance.registered import OWN_SUITE, environments


@pytest.fixture(params=environments(), scope="module")
def env_id(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def env(env_id: str) -> Iterator[Env]:
    try:
        env = make_env(env_id)
    except (RobotError, ImportError) as error:
        if env_id.startswith(f"{OWN_SUITE}/"):
            raise
        pytest.skip(str(error))  # a suite may list what this machine or Tandem cannot run, and says so
    yield env
    env.close()


def test_what_it_gives_is_what_it_states(env: Env) -> None:
    interface = interface_of(env)
    observation, info = env.reset(seed=0)
    assert isinstance(env.observation_space, spaces.Dict)
    assert isinstance(env.action_space, spaces.Box)
    assert {name: value.shape for name, value in observation.items()} == dict(interface.observation_shapes)
    assert env.observation_space.contains(observation)
    assert env.action_space.shape == (len(interface.action_names),)
    assert np.isfinite(env.action_space.low).all() and np.isfinite(env.action_space.high).all()
    assert interface.rate_hz > 0 and interface.max_steps >= 1
    assert set(interface.units) <= {*interface.observation_shapes, "action"}
    assert info["success"] is False
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert np.isfinite(reward) and isinstance(terminated, bool) and isinstance(truncated, bool)
    assert info["executed_action"].shape == env.action_space.shape
    assert isinstance(info["success"], bool)


def trace(env: Env, seed: int, actions: np.ndarray) -> np.ndarray:
    observations = [env.reset(seed=seed)[0]]
    for action in actions:
        observations.append(env.step(action)[0])
    return np.array([np.concatenate([np.ravel(value) for value in seen.values()]) for seen in observations])


def test_a_seed_repeats_and_another_differs(env: Env) -> None:
    env.action_space.seed(0)
    low, high = env.action_space.low, env.action_space.high
    actions = (low + high) / 2 + 0.1 * (high - low) * np.random.default_rng(0).uniform(-1, 1, (15, len(low)))
    first = trace(env, 3, actions)
    trace(env, 4, actions)
    np.testing.assert_array_equal(trace(env, 3, actions), first)
    assert not np.array_equal(trace(env, 4, actions), first)


def test_it_ends_at_its_limit_and_says_why(env: Env) -> None:
    limit = interface_of(env).max_steps
    _, _ = env.reset(seed=0)
    middle = (env.action_space.low + env.action_space.high) / 2
    steps, terminated, truncated, info = 0, False, False, {}
    while not (terminated or truncated):
        *_, terminated, truncated, info = env.step(middle)
        steps += 1
        assert steps <= limit
    assert truncated != terminated
    assert terminated or (steps == limit and not info["success"])


def test_its_expert_mostly_succeeds(env_id: str, env: Env) -> None:
    try:
        expert = make_expert(env_id)
    except ConfigError:
        pytest.skip("it has no expert")
    results = [demonstrate(env, expert, seed) for seed in range(5)]
    assert sum(result.is_success for result in results) >= 4
    first, again = results[0], demonstrate(env, expert, 0)
    np.testing.assert_array_equal(first.actions, again.actions)
