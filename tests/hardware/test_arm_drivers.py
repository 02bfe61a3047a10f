"""Arm drivers are found by the name in the station file; what is wrong with it is one line."""

from dataclasses import dataclass, replace

import pytest

from hardware.arm_drivers import arm_options, make_arm
from robot.errors import ConfigError
from robot.specs import StationSpec, load_station

SIMULATED = load_station("fr3_sim")


@dataclass(frozen=True)
class Options:
    baud: int


def with_arm(driver: str, **options: object) -> StationSpec:
    return replace(SIMULATED, arm=replace(SIMULATED.arm, driver=driver, options=options))


def test_a_driver_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown driver of the arm of fr3_sim 'fetech'.*simulated"):
        make_arm(with_arm("fetech"))


def test_a_simulated_arm_needs_no_driver() -> None:
    with pytest.raises(ConfigError, match=r"sim\.arm_node"):
        make_arm(SIMULATED)


def test_options_are_the_drivers_own_and_checked() -> None:
    assert arm_options(with_arm("any", baud=1_000_000), Options) == Options(1_000_000)
    with pytest.raises(ConfigError, match=r"options of driver any.*did you mean 'baud'"):
        arm_options(with_arm("any", bauds=3), Options)
