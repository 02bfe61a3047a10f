"""Policies, recipes and evaluation run unchanged in an imagined world; what it cannot give is refused by name."""

from pathlib import Path

import numpy as np
import pytest

from policies.base import behavior_cloning
from policies.base.behavior_cloning import BehaviorCloningConfig
from policies.data.demonstrations import Demonstrations, collect
from policies.eval_verb import EvalConfig
from policies.evaluation import roll_out, roll_out_all
from policies.imagined import env_in
from policies.recipes import resfit
from policies.run import Run
from policies.steerable import SteerablePolicy
from robot.errors import CheckpointMismatch, ConfigError
from robot.worlds import make_env
from tests.world_models.toy import SPEC, ToyModel
from world_models.imagined_env import ImaginationConfig
from world_models.imagined_task import ImaginedTaskEnv, check_cameras, imagine_world, starts_of_world

TRUE = "tandem/reach"
CONFIG = BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=10, hidden=(8,), batch_size=16)


@pytest.fixture(scope="module")
def world() -> ImaginedTaskEnv:
    return imagine_world(ToyModel(), starts_of_world(TRUE, SPEC), ImaginationConfig(max_frames=4))


@pytest.fixture(scope="module")
def demonstrations() -> Demonstrations:
    return collect(TRUE, 2, 0)


@pytest.fixture(scope="module")
def clone(demonstrations: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> SteerablePolicy:
    run = Run(tmp_path_factory.mktemp("base"), tensorboard=False)
    return behavior_cloning.train_base(demonstrations.select(["tcp_position"]), CONFIG, run, seed=0)[0]


def test_an_imagined_episode_begins_as_the_true_one_of_its_seed(world: ImaginedTaskEnv) -> None:
    true = make_env(TRUE, images=SPEC.views, image_size=SPEC.image_size)
    for seed in (3, 4):
        seen, imagined = true.reset(seed=seed)[0], world.reset(seed=seed)[0]
        assert set(imagined) == {"joint_position", "joint_velocity", "tcp_position", "image/scene", "image/wrist"}
        for name in ("image/scene", "image/wrist"):
            assert (seen[name] == imagined[name]).all()
        assert imagined["tcp_position"] == pytest.approx(seen["tcp_position"], abs=1e-6)
    true.close()


def test_a_clone_runs_there_and_keeps_the_worlds_rate(world: ImaginedTaskEnv, clone: SteerablePolicy) -> None:
    results = roll_out_all(world, clone, [5, 6])
    assert all(result.steps in (4, 8, 12, 16) for result in results)  # an episode ends on a frame
    assert world.interface.rate_hz == 20.0
    assert roll_out(world, clone, 5) == results[0]


def test_a_residual_learns_there(
    world: ImaginedTaskEnv, clone: SteerablePolicy, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    own, run = demonstrations.select(["tcp_position"]), Run(tmp_path, tensorboard=False)
    state = resfit.finetune(world, clone, own, resfit.PRESETS["debug"], run, seed=0)
    assert state.updates > 0
    assert run.policy_path.is_file()


def test_what_the_model_cannot_give_is_refused_by_name(
    world: ImaginedTaskEnv, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    seeing_objects = behavior_cloning.train_base(demonstrations, CONFIG, Run(tmp_path, tensorboard=False), seed=0)[0]
    with pytest.raises(CheckpointMismatch, match="observation object_state: the checkpoint expects"):
        roll_out_all(world, seeing_objects, [0])
    with pytest.raises(CheckpointMismatch, match="camera 'top': the policy expects it, found scene, wrist"):
        check_cameras(SPEC, ("scene", "top"), 24)
    with pytest.raises(CheckpointMismatch, match="expects 84 pixels, found 24"):
        check_cameras(SPEC, ("scene",), 84)


def test_the_imagined_counterpart_has_an_id(tmp_path: Path) -> None:
    assert env_in("simulated", TRUE, None) == TRUE
    assert env_in("imagined", TRUE, Path("a b")) == "imagined/tandem/reach?model=a+b"
    assert env_in("imagined", f"{TRUE}?station=so101_sim", Path("m")) == f"imagined/{TRUE}?station=so101_sim&model=m"
    with pytest.raises(ConfigError, match="needs --world-model"):
        EvalConfig(Path("policy"), world="imagined")
    with pytest.raises(ConfigError, match="is for --world imagined"):
        EvalConfig(Path("policy"), world_model=Path("m"))
    with pytest.raises(ConfigError, match="through graph"):
        EvalConfig(Path("policy"), world="imagined", world_model=Path("m"), through="graph")


def test_render_shows_the_views_side_by_side() -> None:
    env = imagine_world(ToyModel(), starts_of_world(TRUE, SPEC), render_mode="rgb_array")
    assert env.render() is None
    env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert picture.shape == (24, 48, 3)
