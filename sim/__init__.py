"""Simulation: worlds, tasks, scripted experts and environment suites on MuJoCo.

Importing this package chooses how MuJoCo draws where the user has not: without a screen, on the GPU or in software.
"""

import ctypes.util
import os
import sys


def _headless_backend() -> str | None:
    """Name the off-screen backend to use, None where a screen or the user's own choice decides."""
    if not sys.platform.startswith("linux") or "MUJOCO_GL" in os.environ:
        return None
    return next((name for name, library in (("egl", "EGL"), ("osmesa", "OSMesa")) if _has(library)), None)


def _has(library: str) -> bool:
    return ctypes.util.find_library(library) is not None


_backend = _headless_backend()
if _backend:
    os.environ["MUJOCO_GL"] = _backend
