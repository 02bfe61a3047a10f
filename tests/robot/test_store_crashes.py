"""The episode store under kill -9 and on a full disk, with real processes and a real small disk."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from robot.bench_store import CAMERAS, make_tick
from robot.episode_store import EpisodeStore
from robot.errors import StoreError
from robot.types import EndReason
from tests.robot.journal_writer import image_of

RATE_HZ = 50.0
KILLS = 45
WRITER = Path(__file__).with_name("journal_writer.py")


def record_and_kill(root: Path, episode_id: str, rate_hz: float, steps: int, kill_at: str, delay_s: float) -> list[str]:
    """Kill a recording process `delay_s` after it reported `kill_at`; return all that it reported."""
    command = [sys.executable, str(WRITER), str(root), episode_id, str(rate_hz), str(steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        reports = []
        for line in writer.stdout:
            reports.append(line.strip())
            if line.strip() == kill_at:
                time.sleep(delay_s)
                writer.send_signal(signal.SIGKILL)
    return reports


def assert_sealed(store: EpisodeStore, episode_id: str, reported: int) -> None:
    episode = store.load(episode_id)
    episode.verify()
    assert len(episode) >= reported - RATE_HZ * 1.0, "more than a second was lost"
    assert len(episode) >= reported, "a kill takes nothing that append returned for"
    for step in (0, len(episode) // 2, len(episode) - 1):
        np.testing.assert_array_equal(episode.columns["executed_action"][step], make_tick(step).executed_action)
        for camera in CAMERAS:
            assert episode.image_bytes(camera, step) == image_of(camera, step)
    assert episode.columns["step"].tolist() == list(range(len(episode)))


def read_tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_kill_9_at_any_time_loses_nothing_and_leaves_other_episodes_alone(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    first = store.open_episode({}, episode_id="first")
    for step in range(5):
        first.append(make_tick(step), {"scene": b"picture"})
    before = read_tree(first.close(EndReason.SUCCESS).path)
    chance = random.Random(0)
    delays = [chance.uniform(0.0, 0.7) for _ in range(KILLS)]

    def kill(number: int) -> int:
        return len(record_and_kill(tmp_path, f"killed-{number}", RATE_HZ, 10_000, "1", delays[number]))

    with ThreadPoolExecutor(3) as pool:
        reported = list(pool.map(kill, range(KILLS)))
    store = EpisodeStore(tmp_path)  # most were sealed already, by the writers that started after them
    assert all(leftover.outcome == "sealed" for leftover in store.leftovers)
    reasons = {info.episode_id: info.end_reason for info in store.episodes()}
    assert reasons.pop("first") is EndReason.SUCCESS
    assert reasons == {f"killed-{number}": EndReason.CRASH for number in range(KILLS)}
    for number, count in enumerate(reported):
        assert_sealed(store, f"killed-{number}", count)
    assert read_tree(tmp_path / "episodes" / "first.zarr") == before


@pytest.mark.slow
def test_kill_9_while_sealing_leaves_one_whole_episode(tmp_path: Path):
    delays = np.linspace(0.0, 0.35, 8)
    for number, delay_s in enumerate(delays):
        record_and_kill(tmp_path, f"e{number}", 1e6, 60, "closing", float(delay_s))
    store = EpisodeStore(tmp_path)
    assert not any(leftover.outcome == "not sealed" for leftover in store.leftovers)
    assert [info.steps for info in store.episodes()] == [60] * len(delays)
    for number in range(len(delays)):
        assert_sealed(store, f"e{number}", 60)
    assert not list((tmp_path / "open").iterdir())


FILL_THE_DISK = """
import json, resource, sys
from robot.bench_store import make_tick
from robot.episode_store import EpisodeStore
from robot.errors import StoreError
from robot.types import EndReason
from tests.robot.journal_writer import image_of
store = EpisodeStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
writer = store.open_episode({}, episode_id="full")
try:
    for step in range(100):
        writer.append(make_tick(step), {"scene": bytes(30_000)})
except StoreError as error:
    message = str(error)
try:
    writer.append(make_tick(step), {"scene": bytes(30_000)})
except StoreError as error:
    again = str(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append(make_tick(step), {"scene": b"after the space came back"})
info = writer.close(EndReason.SUCCESS)
print(json.dumps([message, again, step, info.steps, info.lost_bytes, store.load("full").columns["step"].tolist()]))
"""


def test_a_file_that_may_not_grow_keeps_what_was_written(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    message, again, step, steps, lost_bytes, kept = json.loads(result.stdout)
    assert message.startswith(f"cannot append to the journal {tmp_path}/open/full.journal: File too large (")
    assert "bytes free there" in message and "Every record before is kept" in message and again == message
    assert 20 < step < 100 and (steps, lost_bytes) == (step + 1, 0)
    assert kept == list(range(step + 1))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 6 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root and the right to mount")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_is_told_and_its_episode_sealed_once_there_is_space(small_disk: Path):
    (small_disk / "other").write_bytes(bytes(3_500_000))
    store = EpisodeStore(small_disk / "store")
    writer, steps = store.open_episode({}, episode_id="full"), 0
    with pytest.raises(StoreError, match=r"cannot append to the journal .*No space left on device \([\d,]+ bytes free"):
        for steps in range(200):
            writer.append(make_tick(steps), {"scene": image_of("scene", steps)})
    with pytest.raises(StoreError, match=r"cannot seal .*full\.journal: No space left.*The journal is kept"):
        writer.close(EndReason.FAILURE)
    assert 20 < steps < 199
    assert EpisodeStore(small_disk / "store").leftovers[0].outcome == "not sealed"
    (small_disk / "other").unlink()
    reopened = EpisodeStore(small_disk / "store")
    assert [leftover.outcome for leftover in reopened.leftovers] == ["sealed"]
    episode = reopened.load("full")
    assert (len(episode), episode.end_reason, episode.info.lost_bytes) == (steps, EndReason.FAILURE, 0)
    assert episode.image_bytes("scene", steps - 1) == image_of("scene", steps - 1)
