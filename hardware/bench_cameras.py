"""Two 640x480 cameras at 30 Hz through their drivers in the running graph: `tandem bench cameras`.

One is a RealSense with depth, the vendor's pipeline playing a recording; the other a UVC camera playing a video. Arm
and arbiter are simulated and the recorder writes both cameras and the depth. A bystander counts what arrives.
"""

import os
import tempfile
import time
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from hardware.stand_ins.realsense_recording import record
from hardware.stand_ins.video import make_video
from robot.machine import machine
from robot.ros.bench_graph import measure, row
from robot.ros.processes import Processes

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
CAMERAS = ("realsense", "uvc")
POSE = {"mount": "world", "translation_m": [1.0, 0.0, 0.6], "look_at_m": [0.5, 0.0, 0.1], "fovy_deg": 45.0}
MODE = {"width": 640, "height": 480, "rate_hz": 30.0}
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes half a minute."""
    limits = tomllib.loads(TARGETS.read_text())["cameras"]
    with tempfile.TemporaryDirectory() as folder:
        processor = ProcessorTime()
        found = measure(station=str(write_station(Path(folder))), watch=processor.look)
    rows = [row("frames_received", found["frames_received"], "share", limits["frames_received"], low=True)]
    for name in CAMERAS:
        received = found[f"images_of_{name}_hz"] / MODE["rate_hz"]
        rows += [
            row(f"{name}: frames_received", received, "share", limits["frames_received"], low=True),
            row(f"{name}: age_p50", found[f"images_of_{name}_age_p50_ms"], "ms", limits["age_p50_ms"]),
            row(f"{name}: age_p99", found[f"images_of_{name}_age_p99_ms"], "ms", limits["age_p99_ms"]),
            row(f"{name}: processor", processor.share(name), "cores", None),
        ]
    return {"name": "cameras", "ok": all(one["ok"] for one in rows), "rows": rows, "machine": machine()}


def write_station(folder: Path) -> Path:
    """Make the recording and the video, and write the station that plays them; return its file."""
    recording, video = record(folder / "scene.db3", seconds=5.0), make_video(folder / "scene.avi", seconds=5.0)
    cameras = [
        {"name": "realsense", "driver": "realsense", "has_depth": True, "options": {"recording": str(recording)}},
        {"name": "uvc", "driver": "uvc", "options": {"path": str(video)}},
    ]
    path = folder / "two_cameras.yaml"
    path.write_text(yaml.safe_dump({"like": "fr3_sim", "cameras": [camera | POSE | MODE for camera in cameras]}))
    return path


class ProcessorTime:
    """How much processor time camera nodes and the capture processes below them take, since they first ran."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def look(self, processes: Processes) -> None:
        for name in CAMERAS:
            pid = processes[name].pid
            used_s = sum(_processor_s(one) for one in [pid, *_children(pid)])
            self._seen[name].append((time.monotonic(), used_s))

    def share(self, name: str) -> float:
        """Return the cores that a camera kept busy over the second half of the time, without its start."""
        seen = self._seen[name][len(self._seen[name]) // 2 :]
        (begun_s, before_s), (ended_s, after_s) = seen[0], seen[-1]
        return (after_s - before_s) / (ended_s - begun_s)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []


def _processor_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
