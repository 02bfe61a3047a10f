"""Bring the tcp to a target in free space."""

# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.kinematics.model import TCP
from robot.specs import StationSpec
from robot.types import Array
from sim.grasping import OPEN_M
from sim.task import STEP_M, StartRange, View


@dataclass
class Reach:
    """Succeeds when the tcp is within the tolerance of the target."""

    name: str = "reach"
    max_steps: int = 60
    object_state_size: int = 3
    start: StartRange = field(default_factory=lambda: StartRange((0.45, -0.05, 0.20), (0.55, 0.05, 0.30), 0.04))
    target_low_m: tuple[float, float, float] = (0.38, -0.18, 0.10)
    target_high_m: tuple[float, float, float] = (0.62, 0.18, 0.40)
    tolerance_m: float = 0.01
    expert_step_m: float = STEP_M

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        target = spec.worldbody.add_body(name="target", mocap=True)
        target.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[self.tolerance_m, 0, 0],
            contype=0,
            conaffinity=0,
            rgba=(0.1, 0.7, 0.2, 1.0),
        )

    def bind(self, model: mujoco.MjModel) -> None:
        self._tcp = model.site(TCP).id

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        data.mocap_pos[0] = rng.uniform(self.target_low_m, self.target_high_m)

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        return data.mocap_pos[0].copy()

    def success(self, data: mujoco.MjData) -> bool:
        distance = data.site_xpos[self._tcp] - data.mocap_pos[0]
        return float(distance @ distance) < self.tolerance_m**2

    def plan(self, view: View) -> tuple[Array, float]:
        return view.thing, OPEN_M
