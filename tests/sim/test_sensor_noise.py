"""Sensor noise of the simulated cameras: seeded, of the right strength, never twice the same in a row."""

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("rclpy")

from sim.camera_node import SensorNoise

GREY = np.full((48, 64, 3), 100, np.uint8)


def frames(seed: int, count: int, deviation: float = 2.0) -> list[np.ndarray]:
    noise, made = SensorNoise(48, 64, deviation, seed), []
    for _ in range(count):
        out = np.empty_like(GREY)
        noise.apply(GREY, out)
        made.append(out)
    return made


def test_noise_is_seeded_and_centred() -> None:
    first, again, other = frames(1, 20), frames(1, 20), frames(2, 20)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[0] == other[0]).all()
    assert np.mean(first) == pytest.approx(100.0, abs=0.05)
    assert np.std(np.stack(first).astype(float)) == pytest.approx(2.0, abs=0.15)


def test_a_scene_that_stands_still_never_gives_the_same_image_twice_in_a_row() -> None:
    images = frames(3, 300)
    assert not any((a == b).all() for a, b in pairwise(images))


def test_noise_saturates_instead_of_wrapping() -> None:
    noise, out = SensorNoise(48, 64, 5.0, 0), np.empty_like(GREY)
    noise.apply(np.full_like(GREY, 255), out)
    assert out.min() > 200
    noise.apply(np.zeros_like(GREY), out)
    assert out.max() < 60
