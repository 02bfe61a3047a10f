"""What `make` would do, read from a dry run in an empty checkout."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.house.sources import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

DRIVERS = "realsense,dynamixel,feetech,franka,franka-sim"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("constraints", ".ci"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def plan(checkout: Path, *words: str, **env: str) -> str:
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin", **env}
    answer = subprocess.run(
        ["make", "-n", "PYTHON=python3", *words], cwd=checkout, env=path, capture_output=True, text=True, check=True
    )
    return answer.stdout


def test_a_set_without_metaworld_goes_to_its_own_environment(checkout: Path) -> None:
    core, newest = plan(checkout, "install"), plan(checkout, "install", "CONSTRAINTS=constraints/newest.txt")
    suites = "gymnasium-robotics,metaworld"
    assert f"-c constraints/core.txt -e '.[learn,kinematics,ros,operator,bags,hdf5,{DRIVERS},{suites},dev]'" in core
    assert f"-c constraints/newest.txt -e '.[learn,kinematics,ros,operator,bags,hdf5,{DRIVERS},dev]'" in newest
    assert ".venv/bin/python" in core
    assert ".venv-newest/bin/python" in newest
    assert "lerobot" in plan(checkout, "install", "CONSTRAINTS=constraints/lerobot.txt")


def test_a_sourced_ros_keeps_the_wheels_out(checkout: Path) -> None:
    wanted = f"[learn,kinematics,operator,bags,hdf5,{DRIVERS},gymnasium-robotics,metaworld,dev]"
    assert wanted in plan(checkout, "install", ROS_DISTRO="jazzy")


def test_a_second_run_installs_nothing_until_a_version_changes(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    stamp = checkout / ".venv" / ".installed"
    stamp.touch()
    assert "pip install" not in plan(checkout, "test")
    later = stamp.stat().st_mtime + 1.0
    os.utime(checkout / "constraints" / "core.txt", (later, later))
    assert "pip install" in plan(checkout, "test")


def test_quick_and_budget_are_passed_on(checkout: Path) -> None:
    assert plan(checkout, "demo", "QUICK=1").rstrip().endswith("tandem demo --quick")
    assert plan(checkout, "demo").rstrip().endswith("tandem demo")
    gates = plan(checkout, "gates", "BUDGET_MIN=7")
    assert "gates.py --budget-min 7" in gates
    assert "-c constraints/core.txt -e '.[scale]'" in gates, "one of them runs on Ray"


def test_no_fitting_python_is_one_clear_line(checkout: Path) -> None:
    answer = subprocess.run(["make", "install", "PYTHON="], cwd=checkout, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "needs Python 3.11 or 3.12" in answer.stdout


def test_the_ci_script_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "exec make test" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
