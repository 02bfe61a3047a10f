"""A station file that says only in what it differs from another one."""

from pathlib import Path

import pytest

from robot.errors import ConfigError
from robot.specs import load_station


def write(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return str(path)


def test_what_is_not_said_is_as_in_the_other_one(tmp_path: Path) -> None:
    text = "like: fr3_sim\nname: mine\narm: {address: 10.0.0.1, options: {realtime: ignore}}\ncameras: []\n"
    mine, base = load_station(write(tmp_path, "mine", text)), load_station("fr3_sim")
    assert (mine.name, mine.arm.address, mine.cameras) == ("mine", "10.0.0.1", ())
    assert mine.arm.joints == base.arm.joints
    assert mine.safety == base.safety


def test_a_file_may_be_like_a_file_that_is_like_another(tmp_path: Path) -> None:
    first = write(tmp_path, "first", "like: fr3_sim\ncontrol_rate_hz: 10.0\n")
    second = write(tmp_path, "second", f"like: {first}\nname: second\n")
    assert load_station(second).control_rate_hz == 10.0


def test_a_circle_is_named(tmp_path: Path) -> None:
    first = str(tmp_path / "first.yaml")
    second = write(tmp_path, "second", f"like: {first}\n")
    write(tmp_path, "first", f"like: {second}\n")
    with pytest.raises(ConfigError, match=r"first.yaml -> second.yaml -> first.yaml"):
        load_station(first)


def test_an_unknown_key_is_refused_as_ever(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="adress"):
        load_station(write(tmp_path, "mine", "like: fr3_sim\narm: {adress: 10.0.0.1}\n"))


def test_the_real_fr3_has_the_joints_of_the_simulated_one() -> None:
    real = load_station("fr3")
    assert real.arm.joints == load_station("fr3_sim").arm.joints
    assert real.arm.driver == "franka"
