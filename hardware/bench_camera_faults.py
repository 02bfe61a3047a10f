"""What camera drivers do about faults, each injected into a stand-in behind the unmodified driver: `tandem bench
camera_faults`.

Of every fault: how long until the camera says FAULT, how many pictures looked new although there were none, by which
step of its recovery ladder the stream came back, and how long that took. Ladders are given two fifths of their time.
"""

import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from math import isnan
from pathlib import Path
from typing import Any

from hardware.stand_ins.camera_stand_in import CameraStandIn
from robot.devices import Camera, DeviceState
from robot.errors import DeviceDisconnected
from robot.machine import machine

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
GROUP = "tandem.camera_stand_ins"
BY_A_PERSON = ""
ON_ITS_WAY_S = 0.1  # pictures taken before a fault may arrive so much later
PATIENCE_S = 60.0
POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Case:
    """One fault, and the recovery step that ends it, or a person; `has_news` where new pictures do come, late."""

    driver: str
    fault: str
    cured_by: str
    has_news: bool = False


CASES = (
    Case("realsense", "ended", "wait"),
    Case("realsense", "ended", "restart"),
    Case("realsense", "frozen", "restart"),
    Case("realsense", "renumbered", "restart"),
    Case("realsense", "ended", "reset"),
    Case("realsense", "busy", "reset"),
    Case("realsense", "stop_blocked", "reset"),
    Case("realsense", "reset_refused", "renew"),
    Case("realsense", "blocked", "process"),
    Case("realsense", "crash", "process"),
    Case("realsense", "gone", BY_A_PERSON),
    Case("realsense", "wrong_size", BY_A_PERSON),
    Case("realsense", "late", BY_A_PERSON, has_news=True),
    Case("uvc", "silent", "wait"),
    Case("uvc", "ended", "restart"),
    Case("uvc", "frozen", "restart"),
    Case("uvc", "release_blocked", "process"),
    Case("uvc", "blocked", "process"),
    Case("uvc", "crash", "process"),
    Case("uvc", "gone", BY_A_PERSON),
    Case("uvc", "wrong_size", BY_A_PERSON),
    Case("uvc", "late", BY_A_PERSON, has_news=True),
)


@dataclass(frozen=True, slots=True)
class Reaction:
    """What was seen of one case: seconds since the fault, pictures, and the steps that were tried."""

    fault_s: float
    back_s: float
    false_news: int
    steps: str


def run() -> dict[str, Any]:
    """Inject every fault and hold the reactions against the targets; takes some minutes."""
    limits = tomllib.loads(TARGETS.read_text())["camera_faults"]
    rows: list[dict[str, Any]] = []
    for driver in sorted({case.driver for case in CASES}):
        (entry,) = entry_points(group=GROUP, name=driver)
        with tempfile.TemporaryDirectory() as folder:
            stand_in: CameraStandIn = entry.load()(Path(folder))
            for case in CASES:
                if case.driver == driver:
                    rows += _rows(case, provoke(stand_in, case), limits)
    return {"name": "camera_faults", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def provoke(stand_in: CameraStandIn, case: Case) -> Reaction:
    """Connect, inject the fault, and watch until pictures come again."""
    stand_in.inject("")
    with stand_in.camera() as camera:
        _until(camera, lambda counter: counter > 10)
        stand_in.inject(case.fault, case.cured_by)
        begun_s = time.monotonic()
        fault_s, known, news = float("nan"), set[int](), 0
        for counter in _watch(camera):
            elapsed_s = time.monotonic() - begun_s
            if counter is None and isnan(fault_s):
                fault_s = elapsed_s
                if case.cured_by == BY_A_PERSON:
                    time.sleep(0.5)  # to see that nothing comes by itself
                    stand_in.inject("")
            if counter is not None and counter not in known:
                known.add(counter)
                if not isnan(fault_s):
                    break
                news += elapsed_s > ON_ITS_WAY_S
        back_s = time.monotonic() - begun_s
        false_news = 0 if case.has_news else news
        return Reaction(fault_s, back_s, false_news, str(camera.health()["recovery_steps"]))


def _watch(camera: Camera) -> Iterator[int | None]:
    """Yield the counter of what is read, None while that is refused."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            yield camera.read().counter
        except DeviceDisconnected:
            yield None
        time.sleep(POLL_S)
    raise DeviceDisconnected(f"no pictures came back within {PATIENCE_S:g} s: {dict(camera.health())}")


def _until(camera: Camera, is_so: Any) -> None:
    next(counter for counter in _watch(camera) if counter is not None and is_so(counter))
    assert camera.state is DeviceState.CONNECTED


def _rows(case: Case, seen: Reaction, limits: dict[str, float]) -> Iterator[dict[str, Any]]:
    name = f"{case.driver}: {case.fault}, ended by {case.cured_by or 'a person'}"
    found = [
        ("fault told", seen.fault_s, "s", limits["fault_s"]),
        ("old as new", seen.false_news, "pictures", limits["old_as_new"]),
        ("pictures again", seen.back_s, "s", None),
    ]
    for metric, value, unit, target in found:
        yield {
            "metric": f"{name}: {metric}", "value": value, "unit": unit, "reference": None, "ratio": None,
            "target": target, "ok": target is None or value <= target, "steps": seen.steps,
        }  # fmt: skip
