"""Insert a peg, held rigidly in the hand, into a hole that drifts.

The declared disturbance: the fixture moves at a constant planar velocity, drawn anew for each episode, and turns back
at the edges of its range. An observation has the hole's present position, not its velocity: nothing tells an open-loop
chunk how far the hole will have moved by its end. A misaligned peg stands on the fixture's surface, blocked.
"""

# pyright: reportAttributeAccessIssue=false

import math
from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.kinematics.model import HAND, TCP
from robot.specs import StationSpec
from robot.types import Array
from sim.task import StartRange, View

PEG_RGBA, FIXTURE_RGBA, HOLE_RGBA = (0.85, 0.55, 0.1, 1.0), (0.3, 0.4, 0.55, 1.0), (0.1, 0.1, 0.12, 1.0)

# of the expert [m]
HOVER, HOVER_TOLERANCE, DESCENT = 0.006, 0.003, 0.006


@dataclass
class PegInsert:
    """Succeeds when the peg's tip is deep enough inside the hole."""

    name: str = "peg-insert"
    max_steps: int = 60
    object_state_size: int = 6
    start: StartRange = field(default_factory=lambda: StartRange((0.48, -0.02, 0.15), (0.52, 0.02, 0.18), 0.01))
    hole_low_m: tuple[float, float] = (0.485, -0.015)
    hole_high_m: tuple[float, float] = (0.515, 0.015)
    drift_low_m_s: float = 0.008
    drift_high_m_s: float = 0.016
    drift_room_m: float = 0.03  # beyond where the hole may start
    peg_half_m: float = 0.010
    peg_below_tcp_m: float = 0.05
    clearance_m: float = 0.0025  # per side
    surface_m: float = 0.06
    hole_depth_m: float = 0.025
    insert_m: float = 0.015
    fixture_half_m: float = 0.06
    expert_step_m: float = 0.008

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        self._add_peg(spec.body(HAND), station)
        self._add_fixture(spec.worldbody)

    def _add_peg(self, hand: mujoco.MjsBody, station: StationSpec) -> None:
        tcp_z = station.gripper.tcp_m[2]
        low, high = tcp_z - 0.01, tcp_z + self.peg_below_tcp_m
        hand.add_geom(
            name="peg",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[self.peg_half_m, self.peg_half_m, (high - low) / 2],
            pos=[0, 0, (low + high) / 2],
            mass=0.05,
            friction=[0.2, 0.005, 0.0001],
            rgba=PEG_RGBA,
        )

    def _add_fixture(self, world: mujoco.MjsBody) -> None:
        """Add four walls around a square hole, and its bottom, as one body that is moved kinematically."""
        fixture = world.add_body(name="fixture", mocap=True)
        hole, outer = self.peg_half_m + self.clearance_m, self.fixture_half_m
        wall, middle = (outer - hole) / 2, (outer + hole) / 2
        bottom = self.surface_m - self.hole_depth_m
        depth, z = self.hole_depth_m / 2, self.surface_m - self.hole_depth_m / 2
        boxes = [
            ((middle, 0, z), (wall, outer, depth), FIXTURE_RGBA),
            ((-middle, 0, z), (wall, outer, depth), FIXTURE_RGBA),
            ((0, middle, z), (hole, wall, depth), FIXTURE_RGBA),
            ((0, -middle, z), (hole, wall, depth), FIXTURE_RGBA),
            ((0, 0, bottom / 2), (outer, outer, bottom / 2), HOLE_RGBA),
        ]
        for place, half, rgba in boxes:
            fixture.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=place,
                size=half,
                friction=[0.2, 0.005, 0.0001],
                solref=[0.01, 1.0],
                rgba=rgba,
            )

    def bind(self, model: mujoco.MjModel) -> None:
        self._tcp = model.site(TCP).id
        self._place, self._velocity = [0.0, 0.0, 0.0], [0.0, 0.0]  # of the fixture [m, m/s]
        self._turn_low = [low - self.drift_room_m for low in self.hole_low_m]
        self._turn_high = [high + self.drift_room_m for high in self.hole_high_m]
        self._fixture = np.zeros(3)  # a view into the data once an episode begins

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        self._place = [*rng.uniform(self.hole_low_m, self.hole_high_m).tolist(), 0.0]
        self._fixture = data.mocap_pos[0]
        self._fixture[:] = self._place
        angle, speed = rng.uniform(-np.pi, np.pi), rng.uniform(self.drift_low_m_s, self.drift_high_m_s)
        self._velocity = [speed * math.cos(angle), speed * math.sin(angle)]

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        for axis in (0, 1):
            self._place[axis] = place = self._place[axis] + self._velocity[axis] * duration_s
            if not self._turn_low[axis] <= place <= self._turn_high[axis]:
                inwards = 1.0 if place < self._turn_low[axis] else -1.0
                self._velocity[axis] = math.copysign(self._velocity[axis], inwards)
            self._fixture[axis] = place

    def object_state(self, data: mujoco.MjData) -> Array:
        """Return the middle of the hole at the height of the surface, then the way from the peg's tip to it [m]."""
        (x, y, z), (tip_x, tip_y, tip_z) = self._place, self._tip(data)
        z += self.surface_m
        return np.array([x, y, z, x - tip_x, y - tip_y, z - tip_z])

    def _tip(self, data: mujoco.MjData) -> tuple[float, float, float]:
        x, y, z = data.site_xpos[self._tcp].tolist()
        return x, y, z - self.peg_below_tcp_m

    def success(self, data: mujoco.MjData) -> bool:
        (x, y, z), (tip_x, tip_y, tip_z) = self._place, self._tip(data)
        if self.surface_m + z - tip_z <= self.insert_m:
            return False
        return max(abs(x - tip_x), abs(y - tip_y)) < 2 * self.clearance_m

    def plan(self, view: View) -> tuple[Array, float]:
        """Follow the hole just above its surface; go down only while the peg is over it."""
        tip_height = view.tcp[2] - self.peg_below_tcp_m - view.thing[2]
        distance = float(np.abs(view.tcp[:2] - view.thing[:2]).max())
        inside = tip_height < -0.003
        if inside or distance < HOVER_TOLERANCE + 2.0 * max(tip_height - HOVER, 0.0):
            goal_z = view.tcp[2] - DESCENT
        else:
            goal_z = view.thing[2] + self.peg_below_tcp_m + HOVER
        return np.array([*view.thing[:2], goal_z]), self.peg_half_m
