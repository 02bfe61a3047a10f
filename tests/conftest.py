"""What every test starts from: off-screen rendering, no ROS traffic beyond this machine, needs named by markers."""

import importlib.util
import os
import re
import shutil
from functools import cache
from pathlib import Path

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
# What may not share the machine freely, by the longest fitting beginning of a file's path. `paced`: mostly waits for
# processes that it starts, and leaves them time enough, so that two run at a time. `alone`: measures how soon something
# happens, or drives a graph in real time. A file that is not here and starts nodes or a browser is `alone` too.
GROUPS = {
    "conformance/test_arms.py": "paced",
    "conformance/test_cameras.py": "paced",
    "conformance/test_operator_devices.py": "paced",
    "hardware/": "paced",
    "hardware/test_franka.py": "alone",
    "hardware/test_real_time.py": "alone",
    "hardware/test_remote_servo.py": "alone",
    "house/test_process_imports.py": "",
    "launch/": "alone",
    "operator/": "alone",
    "ros/": "alone",
    "ros/test_barrier.py": "paced",
    "ros/test_preflight_graph.py": "paced",
}
CHOSEN = {"alone": "alone", "paced": "paced", "not alone and not paced": ""}  # what `make test` gives to -m
STARTS_NODES = re.compile(r"mark\.(ros|browser)\b")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _has_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


NEEDS = {
    "ros": (lambda: importlib.util.find_spec("rclpy") is not None, "rclpy is not installed: pip install '.[ros]'"),
    "browser": (lambda: any(map(shutil.which, BROWSERS)), "no Chromium: apt-get install chromium"),
    "gpu": (_has_gpu, "no CUDA device"),
    "hardware": (lambda: os.environ.get("TANDEM_HARDWARE") == "1", "needs a real device and TANDEM_HARDWARE=1"),
}


@cache
def group_of(path: Path) -> str:
    """Return the group of a test file, "" where it may share the machine freely."""
    tests = Path(__file__).parent
    place = path.relative_to(tests).as_posix() if path.is_relative_to(tests) else path.as_posix()
    fitting = [begin for begin in GROUPS if place.startswith(begin)]
    if fitting:
        return GROUPS[max(fitting, key=len)]
    return "alone" if STARTS_NODES.search(path.read_text()) else ""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the files of the other groups out where one group is asked for: importing them all takes 15 s."""
    chosen = CHOSEN.get(config.option.markexpr)
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if chosen is not None and is_test and group_of(collection_path) != chosen else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what may not share the machine freely; skip, with the reason, what needs something it does not have."""
    for item in items:
        if group := group_of(item.path):
            item.add_marker(group)
    for marker, (is_met, reason) in NEEDS.items():
        needing = [item for item in items if item.get_closest_marker(marker)]
        if needing and not is_met():
            for item in needing:
                item.add_marker(pytest.mark.skip(reason=reason))
