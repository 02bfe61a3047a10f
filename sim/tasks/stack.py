"""Put one cube on top of another and let it go."""

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.specs import StationSpec
from robot.types import Array
from sim.grasping import OPEN_M, carry, grasp, is_held
from sim.objects import BLUE, Cube
from sim.task import STEP_M, StartRange, View


@dataclass
class Stack:
    """Succeeds when the red cube stands still on the blue one and the hand has let go."""

    name: str = "stack"
    max_steps: int = 150
    object_state_size: int = 6
    start: StartRange = field(default_factory=lambda: StartRange((0.45, -0.03, 0.15), (0.55, 0.03, 0.20), 0.04))
    cube: Cube = field(default_factory=Cube)
    base: Cube = field(default_factory=lambda: Cube("base", half_m=0.025, mass_kg=0.2, rgba=BLUE))
    low_m: tuple[float, float] = (0.43, 0.08)
    high_m: tuple[float, float] = (0.57, 0.18)
    cube_yaw_rad: float = 0.15
    tolerance_m: float = 0.015
    still_m_s: float = 0.02
    expert_step_m: float = STEP_M

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        self.cube.build(spec)
        self.base.build(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        self.cube.bind(model)
        self.base.bind(model)
        self._finger = int(model.jnt_qposadr[model.actuator_trnid[-1, 0]])

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Place the cubes on either side of the robot's middle, which one where at random."""
        side = rng.choice((-1.0, 1.0))
        for cube, sign in ((self.cube, side), (self.base, -side)):
            x, y = rng.uniform(self.low_m, self.high_m)
            cube.place(data, np.array([x, sign * y]), rng.uniform(-self.cube_yaw_rad, self.cube_yaw_rad))

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        """Return the middles of the cube to be moved and of the one below [m]."""
        return np.concatenate([self.cube.position(data), self.base.position(data)])

    def success(self, data: mujoco.MjData) -> bool:
        is_free = data.qpos[self._finger] > self.cube.half_m + 0.004
        is_still = max(self.cube.speed(data), self.base.speed(data)) < self.still_m_s
        return bool(is_free and is_still and self._is_stacked(self.object_state(data)))

    def _is_stacked(self, objects: Array) -> bool:
        x, y, z = (objects[:3] - objects[3:] - (0.0, 0.0, self.cube.half_m + self.base.half_m)).tolist()
        return max(abs(x), abs(y)) < self.tolerance_m and abs(z) < 0.006

    def plan(self, view: View) -> tuple[Array, float]:
        top = view.objects[3:6] + np.array([0.0, 0.0, self.cube.half_m + self.base.half_m])
        if self._is_stacked(view.objects):
            return view.tcp, OPEN_M
        if is_held(view, view.thing, self.cube.half_m):
            return carry(view, view.thing, top, hover_m=top[2] + 0.05, release_m=0.002)
        return grasp(view, view.thing, self.cube.half_m)
