"""A topic as a camera: what it takes for news, how depth finds its picture, and what it says when nothing comes."""

import time
from typing import Any

import numpy as np
import pytest

from hardware.cameras.ros_image import TopicCamera, ros_image
from robot.devices import DeviceState, Intrinsics
from robot.errors import DeviceDisconnected
from robot.specs import CameraSpec

MS = 1_000_000
POSE = ("front", "world", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 45.0, 64, 48, 30.0)


def camera(has_depth: bool = False, **options: Any) -> TopicCamera:
    if has_depth:
        options["depth_topic"] = "front/depth"
    return ros_image(CameraSpec(*POSE, "ros_image", {"topic": "front/image", **options}, has_depth=has_depth))


def image(grey: int) -> np.ndarray:
    return np.full((48, 64, 3), grey, np.uint8)


def test_a_stamp_that_does_not_rise_and_a_picture_sent_again_are_no_news() -> None:
    made, now_ns = camera(), time.monotonic_ns()
    made.add_color(now_ns, image(1))
    with made:
        first = made.read()
        made.add_color(now_ns, image(2))
        made.add_color(now_ns + MS, image(2))  # the very picture that was refused: it is no news either
        assert made.read().counter == first.counter
        made.add_color(now_ns + 2 * MS, image(3))
        assert made.read().counter == first.counter + 1
        assert made.health()["repeated"] == 1


def test_grey_is_shown_in_colour() -> None:
    made = camera()
    made.add_color(time.monotonic_ns(), np.full((48, 64), 7, np.uint8))
    with made:
        assert made.read().image.shape == (48, 64, 3)
        assert (made.read().image == 7).all()


@pytest.mark.parametrize("order", ["color first", "depth first"])
def test_a_picture_waits_for_its_depth(order: str) -> None:
    made, now_ns = camera(has_depth=True), time.monotonic_ns()
    assert made.features.names == ("color", "depth")
    calls = [lambda: made.add_color(now_ns, image(1)), lambda: made.add_depth(now_ns + 5 * MS, depth(800))]
    for call in calls if order == "color first" else reversed(calls):
        assert made._frame is None
        call()
    with made:
        assert (made.read().depth == 800).all()
        counter = made.read().counter
        made.add_color(now_ns + 60 * MS, image(2))  # the only depth is too far away
        assert made.read().counter == counter


def depth(mm: int) -> np.ndarray:
    return np.full((48, 64), mm, np.uint16)


def test_depth_in_metres_becomes_millimetres_and_what_is_unknown_zero() -> None:
    made, now_ns = camera(has_depth=True), time.monotonic_ns()
    metres = np.full((48, 64), 0.8004, np.float32)
    metres[0, :4] = [np.nan, np.inf, -1.0, 70.0]
    made.add_depth(now_ns, metres)
    made.add_color(now_ns, image(1))
    with made:
        found = made.read().depth
        assert found.dtype == np.uint16
        assert found[1, 1] == 800
        assert (found[0, :4] == 0).all()


def test_another_size_is_refused_and_told() -> None:
    made = camera()
    made.add_color(time.monotonic_ns(), image(1))
    with made:
        time.sleep(0.25)
        made.add_color(time.monotonic_ns(), np.zeros((24, 32, 3), np.uint8))
        assert made.state is DeviceState.FAULT
        with pytest.raises(DeviceDisconnected, match=r"front/image \(pictures.*32x24, the station asks for 64x48"):
            made.read()


def test_optics_are_those_of_the_options() -> None:
    assert camera().intrinsics is None
    assert camera(fx=60.0, fy=61.0, cx=32.0, cy=24.0).intrinsics == Intrinsics(60.0, 61.0, 32.0, 24.0)
