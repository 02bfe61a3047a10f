"""Check this machine and a station's devices: versions, name clashes, rendering, shared memory; says what to do."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from robot.errors import ConfigError
from robot.finding import Finding, show
from robot.machine import machine, usable_cores
from robot.verb import Verb

SHM = Path("/dev/shm")
STATION_CHECKS = "tandem.station_checks"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
RENDER_TIMEOUT_S = 60.0
RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='.3'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 64, 64)
renderer.update_scene(data)
image = renderer.render()
renderer.close()
assert image.max() > image.min(), "the picture is of one colour"
"""
# Distribution, the extra that brings it (None: the core), what is lost without it.
PACKAGES: tuple[tuple[str, str | None, str], ...] = (
    ("numpy", None, "everything"),
    ("gymnasium", None, "every world"),
    ("zarr", None, "the episode store"),
    ("mujoco", None, "kinematics and simulation"),
    ("mink", "kinematics", "inverse kinematics, so every tcp action"),
    ("torch", "learn", "policies and learners"),
    ("ros-rclpy", "ros", "the graph of nodes"),
    ("starlette", "operator", "the operator's page"),
    ("dynamixel-sdk", "dynamixel", "arms of Dynamixel servos"),
    ("feetech-servo-sdk", "feetech", "arms of Feetech servos"),
    ("franky-control", "franka", "Franka arms"),
    ("pyrealsense2", "realsense", "RealSense cameras"),
    ("metaworld", "metaworld", "the Meta-World tasks"),
    ("lerobot", "lerobot", "pretrained policies of lerobot (an environment of its own)"),
)


@dataclass(frozen=True)
class Doctor:
    """Check this machine and this installation."""

    render: bool = True
    """Draw one picture off screen, in a process of its own."""
    station: str = ""
    """Look at the devices of this station as well: connect and read each of them; nothing moves."""


def run(config: Doctor) -> dict[str, Any]:
    """Print every finding and return them all; `ok` is false where one failed."""
    checks: list[Callable[[], Finding]] = [check_python, check_robot_package, check_rclpy]
    checks += [check_rendering] if config.render else []
    checks += [check_shared_memory, check_leftovers, check_cores, check_profile]
    findings = [*(check() for check in checks), *(check_package(*row) for row in PACKAGES)]
    if config.station:
        findings += [finding for check in station_checks() for finding in check(config.station)]
    failed = show(findings)
    print(f"\n{len(failed)} failed: {', '.join(failed)}" if failed else "\nnothing failed; next: tandem demo --quick")
    return {"ok": not failed, "rows": [asdict(finding) for finding in findings], "machine": machine()}


def station_checks() -> list[Callable[[str], list[Finding]]]:
    """Return what looks at a station's devices; drivers lie above this floor and offer it by an entry point."""
    found = [entry.load() for entry in entry_points(group=STATION_CHECKS)]
    if not found:
        raise ConfigError(f"nothing is registered in {STATION_CHECKS}: install again, pip install .")
    return found


