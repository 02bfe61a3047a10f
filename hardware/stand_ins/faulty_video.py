"""A UVC camera that fails on demand: OpenCV playing a video, with its calls disturbed on the way.

The driver is the unmodified one and takes the file for a device. The V4L2 controls are not in it.
"""

import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hardware.cameras.recovery import PROCESS, RESTART, WAIT, Step
from hardware.cameras.uvc import ENVIRONMENT, LADDER, UvcSource, open_capture, uvc
from hardware.stand_ins.camera_stand_in import FAULTS_FILE, FaultFile, quicker
from hardware.stand_ins.video import make_video
from robot.clock import RateKeeper
from robot.devices import Camera
from robot.specs import CameraSpec

SOURCE = f"{__name__}:source"
FAULTS = ("frozen", "ended", "silent", "late", "blocked", "release_blocked", "gone", "wrong_size", "crash")
SELECT_S = 1.0  # what OpenCV waits for a picture, by the driver's environment
LATE_S = 0.3
FOREVER_S = 1e6


def source(spec: CameraSpec) -> UvcSource:
    """Return the driver's source over disturbed captures; runs in the child."""
    faults = FaultFile()
    faults.cure(PROCESS)
    return UvcSource(spec, lambda path, _: FaultyCapture(path, faults), is_device=True)


class FaultyCapture:
    """OpenCV's VideoCapture of a file, played at its rate for ever; pictures are held back, repeated or spoilt."""

    def __init__(self, path: str, faults: FaultFile) -> None:
        self._path, self._faults = path, faults
        self._capture = open_capture(path, False)
        self._keeper = RateKeeper(self._capture.get(cv2.CAP_PROP_FPS))
        self._last: np.ndarray | None = None
        self._silences = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)

    def isOpened(self) -> bool:
        return self._faults.fault not in ("gone", "ended") and self._capture.isOpened()

    def set(self, prop: int, value: float) -> bool:
        """Take every setting, as many cameras do, and keep the mode of the file."""
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        fault = self._faults.fault
        if fault in ("blocked", "release_blocked"):
            time.sleep(FOREVER_S if fault == "blocked" else SELECT_S)
        if fault == "crash":
            os._exit(139)
        if fault in ("gone", "ended"):
            return False, None
        if fault in ("silent", "release_blocked"):
            return self._silence()
        if fault == "late":
            time.sleep(LATE_S)
        self._keeper.wait()
        if fault == "frozen" and self._last is not None:
            return True, self._last
        is_there, image = self._capture.read()
        if not is_there:
            self._capture = open_capture(self._path, False)
            is_there, image = self._capture.read()
        self._last = image
        return is_there, image[::2, ::2] if fault == "wrong_size" else image

    def release(self) -> None:
        if self._faults.fault == "release_blocked":
            time.sleep(FOREVER_S)
        self._capture.release()
        self._faults.cure(RESTART)

    def _silence(self) -> tuple[bool, None]:
        time.sleep(SELECT_S)
        self._silences += 1
        if self._silences > 1:
            self._faults.cure(WAIT)
        return False, None


class StandIn:
    """A `CameraStandIn` over a video file that passes for a device."""

    faults: tuple[str, ...] = FAULTS

    def __init__(self, folder: Path, ladder: tuple[Step, ...] = quicker(LADDER, 0.5)) -> None:
        self._folder, self._ladder = folder, ladder

    @cached_property
    def spec(self) -> CameraSpec:
        video = make_video(self._folder / "scene.avi", seconds=3.0)
        pose = (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)
        return CameraSpec("front", "world", *pose, 45.0, 640, 480, 30.0, "uvc", {"path": str(video)})

    def camera(self) -> Camera:
        environment = {**ENVIRONMENT, FAULTS_FILE: str(self._folder / "fault.json")}
        return uvc(self.spec, source=SOURCE, ladder=self._ladder, environment=environment)

    def inject(self, fault: str, cured_by: str = "") -> None:
        FaultFile(self._folder / "fault.json").inject(fault, cured_by)


def stand_in(folder: Path) -> StandIn:
    return StandIn(folder)
