"""Grasp a cube, carry it over the rim of a bin and let it go."""

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.specs import StationSpec
from robot.types import Array
from sim.grasping import carry, grasp, is_held, retreat
from sim.objects import Bin, Cube
from sim.task import STEP_M, StartRange, View

ABOVE_RIM = 0.03  # where the expert lets go, the cube's middle over the rim [m]


@dataclass
class PlaceInBin:
    """Succeeds when the cube lies still on the bin's floor."""

    name: str = "place-in-bin"
    max_steps: int = 150
    object_state_size: int = 6
    start: StartRange = field(default_factory=lambda: StartRange((0.45, -0.05, 0.15), (0.55, 0.05, 0.20), 0.04))
    cube: Cube = field(default_factory=Cube)
    bin: Bin = field(default_factory=Bin)
    cube_low_m: tuple[float, float] = (0.42, -0.22)
    cube_high_m: tuple[float, float] = (0.58, -0.08)
    cube_yaw_rad: float = 0.15
    bin_low_m: tuple[float, float] = (0.45, 0.12)
    bin_high_m: tuple[float, float] = (0.55, 0.20)
    still_m_s: float = 0.02
    expert_step_m: float = STEP_M

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        self.cube.build(spec)
        self.bin.build(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        self.cube.bind(model)
        self.bin.bind(model)

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        yaw = rng.uniform(-self.cube_yaw_rad, self.cube_yaw_rad)
        self.cube.place(data, rng.uniform(self.cube_low_m, self.cube_high_m), yaw)
        self.bin.place(data, rng.uniform(self.bin_low_m, self.bin_high_m))

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        """Return the cube's middle, then the middle of the bin's opening [m]."""
        return np.concatenate([self.cube.position(data), self.bin.position(data)])

    def success(self, data: mujoco.MjData) -> bool:
        cube = self.cube.position(data)
        lies_low = cube[2] < self.bin.floor_m + 1.5 * self.cube.half_m
        return bool(lies_low and self.bin.holds(data, cube) and self.cube.speed(data) < self.still_m_s)

    def plan(self, view: View) -> tuple[Array, float]:
        opening = view.objects[3:6]
        if self.bin.contains(opening, view.thing):
            return retreat(view)
        if is_held(view, view.thing, self.cube.half_m):
            target = opening + np.array([0.0, 0.0, ABOVE_RIM])
            return carry(view, view.thing, target, hover_m=target[2] + 0.01, release_m=0.02)
        return grasp(view, view.thing, self.cube.half_m)
