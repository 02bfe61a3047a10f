"""Grasp a cube by friction and lift it."""

# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.specs import StationSpec
from robot.types import Array
from sim.task import StartRange


@dataclass
class Lift:
    """Succeeds when the cube's centre is lifted by the given height."""

    name: str = "lift"
    max_steps: int = 100
    object_state_size: int = 3
    start: StartRange = field(default_factory=lambda: StartRange((0.46, -0.05, 0.12), (0.54, 0.05, 0.18), 0.04))
    cube_low_m: tuple[float, float] = (0.43, -0.10)
    cube_high_m: tuple[float, float] = (0.57, 0.10)
    cube_yaw_rad: float = 0.15
    cube_half_m: float = 0.02
    cube_mass_kg: float = 0.1
    lift_m: float = 0.10

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        cube = spec.worldbody.add_body(name="cube")
        cube.add_freejoint(name="cube")
        cube.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[self.cube_half_m] * 3,
            mass=self.cube_mass_kg,
            condim=4,
            friction=[1.0, 0.02, 0.0001],
            rgba=(0.8, 0.2, 0.15, 1.0),
        )

    def bind(self, model: mujoco.MjModel) -> None:
        self._cube = model.body("cube").id
        self._address = int(model.joint("cube").qposadr[0])

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        yaw = rng.uniform(-self.cube_yaw_rad, self.cube_yaw_rad)
        place = data.qpos[self._address : self._address + 7]
        place[:2] = rng.uniform(self.cube_low_m, self.cube_high_m)
        place[2] = self.cube_half_m
        place[3:] = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        return data.xpos[self._cube].copy()

    def success(self, data: mujoco.MjData) -> bool:
        return bool(data.xpos[self._cube, 2] > self.cube_half_m + self.lift_m)
