"""Three stages in one episode: open a drawer, put a cube into it, close it again.

Every failure can be undone: a dropped cube is picked up again, a drawer that was pushed shut is opened again, a drawer
closed on nothing does not count. What is to be done next follows from what is seen, so `stage` is a fact of the scene.
"""

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.specs import StationSpec
from robot.types import Array
from sim.grasping import carry, grasp, is_held, retreat, slide_knob
from sim.objects import Cabinet, Cube
from sim.task import STEP_M, StartRange, View

DROP_FROM_FRONT = 0.065  # where the expert lets go: behind the drawer's front, and the cube's middle this high [m]
DROP_HEIGHT = 0.10


@dataclass
class TidyDrawer:
    """Succeeds when the cube is in the drawer and the drawer is closed."""

    name: str = "tidy-drawer"
    max_steps: int = 350
    object_state_size: int = 7
    start: StartRange = field(default_factory=lambda: StartRange((0.38, -0.05, 0.18), (0.46, 0.05, 0.24), 0.04))
    cabinet: Cabinet = field(default_factory=Cabinet)
    cube: Cube = field(default_factory=Cube)
    cabinet_low_m: tuple[float, float] = (0.58, 0.10)
    cabinet_high_m: tuple[float, float] = (0.62, 0.16)
    cube_low_m: tuple[float, float] = (0.40, -0.22)
    cube_high_m: tuple[float, float] = (0.55, -0.12)
    cube_yaw_rad: float = 0.15
    ajar_m: float = 0.02  # at most, at the start
    open_m: float = 0.12
    closed_m: float = 0.015
    expert_step_m: float = STEP_M

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        self.cabinet.build(spec)
        self.cube.build(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        self.cabinet.bind(model)
        self.cube.bind(model)

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        self.cabinet.place(data, rng.uniform(self.cabinet_low_m, self.cabinet_high_m), rng.uniform(0.0, self.ajar_m))
        yaw = rng.uniform(-self.cube_yaw_rad, self.cube_yaw_rad)
        self.cube.place(data, rng.uniform(self.cube_low_m, self.cube_high_m), yaw)

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        """Return the cube's middle, the middle of the knob, then how far the drawer is out [m]."""
        return np.concatenate([self.cube.position(data), self.cabinet.knob(data), [self.cabinet.opening(data)]])

    def success(self, data: mujoco.MjData) -> bool:
        return self.stage(self.object_state(data)) == 3

    def stage(self, objects: Array) -> int:
        """Return how many stages are achieved: 1 drawer open, 2 cube inside, 3 closed on it."""
        if self.cabinet.contains(objects[3:6], objects[:3]):
            return 3 if objects[6] < self.closed_m else 2
        return int(objects[6] > self.open_m)

    def plan(self, view: View) -> tuple[Array, float]:
        cube, knob, opening = view.thing, view.objects[3:6], view.objects[6]
        half = self.cabinet.knob_half_m[1]
        if self.stage(view.objects) >= 2:
            return self._close(view, cube, knob, half)
        if is_held(view, cube, self.cube.half_m) and opening > self.open_m:
            front = knob - self.cabinet.knob_m
            target = front + np.array([DROP_FROM_FRONT, 0.0, DROP_HEIGHT])
            return carry(view, cube, target, hover_m=target[2] + 0.06, release_m=0.02)
        if opening > self.open_m:
            return self._grasp_cube(view, cube, knob)
        return slide_knob(view, knob, half, -1.0)

    def _close(self, view: View, cube: Array, knob: Array, half_m: float) -> tuple[Array, float]:
        is_leaving = np.linalg.norm(view.tcp[:2] - cube[:2]) < 0.03 and view.tcp[2] < DROP_HEIGHT + 0.06
        return retreat(view) if is_leaving else slide_knob(view, knob, half_m, 1.0)

    def _grasp_cube(self, view: View, cube: Array, knob: Array) -> tuple[Array, float]:
        """Leave the knob upwards before going to the cube."""
        is_at_knob = np.linalg.norm(view.tcp[:2] - knob[:2]) < 0.03 and view.tcp[2] < knob[2] + 0.08
        return retreat(view) if is_at_knob else grasp(view, cube, self.cube.half_m)
