"""One imagined episode at a time, behind the plain gymnasium face, so that whatever runs elsewhere runs here."""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np

from policies.data.demonstrations import seeing_env
from robot.errors import CheckpointMismatch, ConfigError, MissingDependency
from robot.specs import load_station
from robot.tick import Cell
from world_models.contract import WorldModel, WorldModelSpec
from world_models.imagined_env import ImaginationConfig, ImaginedEnv
from world_models.start_records import ResetStarts, StartRecord, Starts
from world_models.trust import Trust

Observation = dict[str, np.ndarray]


class ImaginedTaskEnv(gymnasium.Env[Observation, np.ndarray]):
    """An `ImaginedEnv` of one member without its leading axis."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]

    def __init__(self, env: ImaginedEnv, render_mode: str | None = None) -> None:
        if env.num_envs != 1:
            raise ConfigError(f"one imagined episode at a time: num_envs must be 1, got {env.num_envs}")
        self.env, self.interface, self.render_mode = env, env.interface, render_mode
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        observations, info = self.env.reset(seed=seed, options=options)
        return _first(observations), _first(info)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        observations, rewards, terminated, truncated, info = self.env.step(np.asarray(action)[None])
        return _first(observations), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), _first(info)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the present views side by side."""
        if self.render_mode != "rgb_array" or not self.env.members:
            return None
        return np.concatenate(list(self.env.members[0].images.values()), axis=1)


def _first(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: values[0] for name, values in batch.items()}


def imagine_world(
    model: WorldModel,
    starts: Starts,
    config: ImaginationConfig = ImaginationConfig(),  # noqa: B008
    trust: Trust = Trust(),  # noqa: B008
    render_mode: str | None = None,
) -> ImaginedTaskEnv:
    """Return the imagined world of the station a model was made for, one episode at a time."""
    env = ImaginedEnv(model, load_station(model.spec.station), starts, config=config, trust=trust)
    return ImaginedTaskEnv(env, render_mode)


def check_cameras(spec: WorldModelSpec, images: Sequence[str], image_size: int) -> None:
    """Refuse cameras that the model has no view of, and another image size, by name."""
    absent = [camera for camera in images if camera not in spec.views]
    if absent:
        raise CheckpointMismatch(
            f"camera '{absent[0]}': the policy expects it, found {', '.join(spec.views)} in the world model; train the "
            "model with this camera, or the policy with those"
        )
    if images and image_size != spec.image_size:
        raise CheckpointMismatch(
            f"images of '{images[0]}': the policy expects {image_size} pixels, found {spec.image_size} in the world "
            f"model; train the policy with --image-size {spec.image_size}"
        )


def starts_of_world(name: str, spec: WorldModelSpec, **options: Any) -> Starts:
    """Return the plain starts that the true world's resets show."""
    try:
        env = seeing_env(name, spec.views, spec.image_size, **options)
    except MissingDependency as error:
        raise ConfigError(f"{name} cannot be built to begin from ({error}): give recorded starts=FILE") from error
    cell = Cell(load_station(spec.station))

    def reset(seed: int) -> StartRecord:
        observation, _ = env.reset(seed=seed)
        joints = np.asarray(observation["joint_position"], np.float64)
        return StartRecord(
            kind="start",
            anchor={view: observation[f"image/{view}"].copy() for view in spec.views},
            memory={},
            actions=np.zeros((0, spec.action_dim)),
            commands=cell.actions.from_joints(joints)[None],
            joints=joints,
            step_s=spec.step_s,
            episode=f"{name} reset {seed}",
        )

    return ResetStarts(reset)
