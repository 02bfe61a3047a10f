"""What reading training images costs: from the store, from its cache, and with LeRobotDataset's video reader.

50 episodes of 100 ticks with two cameras, textured and with the sensor noise of the simulated cameras, are read in
random batches of 64 while another process goes on recording into the same store. Rates are frames per second of
processor time, all threads counted. The peer reads the first ten episodes, exported by
`policies.data.lerobot_export` with lerobot's own codec settings; it runs in this environment, or in `.venv-lerobot`
beside it. Size and rate are measured once more on the simulator's own clean drawings of some tasks.
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

import numpy as np

from policies.data.bench_episodes import CAMERAS, record_episode, record_rendered
from policies.data.chunks import ChunkDataset
from policies.data.episodes import read_store
from robot.curation import copy_episodes
from robot.episode_store import EpisodeStore
from robot.errors import RobotError
from robot.machine import machine
from robot.verb import progress

EPISODES, BATCH = 50, 64
PEER_EPISODES = 10
RENDERED_TASKS = ("stack", "place-in-bin")
HORIZON = 16
BATCHES = {"store": 20, "cached": 100, "peer": 3}
TARGETS = Path(__file__).parents[2] / "benchmarks" / "targets.toml"


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes four minutes, most of them lerobot's video encoder."""
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
        rows = _textured_rows(Path(folder))
        for task in progress(RENDERED_TASKS, "drawn tasks", len(RENDERED_TASKS)):
            rows += _rendered_rows(Path(folder), task)
    return {"name": "data", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def _textured_rows(folder: Path) -> list[dict[str, Any]]:
    store = EpisodeStore(folder / "store")
    for number in progress(range(EPISODES), "episodes", EPISODES):
        record_episode(store, number)
    size = bytes_per_frame(store)
    peer = _measure_peer(store, folder / "peer", [info.episode_id for info in store.episodes()[:PEER_EPISODES]])
    rates, errors = _measure_readers(store.root)
    return [
        _row("store_frames_per_cpu_s", rates["store"], "frames/s", peer.get("rate")),
        _row("cached_frames_per_cpu_s", rates["cached"], "frames/s", peer.get("rate")),
        _row("bytes_per_frame", size, "bytes", peer.get("bytes_per_frame")),
        _row("errors_while_recording", errors, "errors", None),
    ]


def _rendered_rows(folder: Path, task: str) -> list[dict[str, Any]]:
    store = EpisodeStore(folder / f"store-{task}")
    record_rendered(store, task, PEER_EPISODES)
    size = bytes_per_frame(store)
    peer = _measure_peer(store, folder / f"peer-{task}", [info.episode_id for info in store.episodes()])
    kept = _samples(store.root, cached=False)
    rate = _frames_per_cpu_s(kept, BATCHES["store"])
    return [
        _row("store_frames_per_cpu_s", rate, "frames/s", peer.get("rate"), task),
        _row("bytes_per_frame", size, "bytes", peer.get("bytes_per_frame"), task),
    ]


def bytes_per_frame(store: EpisodeStore) -> float:
    """Return what the files of the images of a store take, by frame."""
    infos = store.episodes()
    files = (path for info in infos for path in (info.path / "image").rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) / sum(info.steps * len(info.cameras) for info in infos)


def _measure_readers(path: Path) -> tuple[dict[str, float], int]:
    """Return frames per CPU second of both readers and the number of errors, with a recorder at work beside them."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    recorder = context.Process(target=_keep_recording, args=(path, stop))
    recorder.start()
    rates, errors = {}, 0
    try:
        for name in ("store", "cached"):
            kept = _samples(path, cached=name == "cached")
            rates[name] = _frames_per_cpu_s(kept, BATCHES[name])
            try:  # once more, now that there are other episodes
                _read_images(_samples(path, cached=False), np.arange(BATCH))
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


def _samples(path: Path, *, cached: bool) -> ChunkDataset:
    """Return what `tandem train` samples of a store, with images as recorded."""
    found = read_store(path, images=CAMERAS, image_size=0, cached=cached)
    return ChunkDataset.cut(found.trajectories, HORIZON)


def _read_images(dataset: ChunkDataset, index: np.ndarray) -> dict[str, np.ndarray]:
    return {name: images[index] for name, images in dataset.images.items()}


def _frames_per_cpu_s(dataset: ChunkDataset, batches: int) -> float:
    chance = np.random.default_rng(0)
    _read_images(dataset, chance.integers(0, len(dataset), BATCH))  # the first read opens files
    index = chance.integers(0, len(dataset), (batches, BATCH))
    before_s = time.process_time()
    for samples in index:
        _read_images(dataset, samples)
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


def _row(metric: str, value: float, unit: str, reference: float | None, task: str = "") -> dict[str, Any]:
    """Hold a ratio to the peer against its target: a rate from below, a size from above; errors need no peer."""
    target = tomllib.loads(TARGETS.read_text())["data"].get(metric)
    ratio = value / reference if reference else None
    held = value if unit == "errors" else ratio
    ok = held is None or (held >= target if unit == "frames/s" else held <= target)
    return {
        "metric": f"{metric} {task}".strip(),
        "value": value,
        "unit": unit,
        "reference": reference,
        "ratio": ratio,
        "target": None if held is None else target,
        "ok": ok,
    }
