"""What a camera stand-in offers the conformance tests: a camera through its unmodified driver, and faults on demand.

A package with a driver of its own registers a function `(folder) -> CameraStandIn` under the driver's name in the
entry-point group `tandem.camera_stand_ins`; `folder` is an empty one for its files.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hardware.cameras.recovery import Step
from robot.devices import Camera
from robot.specs import CameraSpec

FAULTS_FILE = "TANDEM_CAMERA_FAULTS"  # variable of the environment: the file through which faults reach a child process


class CameraStandIn(Protocol):
    """A device that is not there, showing `hardware.stand_ins.moving_scene`.

    `faults` are the names that `inject` knows, `frozen` and `ended` at the least: the last picture sent again and
    again, and no picture any more.
    """

    spec: CameraSpec
    faults: tuple[str, ...]

    def camera(self) -> Camera:
        """Return the camera, made by its driver, not yet connected."""
        ...

    def inject(self, fault: str, cured_by: str = "") -> None:
        """Let the device fail from now on; "" ends it. `cured_by` names the recovery step that ends it by itself."""
        ...


@dataclass(frozen=True)
class FaultFile:
    """The fault that is on, in a file, since what it disturbs lives in processes that come and go."""

    path: Path = field(default_factory=lambda: Path(os.environ[FAULTS_FILE]))

    def inject(self, fault: str, cured_by: str = "") -> None:
        made = self.path.with_suffix(".new")
        made.write_text(json.dumps({"fault": fault, "cured_by": cured_by}))
        made.replace(self.path)

    @property
    def fault(self) -> str:
        return json.loads(self.path.read_text())["fault"] if self.path.exists() else ""

    def cure(self, step: str) -> None:
        """End the fault where this step is what ends it."""
        if self.path.exists() and json.loads(self.path.read_text())["cured_by"] == step:
            self.inject("")


def quicker(ladder: tuple[Step, ...], share: float) -> tuple[Step, ...]:
    """Return a ladder whose steps are given a share of their time, for tests that climb all of it."""
    return tuple(Step(s.name, s.tries, s.limit_s * share, s.settle_s * share, s.advice) for s in ladder)
