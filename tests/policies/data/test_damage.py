"""A thousand damaged files: each is refused in one line, or tells what is lost, or gives exactly what was recorded."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.data.bench_episodes import CAMERAS, FACTS
from policies.data.exchange import read_in
from policies.data.images import CachedImages
from robot.bench_store import make_tick
from robot.curation import read_flags, set_flags
from robot.episode_store import EpisodeStore
from robot.errors import RobotError
from robot.recording import read_recording
from robot.types import EndReason
from tests.policies.data.conftest import TICKS
from tests.policies.data.damaging import damaged, outcome
from tests.policies.data.foreign_files import write_replay_buffer, write_robomimic


def test_damaged_journals_tell_what_is_lost(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    writer = store.open_episode(FACTS, episode_id="a")
    for step in range(8):
        writer.append(make_tick(step), {"scene": bytes([step]) * 300})
    writer.event(5, {"mark": "correction"})
    writer.finish(EndReason.SUCCESS)
    path = tmp_path / "open" / "a.journal"
    whole = [make_tick(step).executed_action for step in range(8)]
    size = path.stat().st_size
    for is_changed in damaged([path], 300, seed=0):
        found = outcome(lambda: read_recording(path))
        if isinstance(found, RobotError) or not is_changed:
            continue
        lost_all_after = path.stat().st_size < size and found.end_reason is EndReason.CRASH  # cut between two frames
        assert found.lost_bytes or lost_all_after
        steps = found.columns.get("step", np.array([], int)).tolist()
        for row, step in enumerate(steps):
            np.testing.assert_array_equal(found.columns["executed_action"][row], whole[step])
            assert bytes(found.images["scene"][row]) == bytes([step]) * 300


def content(store: EpisodeStore) -> Any:
    (info,) = [info for info in store.episodes() if info.episode_id == "bench-0001"]
    episode = store.load(info.episode_id)
    episode.verify()
    images = {camera: [episode.image_bytes(camera, row) for row in range(len(episode))] for camera in CAMERAS}
    columns = {name: column.tobytes() for name, column in episode.columns.items()}
    return info.steps, info.end_reason, info.is_discarded, dict(info.metadata), episode.events, images, columns


def test_damaged_episodes_are_refused(store: EpisodeStore) -> None:
    whole = content(store)
    files = [path for path in (store.root / "episodes" / "bench-0001.zarr").rglob("*") if path.is_file()]
    assert len(files) > 8
    refused = 0
    for _ in damaged(files, 400, seed=1):
        found = outcome(lambda: content(store))
        refused += isinstance(found, RobotError)
        assert isinstance(found, RobotError) or found == whole
    assert refused > 300


def test_a_damaged_cache_gives_what_was_recorded(store: EpisodeStore, tmp_path: Path) -> None:
    episodes = [store.load(info.episode_id) for info in store.episodes()]
    numbers, rows = np.divmod(np.arange(len(episodes) * TICKS), TICKS)

    def read() -> list[np.ndarray]:
        cache = CachedImages(tmp_path / "cache", episodes, CAMERAS, 0)
        return [cache.read(camera, numbers, rows) for camera in CAMERAS]

    whole = read()
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    for _ in damaged(files, 40, seed=2):
        np.testing.assert_array_equal(read(), whole)


def test_damaged_flags_never_let_anything_else_through(store: EpisodeStore) -> None:
    set_flags(store, ["bench-0000", "bench-0002"], "blurred")
    for _ in damaged([store.root / "flags.jsonl"], 60, seed=3):
        found = outcome(lambda: read_flags(store.root))
        assert isinstance(found, (RobotError, dict))


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_damaged_foreign_files_are_refused_or_give_finite_episodes(tmp_path: Path, kind: str) -> None:
    """These formats carry no checksum of their data: what is asked is that no damage gets past the checks unseen by
    them, as another error, a wrong length or a value that is not finite."""
    if kind == "hdf5":
        pytest.importorskip("h5py")
        write_robomimic(tmp_path / "a.hdf5")
        source, files = tmp_path / "a.hdf5", [tmp_path / "a.hdf5"]
    else:
        source = tmp_path / "a.zarr"
        write_replay_buffer(source)
        files = [path for path in source.rglob("*") if path.is_file()]
    refused = 0
    for number, _ in enumerate(damaged(files, 25, seed=4)):
        target = tmp_path / f"store-{number}"
        found = outcome(lambda target=target: list(read_in(source, target, rate_hz=20.0)))
        refused += isinstance(found, RobotError)
        store = EpisodeStore(target)
        for info in store.episodes():
            assert info.is_discarded or info.steps in (7, 5)
            assert np.isfinite(store.load(info.episode_id).columns["executed_action"]).all()
        shutil.rmtree(target)
    assert refused > 5


def test_damaged_bags_are_refused_or_break_off_with_whole_messages(tmp_path: Path) -> None:
    pytest.importorskip("mcap_ros2")
    pytest.importorskip("rosbags")
    from robot.ros import topics
    from robot.ros.bag import BagReader, BagWriter

    text = [json.dumps({"step": step}).encode() for step in range(1500)]
    with BagWriter(tmp_path / "bag") as bag:
        bag.add(topics.EPISODE_EVENT, "/episode/event")
        for step, words in enumerate(text):
            size = (len(words) + 1).to_bytes(4, "little")
            bag.write("/episode/event", step + 1, b"\0\1\0\0" + size + words + b"\0")
    path = tmp_path / "bag" / "bag_0.mcap"

    def read() -> tuple[list[bytes], str]:
        reader = BagReader(tmp_path / "bag")
        return [message.read(topics.STRING).data.encode() for message in reader.messages()], reader.broken_off

    assert read() == (text, "")
    refused = 0
    for _ in damaged([path], 150, seed=5):
        found = outcome(read)
        if isinstance(found, RobotError):
            refused += 1
            continue
        messages, broken_off = found
        assert messages == text if not broken_off else messages == text[: len(messages)]
    assert refused > 50
