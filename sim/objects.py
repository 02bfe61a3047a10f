"""What tasks are made of: cubes, a bar, a bin, a cabinet with a drawer, a mark.

Each is built into a scene, found again and placed.
"""

# MuJoCo ships no types for its enums and specs.
# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass

import mujoco
import numpy as np

from robot.types import Array

RED, BLUE = (0.8, 0.2, 0.15, 1.0), (0.15, 0.35, 0.75, 1.0)
GREEN = (0.1, 0.7, 0.2, 1.0)
GREY, WOOD, BRASS = (0.35, 0.37, 0.4, 1.0), (0.55, 0.38, 0.22, 1.0), (0.8, 0.65, 0.25, 1.0)
Box = tuple[tuple[float, float, float], tuple[float, float, float]]  # middle and half sizes [m]


def add_box(body: mujoco.MjsBody, box: Box, rgba: tuple[float, ...], **options: object) -> None:
    """Add one box to a body; `options` are the geom's."""
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=box[0], size=box[1], rgba=rgba, **options)


@dataclass
class Cube:
    """A free cube that can be grasped by friction."""

    name: str = "cube"
    half_m: float = 0.02
    mass_kg: float = 0.1
    rgba: tuple[float, ...] = RED

    def build(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name=self.name)
        body.add_freejoint(name=self.name)
        half = (self.half_m, self.half_m, self.half_m)
        add_box(body, ((0, 0, 0), half), self.rgba, mass=self.mass_kg, condim=4, friction=[1.0, 0.02, 0.0001])

    def bind(self, model: mujoco.MjModel) -> None:
        self._body = model.body(self.name).id
        joint = model.joint(self.name)
        self._address, self._velocity = int(joint.qposadr[0]), int(joint.dofadr[0])

    def place(self, data: mujoco.MjData, xy: Array, yaw_rad: float) -> None:
        """Put it on the table."""
        place = data.qpos[self._address : self._address + 7]
        place[:2] = xy
        place[2] = self.half_m
        place[3:] = [np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)]

    def position(self, data: mujoco.MjData) -> Array:
        """Return its middle, shape (3,) [m]."""
        return data.xpos[self._body].copy()

    def speed(self, data: mujoco.MjData) -> float:
        """Return how fast its middle moves [m/s]."""
        return float(np.linalg.norm(data.qvel[self._velocity : self._velocity + 3]))


@dataclass
class Bar:
    """A free bar, long along its own x, with room for a hand at either end."""

    name: str = "bar"
    half_m: tuple[float, float, float] = (0.11, 0.012, 0.02)
    grip_m: float = 0.075  # from the middle to where a hand grips it
    mass_kg: float = 0.1
    rgba: tuple[float, ...] = BLUE

    def build(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name=self.name)
        body.add_freejoint(name=self.name)
        grippy = [1.0, 0.1, 0.0001]  # else it would turn in the fingers that hold it by one end
        add_box(body, ((0, 0, 0), self.half_m), self.rgba, mass=self.mass_kg, condim=4, friction=grippy)

    def bind(self, model: mujoco.MjModel) -> None:
        self._body = model.body(self.name).id
        joint = model.joint(self.name)
        self._address, self._velocity = int(joint.qposadr[0]), int(joint.dofadr[0])

    def place(self, data: mujoco.MjData, xy: Array, yaw_rad: float) -> None:
        """Put it on the table, the middle there."""
        data.qpos[self._address : self._address + 3] = [*xy, self.half_m[2]]
        data.qpos[self._address + 3 : self._address + 7] = [np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)]

    def ends(self, data: mujoco.MjData) -> tuple[Array, Array]:
        """Return where a hand grips it at its -x and its +x end, shape (3,) each [m]."""
        middle, along = data.xpos[self._body], data.xmat[self._body][::3]
        return middle - self.grip_m * along, middle + self.grip_m * along

    def speed(self, data: mujoco.MjData) -> float:
        """Return how fast its middle moves [m/s]."""
        return float(np.linalg.norm(data.qvel[self._velocity : self._velocity + 3]))


@dataclass
class Target:
    """A mark on the table that nothing touches."""

    name: str = "target"
    half_m: tuple[float, float] = (0.11, 0.012)

    def build(self, spec: mujoco.MjSpec) -> None:
        mark = spec.worldbody.add_body(name=self.name, mocap=True)
        add_box(mark, ((0, 0, 0.0005), (*self.half_m, 0.0005)), GREEN, contype=0, conaffinity=0)

    def bind(self, model: mujoco.MjModel) -> None:
        self._mocap = int(model.body_mocapid[model.body(self.name).id])

    def place(self, data: mujoco.MjData, xy: Array) -> None:
        data.mocap_pos[self._mocap] = [*xy, 0.0]

    def position(self, data: mujoco.MjData) -> Array:
        """Return its middle, shape (3,) [m]."""
        return data.mocap_pos[self._mocap].copy()


