"""The gymnasium face of any lock-step world."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from robot.control_loop import ControlLoop, World
from robot.policy import ActionChunk
from robot.record import TickRecord
from robot.types import EndReason, Observation
from robot.units import field_units
from robot.worlds import Interface


class TandemEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """One world behind `reset` and `step`; every step goes through `tick`, so through the safety filter.

    Observations are the world's fields as float64, and `image/<camera>` as uint8 HWC RGB where cameras were asked
    for. Actions are in station units. `info["executed_action"]` is what the safety filter let through, in the same
    units: learners must store it in place of the action. The reward is the world's (sparse: 1 at success).
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]

    def __init__(self, world: World, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.loop = ControlLoop(world)
        station = world.station
        self.interface = Interface(
            world.observation_shapes,
            station.action_names,
            station.control_rate_hz,
            world.max_steps,
            station.joint_names,
            field_units(station),
        )
        fields: dict[str, spaces.Space[Any]] = {
            name: _field_space(name, shape) for name, shape in world.observation_shapes.items()
        }
        self.observation_space = spaces.Dict(fields)  # pyright: ignore[reportAttributeAccessIssue]
        self.action_space = spaces.Box(station.action_low, station.action_high, dtype=np.float64)
        self._dt_s = station.period_s

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        observation = self.loop.reset(seed)
        return dict(observation.values), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        state = self.loop.state
        assert state is not None, "step before reset"
        observation, record = self.loop.step(self._chunk_of_one(action, self.loop.observation))
        info = self._info(record)
        return dict(observation.values), record.reward_task, record.terminated, record.truncated, info

    def _info(self, record: TickRecord) -> dict[str, Any]:
        is_success = record.end_reason is EndReason.SUCCESS
        return {"success": is_success, "executed_action": record.executed_action, "record": record}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        render = getattr(self.loop.world, "render", None)
        return render() if self.render_mode == "rgb_array" and render is not None else None

    def close(self) -> None:
        close = getattr(self.loop.world, "close", None)
        if close is not None:
            close()

    def _chunk_of_one(self, action: np.ndarray, observation: Observation | None) -> ActionChunk:
        assert observation is not None and self.loop.state is not None
        actions = np.asarray(action, np.float64)[None]
        return ActionChunk(actions, self._dt_s, observation.time_ns, self.loop.state.ownership.generation)


def _field_space(name: str, shape: tuple[int, ...]) -> spaces.Box:
    if name.startswith("image/"):
        return spaces.Box(0, 255, shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, shape, np.float64)
