"""Axioms of rotations and poses, and agreement with SciPy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from robot import geometry as g

finite = st.floats(-10.0, 10.0, allow_nan=False, width=32)
vectors = arrays(np.float64, 3, elements=finite)


@st.composite
def quaternions(draw: st.DrawFn) -> np.ndarray:
    q = draw(arrays(np.float64, 4, elements=finite).filter(lambda v: float(np.linalg.norm(v)) > 0.1))
    return q / np.linalg.norm(q)


def same_rotation(a: np.ndarray, b: np.ndarray, atol: float = 1e-9) -> bool:
    return bool(np.allclose(a, b, atol=atol) or np.allclose(a, -b, atol=atol))


@given(quaternions(), quaternions(), quaternions())
def test_quaternions_are_a_group(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    np.testing.assert_allclose(g.multiply(g.multiply(a, b), c), g.multiply(a, g.multiply(b, c)), atol=1e-12)
    np.testing.assert_allclose(g.multiply(a, g.IDENTITY_WXYZ), a)
    np.testing.assert_allclose(g.multiply(a, g.conjugate(a)), g.IDENTITY_WXYZ, atol=1e-12)


@given(quaternions(), quaternions(), vectors)
def test_turning_by_a_product_is_turning_twice_right_factor_first(a: np.ndarray, b: np.ndarray, v: np.ndarray) -> None:
    np.testing.assert_allclose(g.rotate(g.multiply(a, b), v), g.rotate(a, g.rotate(b, v)), atol=1e-9)
    np.testing.assert_allclose(g.matrix(a) @ v, g.rotate(a, v), atol=1e-9)
    np.testing.assert_allclose(Rotation.from_quat(g.to_xyzw(a)).apply(v), g.rotate(a, v), atol=1e-9)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    half = np.sqrt(0.5)
    np.testing.assert_allclose(g.rotate([half, 0.0, 0.0, half], [1.0, 0.0, 0.0]), [0.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(g.to_xyzw([1.0, 2.0, 3.0, 4.0]), [2.0, 3.0, 4.0, 1.0])


@given(quaternions())
def test_forms_of_one_rotation_agree(q: np.ndarray) -> None:
    back = g.quaternion(g.matrix(q))
    assert same_rotation(back, q)
    assert back[0] >= 0
    assert same_rotation(g.from_rotation_vector(g.rotation_vector(q)), q)
    np.testing.assert_array_equal(g.to_wxyz(g.to_xyzw(q)), q)


@given(quaternions(), quaternions(), st.floats(0.0, 1.0))
def test_slerp_takes_the_short_way_at_constant_speed(a: np.ndarray, b: np.ndarray, fraction: float) -> None:
    between = g.slerp(a, b, fraction)
    assert same_rotation(g.slerp(a, b, 0.0), a)
    assert same_rotation(g.slerp(a, b, 1.0), b)
    np.testing.assert_allclose(g.angle_between(a, between), fraction * g.angle_between(a, b), atol=1e-6)
    if g.angle_between(a, b) < 3.0:  # at a half turn there are two short ways
        expected = Slerp([0.0, 1.0], Rotation.from_quat([g.to_xyzw(a), g.to_xyzw(b)]))(fraction)
        assert same_rotation(between, g.to_wxyz(expected.as_quat()), atol=1e-6)


@given(quaternions(), quaternions(), vectors, vectors, vectors)
def test_poses_compose_and_invert(a: np.ndarray, b: np.ndarray, p: np.ndarray, r: np.ndarray, v: np.ndarray) -> None:
    T_a_b, T_b_c = g.pose(p, a), g.pose(r, b)
    np.testing.assert_allclose(g.transform(T_a_b @ T_b_c, v), g.transform(T_a_b, g.transform(T_b_c, v)), atol=1e-9)
    np.testing.assert_allclose(g.inverse(T_a_b) @ T_a_b, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(g.inverse(T_a_b @ T_b_c), g.inverse(T_b_c) @ g.inverse(T_a_b), atol=1e-9)
    np.testing.assert_allclose(g.transform(T_a_b, v), p + g.rotate(a, v), atol=1e-9)


def test_batches_give_what_single_ones_give() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 5, 4))
    a, b = a / np.linalg.norm(a, axis=-1, keepdims=True), b / np.linalg.norm(b, axis=-1, keepdims=True)
    v = rng.normal(size=(3, 5, 3))
    product, turned, turns = g.multiply(a, b), g.rotate(a, v), g.matrix(a)
    assert turns.shape == (3, 5, 3, 3)
    assert g.quaternion(turns).shape == (3, 5, 4)
    poses = np.stack([[g.pose(v[i, j], a[i, j]) for j in range(5)] for i in range(3)])
    for i, j in np.ndindex(3, 5):
        np.testing.assert_allclose(product[i, j], g.multiply(a[i, j], b[i, j]))
        np.testing.assert_allclose(turned[i, j], g.rotate(a[i, j], v[i, j]))
        np.testing.assert_allclose(g.inverse(poses)[i, j], g.inverse(poses[i, j]))
        np.testing.assert_allclose(g.slerp(a, b, 0.3)[i, j], g.slerp(a[i, j], b[i, j], 0.3))
