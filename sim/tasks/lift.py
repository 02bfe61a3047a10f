"""Grasp a cube by friction and lift it."""

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.specs import StationSpec
from robot.types import Array
from sim.grasping import UP, grasp, is_held
from sim.objects import Cube
from sim.task import STEP_M, StartRange, View


@dataclass
class Lift:
    """Succeeds when the cube's centre is lifted by the given height."""

    name: str = "lift"
    max_steps: int = 100
    object_state_size: int = 3
    start: StartRange = field(default_factory=lambda: StartRange((0.46, -0.05, 0.12), (0.54, 0.05, 0.18), 0.04))
    cube: Cube = field(default_factory=Cube)
    cube_low_m: tuple[float, float] = (0.43, -0.10)
    cube_high_m: tuple[float, float] = (0.57, 0.10)
    cube_yaw_rad: float = 0.15
    lift_m: float = 0.10
    expert_step_m: float = STEP_M

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        self.cube.build(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        self.cube.bind(model)

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        yaw = rng.uniform(-self.cube_yaw_rad, self.cube_yaw_rad)
        self.cube.place(data, rng.uniform(self.cube_low_m, self.cube_high_m), yaw)

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        return self.cube.position(data)

    def success(self, data: mujoco.MjData) -> bool:
        return bool(self.cube.position(data)[2] > self.cube.half_m + self.lift_m)

    def plan(self, view: View) -> tuple[Array, float]:
        if is_held(view, view.thing, self.cube.half_m):
            return view.tcp + UP, 0.0
        return grasp(view, view.thing, self.cube.half_m)