def check_python(current: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """3.11 and 3.12 are tested."""
    found = f"{current[0]}.{current[1]}, {sys.executable}"
    if current < (3, 11):
        return Finding("python", "fail", found, "Tandem needs 3.11 or 3.12")
    if current > (3, 12):
        return Finding("python", "warn", found, "only 3.11 and 3.12 are tested")
    return Finding("python", "ok", found)


def copies(package: str, path: list[str] | None = None) -> list[Path]:
    """Return every place on the module search path that holds a package of this name, the first one wins."""
    places = [Path(entry or ".").resolve() for entry in (sys.path if path is None else path)]
    return list(dict.fromkeys(place / package for place in places if (place / package / "__init__.py").is_file()))


def check_robot_package(path: list[str] | None = None) -> Finding:
    """A test-automation package is called `robot` too; whichever comes first on the path hides the other."""
    ours = Path(__file__).resolve().parent
    foreign = [place for place in copies("robot", path) if place.resolve() != ours]
    if foreign:
        advice = "uninstall it here (pip uninstall robotframework) or give Tandem an environment of its own"
        return Finding("package 'robot'", "fail", f"another one lies in {foreign[0]}", advice)
    return Finding("package 'robot'", "ok", str(ours))


def check_rclpy(path: list[str] | None = None) -> Finding:
    """Wheels of rclpy beside a sourced ROS mix two sets of libraries in one process."""
    found = copies("rclpy", path)
    if len(found) > 1:
        advice = "leave the `ros` extra out where ROS is sourced: pip uninstall ros-rclpy, or do not source ROS"
        return Finding("rclpy", "fail", f"{len(found)} copies: {', '.join(map(str, found))}", advice)
    if not found:
        return Finding("rclpy", "warn", "absent", "for the graph: pip install '.[ros]', or source ROS 2 Jazzy")
    return Finding("rclpy", "ok", str(found[0]))


def renders_with(backend: str) -> tuple[bool, str]:
    """Draw one picture in a process of its own; return whether it worked and what the first error said."""
    env = {**os.environ, "MUJOCO_GL": backend}
    words = [sys.executable, "-c", RENDER]
    try:
        answer = subprocess.run(words, env=env, capture_output=True, text=True, timeout=RENDER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False, f"no picture within {RENDER_TIMEOUT_S:g} s"
    error = re.search(r"^[\w.]*(Error|Exception)\b.*", answer.stderr, re.MULTILINE)
    return answer.returncode == 0, error[0] if error else f"exit code {answer.returncode}, no message"


def check_rendering() -> Finding:
    """Off-screen rendering depends on system libraries and on MUJOCO_GL."""
    chosen = os.environ.get("MUJOCO_GL", "")
    works, complaint = renders_with(chosen)
    if works and chosen in ("egl", "osmesa"):
        return Finding("rendering", "ok", f"MUJOCO_GL={chosen}")
    if works:
        advice = "without a display set MUJOCO_GL=egl"
        return Finding("rendering", "ok", f"MUJOCO_GL={chosen or '(not set)'}", advice)
    for other in ("egl", "osmesa"):
        if other != chosen and renders_with(other)[0]:
            found = f"MUJOCO_GL={chosen or '(not set)'} fails: {complaint}"
            return Finding("rendering", "warn", found, f"export MUJOCO_GL={other}")
    advice = "sudo apt-get install libegl1 libgl1 libosmesa6, then export MUJOCO_GL=egl"
    return Finding("rendering", "fail", complaint, advice)


def check_shared_memory(folder: Path = SHM, needed_mib: int = 256) -> Finding:
    """Camera images travel through shared memory; a container gives 64 MiB unless told otherwise."""
    if not folder.is_dir():
        return Finding("shared memory", "warn", f"no {folder}", "camera images fall back to the network stack")
    size_mib = shutil.disk_usage(folder).total // 2**20
    if size_mib < needed_mib:
        advice = f"give the container at least {needed_mib} MiB, e.g. docker run --shm-size=1g"
        return Finding("shared memory", "fail", f"{folder} has {size_mib} MiB", advice)
    return Finding("shared memory", "ok", f"{folder} has {size_mib} MiB")


def check_leftovers(folder: Path = SHM, most: int = 200) -> Finding:
    """Processes killed without a chance to clean up leave segments of Fast DDS behind."""
    count = sum(1 for _ in folder.glob("fastrtps_*")) if folder.is_dir() else 0
    if count > most:
        advice = (
            f"the next `tandem up` removes the large ones; all, with no ROS process running: rm {folder}/fastrtps_*"
        )
        return Finding("leftovers", "warn", f"{count} segments", advice)
    return Finding("leftovers", "ok", f"{count} segments of Fast DDS in {folder}")


def check_cores(cores: int | None = None) -> Finding:
    """A graph is a process per device; they share the cores with the policy."""
    count = usable_cores() if cores is None else cores
    if count < 4:
        advice = "enough for the demo and the tests; a station with two cameras wants 4 or more"
        return Finding("cores", "warn", str(count), advice)
    return Finding("cores", "ok", str(count))


def check_profile() -> Finding:
    """The default Fast DDS segment is smaller than one VGA image, which then gets lost without a word."""
    given = {name: os.environ[name] for name in PROFILE_VARIABLES if name in os.environ}
    for name, path in given.items():
        if not Path(path).is_file():
            return Finding("Fast DDS", "fail", f"{name}={path} is no file", f"unset {name}; `tandem up` sets its own")
    if given:
        return Finding("Fast DDS", "ok", ", ".join(f"{name}={path}" for name, path in given.items()))
    return Finding("Fast DDS", "ok", "no profile set; `tandem up` and the launch files set their own")


def check_package(name: str, extra: str | None, loses: str) -> Finding:
    """Show a version, or what is lost without the package and how to get it."""
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        if extra is None:
            return Finding(name, "fail", f"absent; it carries {loses}", "pip install .")
        return Finding(name, "ok" if extra == "lerobot" else "warn", f"absent; lost: {loses}", _how_to_get(extra))


def _how_to_get(extra: str) -> str:
    if extra == "lerobot":
        return "make install CONSTRAINTS=constraints/lerobot.txt"
    if extra == "ros" and os.environ.get("ROS_DISTRO"):
        return ""
    return f"pip install '.[{extra}]'"


VERB = Verb(Doctor, run, "Check this machine and this installation, and say what to do.")
