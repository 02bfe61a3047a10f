"""What every test starts from: off-screen rendering, no ROS traffic beyond this machine, needs named by markers."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
# Folders whose tests start processes that keep time, or drive a device: one of them at a time, with both cores.
ALONE = {"conformance", "hardware", "launch", "operator", "ros"}
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what must run alone; skip, with the reason, what needs something this machine does not have."""
    tests = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        if folder in ALONE or any(map(item.get_closest_marker, ("ros", "browser"))):
            item.add_marker(pytest.mark.alone)
    for marker, (is_met, reason) in NEEDS.items():
        needing = [item for item in items if item.get_closest_marker(marker)]
        if needing and not is_met():
            for item in needing:
                item.add_marker(pytest.mark.skip(reason=reason))
