"""Rotations and poses, on the last axes of arrays of any batch shape.

A pose `T_a_b` (4, 4) maps coordinates of frame b into frame a: `p_a = T_a_b @ p_b`. Quaternions are unit, in the order
w x y z (MuJoCo's); `xyzw` exists only where ROS or SciPy wants it.
"""

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from robot.types import Array

IDENTITY_WXYZ: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)


def to_xyzw(quat_wxyz: Any) -> Array:
    """Reorder for ROS and SciPy."""
    return np.roll(np.asarray(quat_wxyz, float), -1, axis=-1)


def to_wxyz(quat_xyzw: Any) -> Array:
    """Reorder from ROS and SciPy."""
    return np.roll(np.asarray(quat_xyzw, float), 1, axis=-1)


def multiply(a_wxyz: Any, b_wxyz: Any) -> Array:
    """Return the rotation that turns by `b` first, then by `a`."""
    a, b = np.asarray(a_wxyz, float), np.asarray(b_wxyz, float)
    w = a[..., :1] * b[..., :1] - np.sum(a[..., 1:] * b[..., 1:], -1, keepdims=True)
    v = a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + np.cross(a[..., 1:], b[..., 1:])
    return np.concatenate([w, v], -1)


def conjugate(quat_wxyz: Any) -> Array:
    """Return the inverse of a unit quaternion."""
    return np.asarray(quat_wxyz, float) * [1.0, -1.0, -1.0, -1.0]


def rotate(quat_wxyz: Any, vector: Any) -> Array:
    """Turn vectors (..., 3)."""
    q, v = np.asarray(quat_wxyz, float), np.asarray(vector, float)
    t = 2.0 * np.cross(q[..., 1:], v)
    return v + q[..., :1] * t + np.cross(q[..., 1:], t)


def matrix(quat_wxyz: Any) -> Array:
    """Return the rotation matrix (..., 3, 3)."""
    q = np.asarray(quat_wxyz, float)
    flat = Rotation.from_quat(to_xyzw(q).reshape(-1, 4)).as_matrix()
    return flat.reshape(*q.shape[:-1], 3, 3)


def quaternion(rotation: Any) -> Array:
    """Return the quaternion of a rotation matrix (..., 3, 3), with w >= 0."""
    r = np.asarray(rotation, float)
    flat = to_wxyz(Rotation.from_matrix(r.reshape(-1, 3, 3)).as_quat())
    flat = np.where(flat[:, :1] < 0, -flat, flat)
    return flat.reshape(*r.shape[:-2], 4)


def rotation_vector(quat_wxyz: Any) -> Array:
    """Return axis times angle [rad], the angle in [0, pi]."""
    q = np.asarray(quat_wxyz, float)
    return Rotation.from_quat(to_xyzw(q).reshape(-1, 4)).as_rotvec().reshape(*q.shape[:-1], 3)


def from_rotation_vector(vector: Any) -> Array:
    """Return the quaternion of axis times angle [rad]."""
    v = np.asarray(vector, float)
    return to_wxyz(Rotation.from_rotvec(v.reshape(-1, 3)).as_quat()).reshape(*v.shape[:-1], 4)


def angle_between(a_wxyz: Any, b_wxyz: Any) -> Array:
    """Return the angle [rad] from one orientation to the other, in [0, pi]."""
    return np.linalg.norm(rotation_vector(multiply(conjugate(a_wxyz), b_wxyz)), axis=-1)


def slerp(a_wxyz: Any, b_wxyz: Any, fraction: float) -> Array:
    """Go `fraction` of the short way from `a` to `b` at constant speed."""
    a = np.asarray(a_wxyz, float)
    return multiply(a, from_rotation_vector(fraction * rotation_vector(multiply(conjugate(a), b_wxyz))))


def pose(translation: Any, quat_wxyz: Any = IDENTITY_WXYZ) -> Array:
    """Return `T_a_b` (4, 4) of where frame b stands in frame a."""
    T_a_b = np.eye(4)
    T_a_b[:3, :3] = matrix(quat_wxyz)
    T_a_b[:3, 3] = translation
    return T_a_b


def inverse(T_a_b: Array) -> Array:
    """Return `T_b_a`, exactly rigid where a general matrix inverse would drift."""
    T_b_a = np.zeros_like(T_a_b)
    rotation = np.swapaxes(T_a_b[..., :3, :3], -1, -2)
    T_b_a[..., :3, :3] = rotation
    T_b_a[..., :3, 3] = -(rotation @ T_a_b[..., :3, 3, None])[..., 0]
    T_b_a[..., 3, 3] = 1.0
    return T_b_a


def transform(T_a_b: Array, points_b: Any) -> Array:
    """Map points (..., 3) of frame b into frame a; compose poses with `@`."""
    return np.asarray(points_b, float) @ T_a_b[:3, :3].T + T_a_b[:3, 3]


def look_at(position: Array, target: Array, up: Array) -> Array:
    """Return the rotation (3, 3) of a camera at `position`: its axes are right, up and backward in the image."""
    backward = (position - target) / np.linalg.norm(position - target)
    right = np.cross(up, backward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(backward, right), backward], axis=1)
