"""Any gymnasium id as a world: its fields, its success, its seeds; stable-baselines3 on worlds as they are."""

import warnings
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from robot.errors import ConfigError
from robot.worlds import make_env, make_expert
from sim.suites.tandem import names

ROBOTICS = "gymnasium_robotics"


class Walk(gymnasium.Env[dict[str, Any], np.ndarray]):
    """A point on a line with a camera; tells success only where it is asked to."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 8}

    def __init__(self, render_mode: str | None = None, *, tells: str = "success") -> None:
        self.render_mode, self.tells = render_mode, tells
        inner = spaces.Dict({"place": spaces.Box(-9, 9, (1,), np.float32)})
        self.observation_space = spaces.Dict({"robot": inner, "view": spaces.Box(0, 255, (4, 4, 3), np.uint8)})
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def _seen(self) -> dict[str, Any]:
        return {"robot": {"place": np.array([self.place], np.float32)}, "view": np.full((4, 4, 3), 7, np.uint8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(-1, 1))
        return self._seen(), {}

    def step(self, action):
        assert action.dtype == np.float32
        self.place += float(action[0])
        info = {self.tells: self.place > 2.0} if self.tells else {}
        return self._seen(), float(action[0]), False, False, info

    def render(self):
        return self._seen()["view"]


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register("TandemWalk-v0", Walk, max_episode_steps=12, reward_threshold=4.0)
    gymnasium.register("TandemCount-v0", lambda **_: gymnasium.make("CartPole-v1").unwrapped)
    yield
    for name in ("TandemWalk-v0", "TandemCount-v0"):
        del gymnasium.registry[name]


def test_fields_keep_their_names_and_success_ends_the_episode_with_reward_one():
    env: Any = make_env("gymnasium/TandemWalk-v0")
    assert env.interface.observation_shapes == {"robot.place": (1,), "image/view": (4, 4, 3)}
    assert (env.interface.rate_hz, env.interface.max_steps) == (8.0, 12)
    env.reset(seed=0)
    ends = []
    while not any(ends):
        observation, reward, terminated, _, info = env.step(np.array([5.0]))
        np.testing.assert_array_equal(info["executed_action"], [1.0])
        assert (reward, terminated) == (float(info["success"]), info["success"])
        ends.append(terminated)
    assert observation["robot.place"].dtype == np.float64
    assert observation["robot.place"][0] > 2.0


def test_where_no_success_is_told_the_reward_threshold_decides_and_the_reward_is_the_ids_own():
    env = make_env("gymnasium/TandemWalk-v0", tells="")
    env.reset(seed=0)
    steps = [env.step(np.array([0.9])) for _ in range(12)]
    assert [round(reward, 6) for _, reward, *_ in steps] == [0.9] * 12
    assert [info["success"] for *_, info in steps] == [False] * 4 + [True] * 8
    assert [truncated for *_, truncated, _ in steps] == [False] * 11 + [True]
    assert not any(terminated for _, _, terminated, *_ in steps)


def test_a_seed_is_exact_and_resets_without_one_differ():
    env = make_env("gymnasium/TandemWalk-v0")
    starts = [env.reset(seed=1)[0]["robot.place"][0], *(env.reset()[0]["robot.place"][0] for _ in range(3))]
    again = [env.reset(seed=1)[0]["robot.place"][0], *(env.reset()[0]["robot.place"][0] for _ in range(3))]
    assert starts == again
    assert len(set(starts)) == 4


def test_refusals_say_what_would_be_accepted():
    with pytest.raises(ConfigError, match="bounded Box is needed"):
        make_env("gymnasium/TandemCount-v0")
    with pytest.raises(ConfigError, match="--data"):
        make_expert("gymnasium/TandemWalk-v0")
    with pytest.raises(ConfigError, match="max_steps is 0"):
        make_env("gymnasium/TandemWalk-v0", max_steps=0)
    with pytest.raises(ConfigError, match="cannot be made"):
        make_env("gymnasium/TandemWalk-v0", colour="red")
    with pytest.raises(ConfigError, match=r"TandemWalk-v0"):
        make_env("gymnasium/TandemWalks-v0")
    assert make_env("gymnasium/gymnasium:Pendulum-v1").interface.max_steps == 200  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", ["FetchReach-v4", "FetchPickAndPlace-v4", "FetchPush-v4"])
def test_fetch_experts_solve_their_task_and_seeds_are_exact_after_other_episodes(task):
    pytest.importorskip(ROBOTICS, reason="pip install '.[gymnasium-robotics]'")
    env: Any = make_env(f"gymnasium/{task}")
    expert = make_expert(f"gymnasium/{task}", noise=0.05)

    def rollout(seed: int) -> tuple[np.ndarray, bool]:
        observation, _ = env.reset(seed=seed)
        expert.reset(seed)
        seen = [observation["observation"]]
        while True:
            observation, _, terminated, truncated, _ = env.step(expert.act(observation))
            seen.append(observation["observation"])
            if terminated or truncated:
                return np.array(seen), terminated

    first, _ = rollout(0)
    assert sum(rollout(seed)[1] for seed in range(20)) >= 19
    again, _ = rollout(0)
    np.testing.assert_array_equal(first, again)
    assert env.interface.max_steps == 50
    assert env.interface.rate_hz == 25.0


@pytest.mark.parametrize("env_id", ["FetchPush-v4", "AdroitHandDoor-v1", "FrankaKitchen-v1", "Pendulum-v1"])
def test_gymnasium_checker_accepts(env_id):
    if env_id != "Pendulum-v1":
        pytest.importorskip(ROBOTICS, reason="pip install '.[gymnasium-robotics]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(make_env(f"gymnasium/{env_id}"), skip_render_check=True)


@pytest.mark.parametrize("env_id", [*(f"tandem/{name}" for name in names()), "gymnasium/Pendulum-v1"])
def test_stable_baselines_checker_accepts(env_id):
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="pip install '.[dev]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have float32 in [-1, 1]; ours are station units
        checker.check_env(make_env(env_id, render_mode="rgb_array"), skip_render_check=True)


def test_stable_baselines_learns_a_thousand_steps_on_a_station_task():
    sb3: Any = pytest.importorskip("stable_baselines3", reason="pip install '.[dev]'")
    model = sb3.PPO("MultiInputPolicy", make_env("tandem/reach"), n_steps=500, batch_size=100, n_epochs=2, device="cpu")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(1000)
    assert model.num_timesteps == 1000
    assert model.ep_info_buffer
    assert any((value != before[name]).any() for name, value in model.policy.state_dict().items())
