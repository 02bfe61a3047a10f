"""What reading training images costs: from the store, from its cache, and with LeRobotDataset's video reader.

50 episodes of 100 ticks with two cameras, textured and with the sensor noise of the simulated cameras, are read in
random batches of 64 while another process goes on recording into the same store. Figures are frames per second of
processor time, all threads counted. The peer reads the first ten episodes, exported by
`policies.data.lerobot_export`; it runs in this environment, or in `.venv-lerobot` beside it.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.util import find_spec
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from policies.data.image_chunks import ImageChunks, read_image_chunks
from robot.bench_store import make_tick
from robot.curation import copy_episodes
from robot.episode_store import EpisodeStore
from robot.errors import RobotError
from robot.images import encode_image
from robot.machine import machine
from robot.types import EndReason
from robot.verb import progress

EPISODES, TICKS, BATCH = 50, 100, 64
CAMERAS = ("scene", "wrist")
IMAGE_SIZE = 224
NOISE = 2.0  # standard deviation of the sensor's noise, grey levels, as in `sim.camera_node`
PEER_EPISODES = 10
HORIZON = 16
BATCHES = {"store": 20, "cached": 100, "peer": 3}
FACTS = {"station": "fr3_sim", "task": "peg-insert"}
TARGETS = Path(__file__).parents[2] / "benchmarks" / "targets.toml"


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes two minutes, half of it lerobot's video encoder."""
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
        store = EpisodeStore(Path(folder) / "store")
        for number in progress(range(EPISODES), "episodes", EPISODES):
            record_episode(store, number)
        infos = store.episodes()
        sizes = [sum(f.stat().st_size for f in (info.path / "image").rglob("*") if f.is_file()) for info in infos]
        peer = _measure_peer(store, Path(folder), [info.episode_id for info in infos[:PEER_EPISODES]])
        rates, errors = _measure_readers(store.root)
    bytes_per_frame = sum(sizes) / (EPISODES * TICKS * len(CAMERAS))
    rows = [
        _row("store_frames_per_cpu_s", rates["store"], "frames/s", peer.get("rate")),
        _row("cached_frames_per_cpu_s", rates["cached"], "frames/s", peer.get("rate")),
        _row("bytes_per_frame", bytes_per_frame, "bytes", peer.get("bytes_per_frame")),
        _row("errors_while_recording", errors, "errors", None),
    ]
    return {"name": "data", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def record_episode(store: EpisodeStore, number: int, ticks: int = TICKS, size: int = IMAGE_SIZE) -> str:
    """Record one successful episode of made-up ticks and images that move; return its id."""
    writer = store.open_episode(FACTS, episode_id=f"bench-{number:04}")
    views = {camera: _view(place, number, size) for place, camera in enumerate(CAMERAS)}
    noise = np.random.default_rng(number)
    for step in range(ticks):
        images = {}
        for camera, view in views.items():
            image = view.copy()
            cv2.circle(image, (size // 10 + step * size // 130, size // 3 + number), size // 12, (200, 60, 40), -1)
            noisy = np.clip(image + noise.normal(0, NOISE, image.shape), 0, 255)
            images[camera] = encode_image(noisy.astype(np.uint8))
        writer.append(make_tick(step), images)
    return writer.close(EndReason.SUCCESS).episode_id


def _view(place: int, number: int, size: int) -> np.ndarray:
    """Return a textured background, float32 (size, size, 3)."""
    field = np.random.default_rng([place, number]).normal(size=(size, size, 3)).astype(np.float32)
    texture = np.sum([sigma * cv2.GaussianBlur(field, (0, 0), sigma) for sigma in (1, 3, 9)], axis=0)
    return 110 + 45 * texture / texture.std()


def _measure_readers(path: Path) -> tuple[dict[str, float], int]:
    """Return frames per CPU second of both readers and the number of errors, with a recorder at work beside them."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    recorder = context.Process(target=_keep_recording, args=(path, stop))
    recorder.start()
    rates, errors = {}, 0
    try:
        for name in ("store", "cached"):
            kept = read_image_chunks(path, cameras=CAMERAS, horizon=HORIZON, cached=name == "cached")
            rates[name] = _frames_per_cpu_s(kept, BATCHES[name])
            try:  # once more, now that there are other episodes
                read_image_chunks(path, cameras=CAMERAS, horizon=HORIZON, cached=False).read_images(np.arange(BATCH))
            except RobotError as error:
                print(f"reader error: {error}")
                errors += 1
    finally:
        stop.set()
        recorder.join()
    return rates, errors + (recorder.exitcode != 0)


def _keep_recording(path: Path, stop: Event) -> None:
    os.nice(10)
    store, number = EpisodeStore(path), EPISODES
    while not stop.is_set():
        record_episode(store, number, ticks=20)
        number += 1


def _frames_per_cpu_s(dataset: ImageChunks, batches: int) -> float:
    chance = np.random.default_rng(0)
    dataset.read_images(chance.integers(0, len(dataset), BATCH))  # the first read opens files
    index = chance.integers(0, len(dataset), (batches, BATCH))
    before_s = time.process_time()
    for samples in index:
        dataset.read_images(samples)
    return batches * BATCH * len(CAMERAS) / (time.process_time() - before_s)


def _measure_peer(store: EpisodeStore, folder: Path, episode_ids: list[str]) -> dict[str, float]:
    """Return the peer's frames per CPU second and bytes per frame; nothing where there is no lerobot."""
    python = lerobot_python()
    if python is None:
        print("peer not measured: no lerobot here; make install CONSTRAINTS=constraints/lerobot.txt", flush=True)
        return {}
    part = EpisodeStore(folder / "part")
    copy_episodes(store, part, episode_ids)
    words = [python, "-m", "policies.data.bench_lerobot", str(part.root), str(folder / "lerobot"), str(BATCHES["peer"])]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RobotError(f"the peer failed: {ran.stderr.strip().splitlines()[-1:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def lerobot_python() -> str | None:
    """Return the Python that has lerobot: this one, or that of `.venv-lerobot` beside this environment."""
    if find_spec("lerobot"):
        return sys.executable
    beside = Path(sys.prefix).parent / ".venv-lerobot" / "bin" / "python"
    return str(beside) if beside.exists() else None


def _row(metric: str, value: float, unit: str, reference: float | None) -> dict[str, Any]:
    """Hold a ratio to the peer against its target: a rate from below, a size from above; errors need no peer."""
    target = tomllib.loads(TARGETS.read_text())["data"].get(metric)
    ratio = value / reference if reference else None
    held = value if unit == "errors" else ratio
    ok = held is None or (held >= target if unit == "frames/s" else held <= target)
    return {
        "metric": metric,
        "value": value,
        "unit": unit,
        "reference": reference,
        "ratio": ratio,
        "target": None if held is None else target,
        "ok": ok,
    }
