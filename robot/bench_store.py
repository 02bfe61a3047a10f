"""What recording costs: journal appends at 50 Hz with two VGA JPEG cameras, sealing, and reading an image back.

The peer is the plain way to record into Zarr: every column and camera an array that grows by one row per tick.
"""

import platform
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from robot.episode_store import EpisodeStore
from robot.images import encode_image
from robot.record import Clip, TickRecord
from robot.types import EndReason, Owner, Segment

RATE_HZ = 50.0
DURATION_S = 20.0
PEER_TICKS = 10
CAMERAS = ("scene", "wrist")
TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"


def make_tick(step: int, groups: Mapping[str, np.ndarray] | None = None) -> TickRecord:
    """Return a made-up tick of an arm with eight joints and a four-dimensional action, the same for the same step."""
    values = np.random.default_rng(step).normal(size=(6, 8))
    time_ns = round(step * 1e9 / RATE_HZ)
    return TickRecord(
        step=step,
        tick_time_ns=time_ns,
        observation_time_ns=time_ns - 1_000_000,
        stream_times_ns={f"image/{camera}": time_ns - 2_000_000 for camera in CAMERAS},
        observation={"joint_position": values[0], "joint_velocity": values[1], "tcp_position": values[2, :3]},
        base_action=values[3, :4],
        residual_action=values[3, 4:],
        policy_action=values[3, :4] + values[3, 4:],
        human_action=np.full(4, np.nan),
        executed_action=values[4, :4],
        joint_command=values[5],
        blend_weight=1.0,
        owner=Owner.POLICY,
        segment=Segment.ROLLOUT,
        intervention_id=-1,
        safety_clips=Clip.NONE,
        chunk_id=step // 8,
        chunk_offset=step % 8,
        generation=0,
        policy_version=1,
        groups=groups or {},
    )


def make_images(count: int) -> list[bytes]:
    """Encode `count` VGA images with some texture, about 60 kB each."""
    rows, columns = np.mgrid[:480, :640]
    noise = np.random.default_rng(0)
    ramps = (np.stack([columns + 9 * k, rows + columns, rows], -1) // 3 % 256 for k in range(count))
    grainy = (np.clip(ramp + noise.normal(0, 4, ramp.shape), 0, 255) for ramp in ramps)
    return [encode_image(image.astype(np.uint8)) for image in grainy]


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes half a minute."""
    images = make_images(8)
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
        peer_ms = _append_to_zarr(Path(folder) / "peer.zarr", images)
        store = EpisodeStore(Path(folder) / "store")
        episode_id, appends_ms = _append_to_journal(store, images)
        start = time.perf_counter()
        info = store.seal(episode_id)
        seal_s = time.perf_counter() - start
        read_ms = _read_images(store, info.episode_id)
    rows = [
        _row("append_p50_ms", float(np.median(appends_ms)), "ms", peer_ms),
        _row("append_p99_ms", float(np.percentile(appends_ms, 99)), "ms"),
        _row("append_max_ms", max(appends_ms), "ms"),
        _row("seal_s_per_minute", seal_s * 60 / DURATION_S, "s"),
        _row("image_read_ms", read_ms, "ms"),
    ]
    machine = {"platform": platform.platform(), "processor": platform.machine(), "python": platform.python_version()}
    return {"name": "store", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine}


def _append_to_journal(store: EpisodeStore, images: list[bytes]) -> tuple[str, list[float]]:
    writer = store.open_episode({"station": "bench", "task": "append"})
    durations_ms = []
    start = time.perf_counter()
    for step in range(round(DURATION_S * RATE_HZ)):
        time.sleep(max(0.0, start + step / RATE_HZ - time.perf_counter()))
        record, tick_images = make_tick(step), _pick(images, step)
        before = time.perf_counter()
        writer.append(record, tick_images)
        durations_ms.append((time.perf_counter() - before) * 1e3)
    writer.finish(EndReason.SUCCESS)
    return writer.episode_id, durations_ms


def _append_to_zarr(path: Path, images: list[bytes]) -> float:
    """Return the median time of a tick [ms]."""
    group = zarr.create_group(path, zarr_format=3)
    columns = make_tick(0).columns()
    for name, column in columns.items():
        group.create_array(name, shape=(0, *column.shape), dtype=column.dtype, chunks=(64, *column.shape))
    for camera in CAMERAS:
        group.create_array(f"image/{camera}", shape=(0,), dtype="uint8", chunks=(2**18,))
    durations_ms = []
    for step in range(PEER_TICKS):
        before = time.perf_counter()
        blobs = {f"image/{camera}": np.frombuffer(blob, np.uint8) for camera, blob in _pick(images, step).items()}
        rows = {name: column[None] for name, column in make_tick(step).columns().items()}
        for name, values in (rows | blobs).items():
            group[name].append(values)  # pyright: ignore[reportAttributeAccessIssue]
        durations_ms.append((time.perf_counter() - before) * 1e3)
    return float(np.median(durations_ms))


def _read_images(store: EpisodeStore, episode_id: str) -> float:
    """Return the mean time to read and decode one image at a random row [ms]."""
    episode = store.load(episode_id)
    steps = np.random.default_rng(0).integers(0, len(episode), 100)
    before = time.perf_counter()
    for step in steps:
        episode.image(CAMERAS[step % 2], int(step))
    return (time.perf_counter() - before) * 1e3 / len(steps)


def _pick(images: list[bytes], step: int) -> dict[str, bytes]:
    return {camera: images[(step + place) % len(images)] for place, camera in enumerate(CAMERAS)}


def _row(metric: str, value: float, unit: str, reference: float | None = None) -> dict[str, Any]:
    target = tomllib.loads(TARGETS.read_text()).get("store", {}).get(metric)
    return {
        "metric": metric,
        "value": value,
        "unit": unit,
        "reference": reference,
        "ratio": None if reference is None else value / reference,
        "target": target,
        "ok": target is None or value <= target,
    }