@dataclass
class Bin:
    """An open box on the table."""

    inner_half_m: float = 0.06
    wall_half_m: float = 0.004
    height_m: float = 0.05
    floor_m: float = 0.004  # thickness

    def build(self, spec: mujoco.MjSpec) -> None:
        body = spec.worldbody.add_body(name="bin", mocap=True)
        inner, wall, tall = self.inner_half_m, self.wall_half_m, self.height_m / 2
        outer = inner + 2 * wall
        for side in (1.0, -1.0):
            add_box(body, ((side * (inner + wall), 0, tall), (wall, outer, tall)), GREY)
            add_box(body, ((0, side * (inner + wall), tall), (inner, wall, tall)), GREY)
        add_box(body, ((0, 0, self.floor_m / 2), (inner, inner, self.floor_m / 2)), GREY)

    def bind(self, model: mujoco.MjModel) -> None:
        self._mocap = int(model.body_mocapid[model.body("bin").id])

    def place(self, data: mujoco.MjData, xy: Array) -> None:
        data.mocap_pos[self._mocap] = [*xy, 0.0]

    def position(self, data: mujoco.MjData) -> Array:
        """Return the middle of its opening, shape (3,) [m]."""
        return data.mocap_pos[self._mocap] + (0.0, 0.0, self.height_m)

    def holds(self, data: mujoco.MjData, point: Array) -> bool:
        """Say whether a point is inside, below the rim."""
        return self.contains(self.position(data), point)

    def contains(self, opening: Array, point: Array) -> bool:
        """Say whether a point is inside a bin whose opening is there."""
        x, y, z = (point - opening).tolist()
        return max(abs(x), abs(y)) < self.inner_half_m and z < 0.0


@dataclass
class Cabinet:
    """A cabinet with one drawer that slides out towards the robot (-x), by a knob on its front.

    Its place is the middle of the closed drawer's front, on the table.
    """

    inner_half_m: float = 0.065  # of the drawer, across
    depth_m: float = 0.18
    wall_m: float = 0.004  # half thickness
    bottom_m: float = 0.012
    drawer_top_m: float = 0.065
    height_m: float = 0.10
    knob_m: tuple[float, float, float] = (-0.045, 0.0, 0.085)  # in the drawer
    knob_half_m: tuple[float, float, float] = (0.012, 0.010, 0.025)
    travel_m: float = 0.16
    friction_n: float = 0.5
    damping: float = 8.0

    def build(self, spec: mujoco.MjSpec) -> None:
        cabinet = spec.worldbody.add_body(name="cabinet", mocap=True)
        self._add_shell(cabinet)
        drawer = cabinet.add_body(name="drawer")
        drawer.add_joint(
            name="drawer",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[-1, 0, 0],
            range=[0.0, self.travel_m],
            damping=self.damping,
            frictionloss=self.friction_n,
            armature=0.1,
        )
        self._add_tray(drawer)

    def _add_shell(self, cabinet: mujoco.MjsBody) -> None:
        """Add two sides, a back and a top; the drawer never touches them."""
        side = self.inner_half_m + 4 * self.wall_m + 0.002
        middle, half, tall = self.depth_m / 2 + 0.01, self.depth_m / 2, self.height_m / 2
        for sign in (1.0, -1.0):
            add_box(cabinet, ((middle, sign * side, tall), (half, self.wall_m, tall)), WOOD)
        add_box(cabinet, ((middle + half, 0, tall), (self.wall_m, side, tall)), WOOD)
        add_box(cabinet, ((middle, 0, self.height_m), (half, side, self.wall_m)), WOOD)

    def _add_tray(self, drawer: mujoco.MjsBody) -> None:
        wall, inner, low, top = self.wall_m, self.inner_half_m, self.bottom_m, self.drawer_top_m
        depth, z, tall = self.depth_m / 2 - 0.02, (low + top) / 2, (top - low) / 2
        knob_x = self.knob_m[0]
        add_box(drawer, ((0, 0, z), (wall, inner + 2 * wall, tall)), WOOD, mass=0.1)
        add_box(drawer, ((2 * depth, 0, z), (wall, inner + 2 * wall, tall)), WOOD, mass=0.1)
        for side in (1.0, -1.0):
            add_box(drawer, ((depth, side * (inner + wall), z), (depth, wall, tall)), WOOD, mass=0.1)
        add_box(drawer, ((depth, 0, low), (depth, inner, wall)), WOOD, mass=0.1)
        stem = ((knob_x / 2, 0, top - 0.008), (-knob_x / 2, 0.005, 0.004))
        add_box(drawer, stem, BRASS, mass=0.02)
        knob = (self.knob_m, self.knob_half_m)
        add_box(drawer, knob, BRASS, mass=0.05, condim=4, friction=[1.0, 0.02, 0.0001])

    def bind(self, model: mujoco.MjModel) -> None:
        self._mocap = int(model.body_mocapid[model.body("cabinet").id])
        self._joint = int(model.joint("drawer").qposadr[0])

    def place(self, data: mujoco.MjData, xy: Array, opening_m: float) -> None:
        data.mocap_pos[self._mocap] = [*xy, 0.0]
        data.qpos[self._joint] = opening_m

    def opening(self, data: mujoco.MjData) -> float:
        """Return how far the drawer is out [m]."""
        return float(data.qpos[self._joint])

    def knob(self, data: mujoco.MjData) -> Array:
        """Return the middle of the knob, shape (3,) [m]."""
        return data.mocap_pos[self._mocap] + self.knob_m - (self.opening(data), 0.0, 0.0)

    def contains(self, knob: Array, point: Array) -> bool:
        """Say whether a point is inside the tray of a drawer whose knob is there."""
        x, y, z = (point - knob + self.knob_m).tolist()
        return 0.0 < x < self.depth_m - 0.04 and abs(y) < self.inner_half_m and z < self.drawer_top_m
