"""Filtered imitation: what is kept, what a batch is made of, and that learning from it moves the policy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.base import behavior_cloning
from policies.base.behavior_cloning import BehaviorCloningConfig
from policies.data.demonstrations import Demonstrations
from policies.data.trajectories import Trajectory
from policies.run import Run
from robot.errors import ConfigError
from tests.world_models.toy import SPEC, STATION, ToyModel, toy_episodes
from world_models.imagined_env import ImaginationConfig, ImaginedEnv
from world_models.recipes.ctrl_world import CtrlWorldConfig, ImaginedEpisode, imagine_episodes, improve, select
from world_models.start_records import StartFile, cut


def demonstrations() -> Demonstrations:
    """Straight to the goal, closing on the way."""
    path = np.linspace([0.35, 0.0, 0.3], [0.62, 0.0, 0.3], 41)
    grip = np.where(np.arange(41) < 20, 0.04, 0.0)[:, None]
    actions = np.concatenate([path, grip], axis=1)[1:]
    trajectory = Trajectory(path, actions, np.eye(40)[-1], True, False)
    low, high = STATION.action_low, STATION.action_high
    return Demonstrations("toy", {"tcp_position": (3,)}, STATION.action_names, low, high, 20.0, [trajectory] * 4, 4)


def make_env(num_envs: int = 4) -> ImaginedEnv:
    starts = StartFile(tuple(cut(episode, SPEC, "start", 0) for episode in toy_episodes(4)))
    return ImaginedEnv(ToyModel(), STATION, starts, num_envs, config=ImaginationConfig(max_frames=6))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> behavior_cloning.BehaviorCloning:
    config = BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=30, hidden=(16,), batch_size=16)
    run = Run(tmp_path_factory.mktemp("base"), tensorboard=False)
    return behavior_cloning.train_base(demonstrations(), config, run, seed=0)[0]


def episode(probability: float, disagreement: float, is_success: bool) -> ImaginedEpisode:
    return ImaginedEpisode(np.zeros((1, 3)), {}, np.zeros((8, 4)), 8, probability, disagreement, is_success)


def test_the_filter_keeps_sure_successes_with_the_least_disagreement() -> None:
    episodes = [
        episode(0.95, 0.3, True),
        episode(0.9, 0.1, True),
        episode(0.7, 0.0, True),
        episode(0.99, 0.0, False),
        episode(0.85, 0.2, True),
        episode(0.85, 0.4, True),
    ]
    kept = select(episodes, CtrlWorldConfig(keep_success=0.8, keep_disagreement=0.5))
    assert [item.disagreement for item in kept.episodes] == [0.1, 0.2]
    assert kept.facts() == {"imagined": 6, "imagined_success": 5 / 6, "kept": 2}
    assert select([], CtrlWorldConfig()).imagined_success == 0.0


def test_imagined_episodes_have_a_row_per_decision_and_the_executed_actions(
    base: behavior_cloning.BehaviorCloning,
) -> None:
    found = imagine_episodes(make_env(), base, CtrlWorldConfig(rollouts=6, action_noise=0.05), seed=0)
    assert len(found) == 6
    for item in found:
        assert item.states.shape == (-(-len(item.actions) // 8), 3)
        assert len(item.actions) % SPEC.ticks_per_frame == 0
        assert np.linalg.norm(np.diff(item.actions[:, :3], axis=0), axis=1).max() < 0.0126
    again = imagine_episodes(make_env(), base, CtrlWorldConfig(rollouts=6, action_noise=0.05), seed=0)
    assert all((first.actions == second.actions).all() for first, second in zip(found, again, strict=True))


def test_improving_trains_a_copy_and_leaves_it_in_the_run(
    base: behavior_cloning.BehaviorCloning, tmp_path: Path
) -> None:
    before = torch.cat([value.flatten().clone() for value in base.network.state_dict().values()])
    config = CtrlWorldConfig(rollouts=4, keep_success=0.1, keep_disagreement=1.0, steps=5)
    run = Run(tmp_path, tensorboard=False)
    policy, kept, state = improve(make_env(), base, demonstrations(), config, run, seed=0)
    assert state.updates == 5
    assert kept.imagined == 4
    assert run.policy_path.is_file()
    after = torch.cat([value.flatten() for value in policy.network.state_dict().values()])
    assert (after != before).any()
    assert (torch.cat([value.flatten() for value in base.network.state_dict().values()]) == before).all()


def test_a_decision_must_fall_on_a_frame(tmp_path: Path) -> None:
    config = BehaviorCloningConfig(action_horizon=6, execution_horizon=6, steps=1, hidden=(4,), batch_size=4)
    odd = behavior_cloning.train_base(demonstrations(), config, Run(tmp_path / "base", tensorboard=False), seed=0)[0]
    with pytest.raises(ConfigError, match="multiple of 4"):
        improve(make_env(), odd, demonstrations(), CtrlWorldConfig(), Run(tmp_path, tensorboard=False), seed=0)
