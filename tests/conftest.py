"""What every test starts from: off-screen rendering, no ROS traffic beyond this machine, needs named by markers."""

import importlib.util
import os
import shutil

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what needs something this machine does not have."""
    for marker, (is_met, reason) in NEEDS.items():
        needing = [item for item in items if item.get_closest_marker(marker)]
        if needing and not is_met():
            for item in needing:
                item.add_marker(pytest.mark.skip(reason=reason))
