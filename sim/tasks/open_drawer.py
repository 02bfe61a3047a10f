"""Grip the knob of a drawer and pull it open."""

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.specs import StationSpec
from robot.types import Array
from sim.grasping import slide_knob
from sim.objects import Cabinet
from sim.task import STEP_M, StartRange, View


@dataclass
class OpenDrawer:
    """Succeeds when the drawer is out by the given way."""

    name: str = "open-drawer"
    max_steps: int = 100
    object_state_size: int = 4
    start: StartRange = field(default_factory=lambda: StartRange((0.38, -0.05, 0.18), (0.46, 0.05, 0.24), 0.04))
    cabinet: Cabinet = field(default_factory=Cabinet)
    cabinet_low_m: tuple[float, float] = (0.56, -0.15)
    cabinet_high_m: tuple[float, float] = (0.62, 0.15)
    ajar_m: float = 0.02  # at most, at the start
    open_m: float = 0.12
    expert_step_m: float = STEP_M

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        self.cabinet.build(spec)

    def bind(self, model: mujoco.MjModel) -> None:
        self.cabinet.bind(model)

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        self.cabinet.place(data, rng.uniform(self.cabinet_low_m, self.cabinet_high_m), rng.uniform(0.0, self.ajar_m))

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        """Return the middle of the knob, then how far the drawer is out [m]."""
        return np.append(self.cabinet.knob(data), self.cabinet.opening(data))

    def success(self, data: mujoco.MjData) -> bool:
        return self.cabinet.opening(data) > self.open_m

    def plan(self, view: View) -> tuple[Array, float]:
        return slide_knob(view, view.thing, self.cabinet.knob_half_m[1], -1.0)
