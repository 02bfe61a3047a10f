"""The doctor sees what it is for, in made-up surroundings and in this one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from robot import doctor


def put_package(place: Path, name: str) -> str:
    (place / name).mkdir(parents=True)
    (place / name / "__init__.py").write_text("")
    return str(place)


def test_a_foreign_robot_package_is_a_failure_wherever_it_lies(tmp_path: Path) -> None:
    ours = str(Path(doctor.__file__).parents[1])
    foreign = put_package(tmp_path, "robot")
    for path in ([ours, foreign], [foreign, ours]):
        finding = doctor.check_robot_package(path)
        assert finding.status == "fail"
        assert str(tmp_path) in finding.found
        assert "uninstall" in finding.advice
    assert doctor.check_robot_package([ours, str(tmp_path / "empty")]).status == "ok"


def test_two_copies_of_rclpy_are_a_failure(tmp_path: Path) -> None:
    one, two = put_package(tmp_path / "ros", "rclpy"), put_package(tmp_path / "wheel", "rclpy")
    assert doctor.check_rclpy([one, two]).status == "fail"
    assert doctor.check_rclpy([one, one]).status == "ok"
    assert doctor.check_rclpy([]).status == "warn"


@pytest.mark.parametrize(
    ("current", "status"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 12), "ok"), ((3, 13), "warn")]
)
def test_python_versions(current: tuple[int, int], status: str) -> None:
    assert doctor.check_python(current).status == status


def test_shared_memory_too_small_names_the_cure(tmp_path: Path) -> None:
    finding = doctor.check_shared_memory(tmp_path, needed_mib=2**40)
    assert finding.status == "fail"
    assert "--shm-size" in finding.advice
    assert doctor.check_shared_memory(tmp_path, needed_mib=0).status == "ok"
    assert doctor.check_shared_memory(tmp_path / "none").status == "warn"


def test_leftover_segments_are_counted(tmp_path: Path) -> None:
    for k in range(4):
        (tmp_path / f"fastrtps_{k}").touch()
    assert doctor.check_leftovers(tmp_path, most=4).status == "ok"
    assert doctor.check_leftovers(tmp_path, most=3).status == "warn"


def test_a_profile_that_is_no_file_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor.PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert doctor.check_profile().status == "ok"
    monkeypatch.setenv(doctor.PROFILE_VARIABLES[0], str(tmp_path / "none.xml"))
    assert doctor.check_profile().status == "fail"
    (tmp_path / "none.xml").write_text("<dds/>")
    assert doctor.check_profile().status == "ok"


def test_a_backend_that_cannot_draw_is_answered_with_one_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(doctor, "renders_with", lambda backend: (backend == "osmesa", "no libEGL"))
    finding = doctor.check_rendering()
    assert (finding.status, finding.advice) == ("warn", "export MUJOCO_GL=osmesa")
    assert "no libEGL" in finding.found
    monkeypatch.setattr(doctor, "renders_with", lambda backend: (False, "no libEGL"))
    assert doctor.check_rendering().status == "fail"


def test_a_backend_that_does_not_exist_is_seen() -> None:
    works, complaint = doctor.renders_with("nonsense")
    assert not works
    assert "nonsense" in complaint


def test_an_absent_package_names_its_extra() -> None:
    assert doctor.check_package("no-such-thing", "learn", "all of it").advice == "pip install '.[learn]'"
    assert doctor.check_package("no-such-thing", None, "all of it").status == "fail"
    assert doctor.check_package("numpy", None, "all of it").status == "ok"


def test_few_cores_are_a_warning_only() -> None:
    assert doctor.check_cores(2).status == "warn"
    assert doctor.check_cores(8).status == "ok"


def test_the_verb_ends_in_json_that_agrees_with_its_exit_code() -> None:
    words = [sys.executable, "-m", "robot.cli", "doctor", "--no-render", "--json"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    result = json.loads(answer.stdout)
    failed = [row["name"] for row in result["rows"] if row["status"] == "fail"]
    assert result["ok"] is (not failed)
    assert answer.returncode == (1 if failed else 0)
    assert {"python", "package 'robot'", "rclpy", "cores", "torch"} <= {row["name"] for row in result["rows"]}
    assert all(row["advice"] for row in result["rows"] if row["status"] == "fail")
