"""Relative frames of HIL-SERL: poses from where the episode began, actions in axes of the tcp.

A person's action, read in axes of the base, is mapped with the pose of the same tick, before it is refreshed.
"""

import numpy as np

from robot.geometry import inverse
from robot.types import Array


def adjoint(T_base_tcp: Array) -> Array:
    """Return the (6, 6) matrix that maps a twist (linear [m], then angular [rad]) of the tcp's axes into the base's."""
    rotation, (x, y, z) = T_base_tcp[:3, :3], T_base_tcp[:3, 3]
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    mapped = np.zeros((6, 6))
    mapped[:3, :3] = mapped[3:, 3:] = rotation
    mapped[:3, 3:] = skew @ rotation
    return mapped


def to_base(action_tcp: Array, T_base_tcp: Array) -> Array:
    """Return an action (6,) of the tcp's axes in the base's."""
    return adjoint(T_base_tcp) @ action_tcp


def to_tcp(action_base: Array, T_base_tcp: Array) -> Array:
    """Return an action (6,) of the base's axes in those of the tcp at the same tick."""
    return adjoint(inverse(T_base_tcp)) @ action_base


def from_start(T_base_tcp: Array, T_base_start: Array) -> Array:
    """Return the pose of the tcp (4, 4) in the frame it had when the episode began."""
    return inverse(T_base_start) @ T_base_tcp
