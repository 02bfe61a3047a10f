"""Touch a button on the table with closed fingers."""

# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from robot.kinematics.model import TCP
from robot.specs import StationSpec
from robot.types import Array
from sim.task import StartRange

if TYPE_CHECKING:
    from sim.experts import View


@dataclass
class Touch:
    """Succeeds when the tcp is no further from the button than the button is wide."""

    name: str = "example-touch"
    max_steps: int = 100
    object_state_size: int = 3
    start: StartRange = field(default_factory=lambda: StartRange((0.42, -0.08, 0.22), (0.54, 0.08, 0.32), 0.04))
    button_low_m: tuple[float, float, float] = (0.36, -0.16, 0.10)
    button_high_m: tuple[float, float, float] = (0.60, 0.16, 0.10)
    tolerance_m: float = 0.02
    expert_step_m: float = 0.008

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        button = spec.worldbody.add_body(name="button", mocap=True)
        button.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[0.02, 0.01, 0],
            contype=0,
            conaffinity=0,
            rgba=(0.8, 0.2, 0.2, 1.0),
        )

    def bind(self, model: mujoco.MjModel) -> None:
        self._tcp = model.site(TCP).id

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        data.mocap_pos[0] = rng.uniform(self.button_low_m, self.button_high_m)

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        return data.mocap_pos[0].copy()

    def success(self, data: mujoco.MjData) -> bool:
        distance = data.site_xpos[self._tcp] - data.mocap_pos[0]
        return float(distance @ distance) < self.tolerance_m**2

    def plan(self, view: "View") -> tuple[Array, float]:
        """Straight to the button, fingers closed."""
        return view.thing, 0.0
