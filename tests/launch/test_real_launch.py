"""The launch files with ROS 2's own tools: `ros2 launch` by path and by package, and a Ctrl-C that leaves nothing.

The tools are not on the package index. Where they are missing, only what needs none of them runs: that installing puts
every file where `ros2 launch` looks for it. `test_launch_files.py` holds the launch files against a stub.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from hardware.stand_ins.franky_arm import FrankyProcess
from tests.domains import some_domain

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "launch").glob("*.launch.py"))
CLI = [sys.executable, "-c", "import sys; from ros2cli.cli import main; sys.exit(main())", "launch"]
needs_launch = pytest.mark.skipif(
    not (find_spec("ros2cli") and find_spec("ros2launch")),
    reason="ROS 2's launch tools (ros2cli, ros2launch, launch_ros) are not installed: no real launch is run",
)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the data files alone, as colcon and a wheel do."""
    folder = tmp_path_factory.mktemp("prefix")
    words = [sys.executable, "setup.py", "-q", "install_data", "--install-dir", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


def ros2_launch(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **variables}
    return subprocess.run([*CLI, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def test_the_package_s_files_lie_where_launch_looks(prefix: Path) -> None:
    assert (prefix / "share/ament_index/resource_index/packages/tandem").is_file()
    assert (prefix / "share/tandem/package.xml").is_file()
    assert {path.name for path in (prefix / "share/tandem/launch").iterdir()} == {*FILES, "parameters.yaml"}


@needs_launch
@pytest.mark.parametrize("name", FILES)
def test_show_args_by_path(name: str) -> None:
    answer = ros2_launch(f"launch/{name}", "--show-args")
    assert answer.returncode == 0, answer.stderr
    for argument in ("station", "task", "operator", "record", "parameters"):
        assert f"'{argument}':" in answer.stdout


@needs_launch
def test_show_args_by_package(prefix: Path) -> None:
    answer = ros2_launch("tandem", "train.launch.py", "--show-args", AMENT_PREFIX_PATH=str(prefix))
    assert answer.returncode == 0, answer.stderr
    assert "'learn_preset':" in answer.stdout


@needs_launch
def test_a_station_that_was_not_named_is_asked_for() -> None:
    answer = ros2_launch("launch/hardware.launch.py")
    assert answer.returncode != 0
    assert "missing required argument 'station'" in answer.stdout + answer.stderr


class Launched:
    """A running `ros2 launch`, in a session of its own as in a terminal, with what it printed."""

    def __init__(self, log: Path, *words: str, **variables: str) -> None:
        self._log = log
        domain = {"ROS_DOMAIN_ID": str(some_domain()), "PYTHONUNBUFFERED": "1"}
        with log.open("w") as out:
            self.popen = subprocess.Popen(
                [*CLI, *words],
                cwd=ROOT,
                env={**os.environ, **domain, **variables},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._log.read_text()

    def wait_for(self, words: str, count: int = 1, timeout_s: float = 90.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while self.text.count(words) < count:
            assert time.monotonic() < deadline_s, f"no {words!r} x {count} in:\n{self.text}"
            assert self.popen.poll() is None, self.text
            time.sleep(0.1)

    def session(self) -> list[int]:
        """Return the living processes of its session."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == self.popen.pid and fields[0] != "Z":
                    found.append(int(entry.name))
        return found

    def ctrl_c(self) -> int:
        """Interrupt everything in the foreground, as a terminal does, and return launch's exit code."""
        os.killpg(self.popen.pid, signal.SIGINT)
        return self.popen.wait(timeout=20)


@contextmanager
def launched(log: Path, *words: str, **variables: str) -> Iterator[Launched]:
    running = Launched(log, *words, **variables)
    try:
        yield running
    finally:
        for pid in running.session():
            os.kill(pid, signal.SIGKILL)
        running.popen.wait()


@needs_launch
@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("by_package", [False, True], ids=["by path", "by package"])
def test_ctrl_c_leaves_no_process(tmp_path: Path, prefix: Path, by_package: bool) -> None:
    which = ("tandem", "sim.launch.py") if by_package else ("launch/sim.launch.py",)
    words = (*which, "operator:=none", "cameras:=scene", "parameters:=launch/parameters.yaml")
    with launched(tmp_path / "log", *words, AMENT_PREFIX_PATH=str(prefix)) as running:
        running.wait_for("process started with pid", count=5)
        running.wait_for("safety/reset: commands are followed")
        assert len(running.session()) == 1 + 5  # launch, arm, camera, arbiter, episode, health
        assert running.ctrl_c() == 0, running.text
        assert running.text.count("process has finished cleanly") == 5, running.text
        assert not running.session()
        assert "Traceback" not in running.text


@needs_launch
@pytest.mark.ros
@pytest.mark.slow
def test_the_death_of_a_required_process_ends_the_launch(tmp_path: Path) -> None:
    words = ("launch/sim.launch.py", "operator:=none", "cameras:=none")
    with launched(tmp_path / "log", *words) as running:
        running.wait_for("safety/reset: commands are followed")
        started = next(line for line in running.text.splitlines() if "[arbiter-" in line and "pid [" in line)
        os.kill(int(started.rpartition("pid [")[2].rstrip("]")), signal.SIGKILL)
        running.popen.wait(timeout=20)
        assert "was required: shutting down launched system" in running.text
        assert running.text.count("process has finished cleanly") == 3, running.text  # arm, episode, health
        assert not running.session()


@needs_launch
@pytest.mark.ros
@pytest.mark.slow
def test_a_real_arm_stands_before_and_after_ctrl_c(tmp_path: Path) -> None:
    pytest.importorskip("franky", reason="needs franky-control: pip install '.[franka]'")
    pytest.importorskip("franky_sim", reason="needs franky-sim: pip install '.[franka-sim]'")
    with FrankyProcess() as robot:
        cell, arm = tmp_path / "cell.yaml", {"address": robot.greeting["address"], "options": {"realtime": "ignore"}}
        cell.write_text(yaml.safe_dump({"like": "fr3", "name": "cell", "arm": arm}))
        before = robot.state()["position"]
        with launched(tmp_path / "log", "launch/hardware.launch.py", f"station:={cell}", "operator:=none") as running:
            running.wait_for("process started with pid", count=4)  # arm, arbiter, episode, health
            running.wait_for("arm is active")
            time.sleep(2.0)
            assert "safety/reset" not in running.text, "nobody but a person releases it"
            assert running.ctrl_c() == 0, running.text
            assert running.text.count("process has finished cleanly") == 4, running.text
            assert not running.session()
        assert robot.state()["position"] == pytest.approx(before, abs=2e-3)
        assert max(map(abs, robot.state()["velocity"])) < 0.01
