"""What a station may say of its servos, and ticks to joints and back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.arm_drivers import arm_options, make_arm
from hardware.servo_options import ServoBusOptions, ServoSpec, TickMap
from robot.errors import ConfigError
from robot.specs import load_station

VIPERX = load_station("viperx")
OPTIONS = arm_options(VIPERX, ServoBusOptions)


@given(st.integers(0, 4095), st.integers(0, 4095), st.sampled_from([1, -1]), st.floats(0.01, 2.0))
def test_every_tick_survives_the_way_to_a_joint_and_back(tick: int, zero: int, sign: int, travel: float) -> None:
    ticks = TickMap([ServoSpec("joint", 1, 777, zero_tick=zero, sign=sign, travel=travel)])
    assert ticks.to_ticks(ticks.to_joints(np.array([float(tick)])))[0] == tick


def test_a_quarter_turn_is_a_thousand_and_24_ticks_and_sign_turns_it_round() -> None:
    servos = [ServoSpec("a", 1, 777, zero_tick=1000), ServoSpec("b", 2, 777, zero_tick=1000, sign=-1)]
    np.testing.assert_allclose(TickMap(servos).to_joints(np.array([2024.0, 2024.0])), [np.pi / 2, -np.pi / 2])
    low, high = TickMap(servos).limits(1000, 2024, 1)
    assert (low, high) == pytest.approx((-np.pi / 2, 0.0))


def test_a_finger_moves_by_its_travel() -> None:
    finger = TickMap([ServoSpec("finger", 9, 1020, travel=0.022)])
    np.testing.assert_allclose(finger.to_joints(np.array([2048.0 + 1024.0])), [0.022 * np.pi / 2])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": 0}, "allowed: 1 to 252"),
        ({"travel": 0.0}, "travel is 0.0"),
        ({"shadow": 2}, "each may be there once"),
    ],
)
def test_servos_that_cannot_be_are_refused(change: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        replace(OPTIONS, servos=(replace(OPTIONS.servos[0], **change), *OPTIONS.servos[1:]))


def test_servos_in_another_order_than_the_joints_are_refused() -> None:
    servos = list(VIPERX.arm.options["servos"])
    servos[0], servos[1] = servos[1], servos[0]
    options = {**VIPERX.arm.options, "servos": servos}
    with pytest.raises(ConfigError, match=r"servos move .*shoulder.*waist.*the station's joints are"):
        make_arm(replace(VIPERX, arm=replace(VIPERX.arm, options=options)))


def test_an_arm_without_an_address_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"address is missing.*by-id"):
        make_arm(replace(VIPERX, arm=replace(VIPERX.arm, address=None)))
