"""What health concludes from diagnostics, without topics."""

import pytest

pytest.importorskip("rclpy")

from robot.ros.health_node import SILENCE_S, Watch
from robot.ros.node import Level


def test_an_error_of_a_required_node_is_a_complaint_and_of_another_is_not() -> None:
    watch = Watch(("/arm", "/arbiter"))
    watch.hear("/arm", Level.OK, "ok", 0.0)
    watch.hear("/scene", Level.ERROR, "no lens", 0.0)
    assert watch.complaints(0.1) == []
    watch.hear("/arm", Level.ERROR, "bus off", 0.2)
    assert watch.complaints(0.3) == ["/arm: bus off"]
    watch.hear("/arm", Level.OK, "ok", 0.4)
    assert watch.complaints(0.5) == [], "the topic follows the fault; the latch is the arm's"


def test_a_required_node_that_fell_silent_is_a_complaint_but_not_one_that_never_came() -> None:
    watch = Watch(("/arm", "/arbiter"))
    watch.hear("/arm", Level.OK, "ok", 10.0)
    assert watch.missing == ["/arbiter"]
    assert watch.complaints(10.0 + SILENCE_S - 0.1) == []
    assert watch.complaints(10.0 + SILENCE_S + 0.2) == ["/arm: silent for 5 s"]
