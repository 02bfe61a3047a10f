"""Forward and inverse kinematics of one arm: a station's only one, or one of its sides."""

from collections.abc import Sequence

import mujoco
import numpy as np
from scipy.linalg.lapack import dposv  # pyright: ignore[reportAttributeAccessIssue]

from robot.kinematics.model import TCP, compile_kinematic_model
from robot.specs import StationSpec
from robot.types import Array, largest

DAMPING = 1e-4  # of the least squares, squared
POSTURE_GAIN = 0.02  # share of the way home that the redundant degree of freedom goes per solve
TOLERANCE = 1e-4  # [m] and [rad]


class ArmKinematics:
    """Kinematics over joint vectors of the station (arm joints, then the gripper, which does not matter here).

    Positions and rotations are in the cell's frame, the base's where it stands at the origin as a single arm does.

    Not thread safe: it owns one MuJoCo data. Damped least squares is written out here because a general
    quadratic program (mink) costs ten times as much per tick; a test holds the two against each other.
    """

    def __init__(self, station: StationSpec) -> None:
        self._model = compile_kinematic_model(station)
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site(station.mount.prefix + TCP).id
        self._found = self._data.site_xpos[self._site], self._data.site_xmat[self._site]  # views
        self._n = len(station.arm.joints)
        self._arm = self._data.qpos[: self._n]
        self._home = np.array(station.arm.home_rad)
        self._jacobian = np.zeros((6, self._model.nv))
        self._regular = DAMPING * np.eye(6)
        self._placed = b""  # the joints of which the data has the poses
        self._place(self._home)
        self.home_rotation = self._found[1].reshape(3, 3).copy()
        self._home_axes: list[float] = self._found[1].tolist()

    @property
    def sides(self) -> "tuple[ArmKinematics, ...]":
        """Return the kinematics of each arm: of this one."""
        return (self,)

    def tcp_position(self, q: Array) -> Array:
        """Return the tcp's position in the cell's frame, shape (3,) [m]."""
        self._place(q)
        return self._found[0].copy()

    def tcp_pose(self, q: Array) -> tuple[Array, Array]:
        """Return position (3,) [m] and rotation matrix (3, 3) of the tcp in the cell's frame."""
        self._place(q)
        return self._found[0].copy(), self._found[1].reshape(3, 3).copy()

    def inverse(self, position: Array, q: Array, *, rotation: Array | None = None, iterations: int = 8) -> Array:
        """Return arm joints near `q` whose tcp stands at `position`, shape (n_arm,) [rad]; see `solve`."""
        return self.solve(position, q, rotation=rotation, iterations=iterations)[0]

    def solve(
        self, position: Array, q: Array, *, rotation: Array | None = None, iterations: int = 8
    ) -> tuple[Array, float]:
        """Return arm joints near `q`, shape (n_arm,) [rad], and how far off their tcp is, the largest of [m] and [rad].

        Args:
            position: of the tcp in the cell's frame [m].
            q: where to start, at least the arm joints [rad].
            rotation: of the tcp, (3, 3); the home orientation when None.
            iterations: at most so many steps; the nearest reached is returned.
        """
        turned = self._home_axes if rotation is None else rotation.ravel().tolist()
        wanted = (*position.tolist(), *turned)
        q = q[: self._n].copy()
        pull = POSTURE_GAIN * (self._home - q)  # keeps the elbow from drifting; moves the tcp to second order only
        error, jacobian = self._error(q, wanted), self._solve_jacobian()
        error, off = error - jacobian.dot(pull), np.inf
        q += pull
        for _ in range(iterations):
            q += self._least_squares(jacobian, error)
            error = self._error(q, wanted)
            off = largest(error)
            if off < TOLERANCE:
                break
            jacobian = self._solve_jacobian()
        return q, off

    def twist_to_velocity(self, twist: Array, q: Array) -> Array:
        """Return joint velocities (n_arm,) [rad/s] for a tcp twist in the cell's frame, linear then angular."""
        self._place(q)
        jacobian = self._solve_jacobian()
        return self._least_squares(jacobian, twist)

    def _place(self, q: Array) -> None:
        """Bring the data to joints, unless they are those it was brought to last, as is so half of the time."""
        arm = q[: self._n]
        if (placed := arm.tobytes()) != self._placed:
            self._arm[:] = arm
            mujoco.mj_kinematics(self._model, self._data)
            self._placed = placed

    def _solve_jacobian(self) -> Array:
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
        return self._jacobian[:, : self._n]

    def _error(self, q: Array, wanted: Sequence[float]) -> Array:
        """Return what is missing to the wanted position and rotation (3 + 9 numbers), shape (6,) [m] and [rad].

        The rotation's part is half the sum of the cross products of the axes found with those wanted.
        """
        self._place(q)
        x, y, z = self._found[0].tolist()
        a, b, c, d, e, f, g, h, i = self._found[1].tolist()  # rows of the rotation
        wx, wy, wz, ra, rb, rc, rd, re, rf, rg, rh, ri = wanted
        turn_x = rg * d + rh * e + ri * f - rd * g - re * h - rf * i
        turn_y = ra * g + rb * h + rc * i - rg * a - rh * b - ri * c
        turn_z = rd * a + re * b + rf * c - ra * d - rb * e - rc * f
        return np.array((wx - x, wy - y, wz - z, turn_x / 2, turn_y / 2, turn_z / 2))

    def _least_squares(self, jacobian: Array, wanted: Array) -> Array:
        """Return the damped least-squares joint step for a tcp step (6,)."""
        normal = jacobian.dot(jacobian.T)  # for matrices of this size `dot` takes half the time of `@`
        normal += self._regular
        return dposv(normal, wanted)[1].dot(jacobian)
