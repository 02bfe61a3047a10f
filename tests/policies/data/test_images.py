"""Images for training: the same from the store and from its cache, of exactly the episodes that were sealed."""

import errno
import gc
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig
from policies.data.bench_episodes import CAMERAS, FACTS, record_episode
from policies.data.chunks import ChunkDataset, ChunkSource
from policies.data.demonstrations import Demonstrations
from policies.data.episodes import read_store
from policies.data.image_rows import ImageRows, joined, without_last
from policies.data.images import CachedImages
from policies.data.trajectories import Trajectory
from policies.learners.supervised import train_policy
from policies.normalization import ActionLimits, StateNormalizer
from policies.run import Run
from robot.bench_store import make_tick
from robot.curation import set_flags
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, StoreError
from robot.images import encode_image
from robot.observation import square
from robot.types import EndReason
from tests.policies.data.conftest import SIZE, TICKS

SMALL_CLONE = BehaviorCloningConfig(
    steps=5, batch_size=4, hidden=(16,), action_horizon=4, execution_horizon=4, image_features=8
)


def read(store: EpisodeStore, **changes: object) -> Demonstrations:
    wanted = {"images": CAMERAS, "image_size": 0} | changes
    return read_store(store.root, **wanted)  # type: ignore[arg-type]


def in_memory(demonstrations: Demonstrations) -> Demonstrations:
    """Return the same with images as arrays, as demonstrations collected in lock-step have them."""
    arrays = [
        replace(item, images={name: np.asarray(images) for name, images in item.images.items()})
        for item in demonstrations.trajectories
    ]
    return replace(demonstrations, trajectories=arrays)


def make_source(demonstrations: Demonstrations, seed: int = 0, obs_horizon: int = 1) -> ChunkSource:
    dataset = ChunkDataset.cut(demonstrations.trajectories, 4, obs_horizon)
    states = StateNormalizer.fit(dataset.states, floor=1e-3)
    actions = ActionLimits.fit(dataset.actions, floor=1e-3)
    return ChunkSource(dataset, states, actions, batch_size=8, seed=seed)


def pixels(trajectory: Trajectory, camera: str) -> np.ndarray:
    return np.asarray(trajectory.images[f"image/{camera}"])


@pytest.mark.parametrize("image_size", [0, 24])
def test_the_cache_gives_what_the_store_holds(store: EpisodeStore, image_size: int) -> None:
    cached, stored = read(store, image_size=image_size), read(store, image_size=image_size, cached=False)
    side = image_size or SIZE
    infos = store.episodes()
    assert len(infos) == len(cached.trajectories) == len(stored.trajectories)
    for info, ours, theirs in zip(infos, cached.trajectories, stored.trajectories, strict=True):
        episode = store.load(info.episode_id)
        np.testing.assert_array_equal(ours.actions, episode.columns["executed_action"])
        for camera in CAMERAS:
            shown = np.stack([episode.image(camera, min(row, TICKS - 1)) for row in range(TICKS + 1)])
            shown = np.stack([square(image, side) for image in shown])
            np.testing.assert_array_equal(pixels(ours, camera), shown)
            np.testing.assert_array_equal(pixels(theirs, camera), shown)
    assert cached.observation_shapes["image/wrist"] == (side, side, 3)
    assert cached.sha256 == stored.sha256 == in_memory(cached).sha256


def test_a_row_without_a_new_image_has_the_one_before_and_rows_before_the_first_are_left_out(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    writer = store.open_episode(FACTS)
    grey = [np.full((8, 8, 3), 20 * step, np.uint8) for step in range(9)]
    for step in range(9):
        writer.append(make_tick(step), {"scene": encode_image(grey[step])} if step in (2, 5) else {})
    writer.close(EndReason.SUCCESS)
    actions = store.load(store.episodes()[0].episode_id).columns["executed_action"]
    for cached in (True, False):
        (trajectory,) = read(store, images=("scene",), cached=cached).trajectories
        np.testing.assert_array_equal(trajectory.actions, actions[2:])
        means = pixels(trajectory, "scene").mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means, [40, 40, 40, 100, 100, 100, 100, 100], atol=1)
    with pytest.raises(ConfigError, match="no camera 'wrist'"):
        read(store)


def test_rows_of_one_stack_are_joined_unread_and_others_in_memory(store: EpisodeStore) -> None:
    one, other = (item.images["image/scene"] for item in read(store).trajectories[:2])
    assert isinstance(one, ImageRows) and isinstance(other, ImageRows)
    whole = np.concatenate([one[:], other[:]])
    mapped, mixed = joined([one, other]), joined([one, other[:]])
    assert isinstance(mapped, ImageRows) and mapped.stack is one.stack
    assert (len(mapped), mapped.shape, mapped.dtype) == (len(whole), whole.shape, whole.dtype)
    assert isinstance(mixed, np.ndarray)
    for index in (3, -1, slice(2, 9, 3), np.array([[0, 5], [9, 9]]), np.array([], int)):
        np.testing.assert_array_equal(mapped[index], whole[index])
    np.testing.assert_array_equal(mixed, whole)
    np.testing.assert_array_equal(without_last(mapped), whole[:-1])


def test_a_damaged_cache_is_built_again_and_another_selection_has_its_own(store: EpisodeStore) -> None:
    before = read(store).sha256
    (folder,) = (store.root / "cache").iterdir()
    for damage in (lambda data: data[:-7], lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:]):
        (folder / "scene.raw").write_bytes(damage((folder / "scene.raw").read_bytes()))
        assert read(store).sha256 == before
    (folder / "cache.json").write_text("{")
    assert read(store).sha256 == before
    set_flags(store, [store.episodes()[0].episode_id], "blurred")
    assert read(store).ticks == read(store, image_size=8).ticks == 3 * TICKS
    assert len(list((store.root / "cache").iterdir())) == 3


def test_what_cannot_be_read_is_named(store: EpisodeStore) -> None:
    name = store.episodes()[1].episode_id
    with pytest.raises(ConfigError, match=r"bench-0000 has no camera 'hand' \(it has: scene, wrist\)"):
        read(store, images=("hand",))
    shard = store.load(name).info.path / "image" / "wrist" / "c" / "0"
    data = bytearray(shard.read_bytes())
    data[500] ^= 4
    shard.write_bytes(data)
    for cached in (True, False):
        with pytest.raises(StoreError, match=f"{name}.zarr is not what was sealed"):
            read(store, cached=cached)


def test_an_observation_that_is_not_finite_is_named(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    writer = store.open_episode(FACTS, episode_id="broken")
    for step in range(4):
        tick = make_tick(step)
        spoilt = dict(tick.observation) | {"tcp_position": np.array([0.1, np.nan if step == 2 else 0.2, 0.3])}
        writer.append(replace(tick, observation=spoilt), {"scene": encode_image(np.zeros((8, 8, 3), np.uint8))})
    writer.close(EndReason.SUCCESS)
    with pytest.raises(
        ConfigError, match=r"episode broken: observation/tcp_position is not finite at row 2 \(1 rows\)"
    ):
        read(store, images=("scene",))


@pytest.mark.parametrize("obs_horizon", [1, 3])
def test_batches_from_disk_equal_those_from_memory_and_go_on_where_they_stopped(
    store: EpisodeStore, obs_horizon: int
) -> None:
    demonstrations = read(store)
    mapped = make_source(demonstrations, obs_horizon=obs_horizon)
    first = [mapped.next() for _ in range(6)]
    plain = make_source(in_memory(demonstrations), obs_horizon=obs_horizon)
    part = make_source(demonstrations, obs_horizon=obs_horizon)
    again = [part.next() for _ in range(2)]
    assert part.state()["progress"] == 2
    resumed = make_source(demonstrations, seed=99, obs_horizon=obs_horizon)
    resumed.next()
    resumed.restore(part.state())
    again += [resumed.next() for _ in range(4)]
    assert resumed.progress == 6 == mapped.progress
    time = (obs_horizon,) if obs_horizon > 1 else ()
    assert first[0].images["image/scene"].shape == (8, *time, SIZE, SIZE, 3) and first[0].mask.shape == (8, 4, 1)
    for ours, theirs in zip(first, again, strict=True):
        expected = plain.next()
        for batch in (ours, theirs):
            np.testing.assert_array_equal(batch.states, expected.states)
            np.testing.assert_array_equal(batch.chunks, expected.chunks)
            for name in expected.images:
                np.testing.assert_array_equal(batch.images[name], expected.images[name])
    assert wait_for_readers(3) == 3, "one of each source on disk, none for arrays"
    mapped.close()
    del part, resumed
    gc.collect()
    assert wait_for_readers(0) == 0, "a source that is gone reads no more"


def wait_for_readers(wanted: int) -> int:
    """Return how many threads read ahead, after a second at most to become as many as wanted."""
    deadline_s = monotonic() + 1.0
    while (count := sum("read ahead" in thread.name for thread in threading.enumerate())) != wanted:
        if monotonic() > deadline_s:
            break
        sleep(0.005)
    return count


def cloned(demonstrations: Demonstrations, folder: Path, *stops: int | None, **changes: int) -> bytes:
    """Train a clone, stopped and resumed at each of the stops; return its file."""
    run = Run(folder, tensorboard=False)
    config = replace(SMALL_CLONE, **changes)
    for stop in (*stops, None):
        train_policy(BehaviorCloning, demonstrations, config, run, seed=0, stop_after=stop)
    return run.policy_path.read_bytes()


def test_a_run_on_a_store_that_is_resumed_equals_one_on_arrays(store: EpisodeStore, tmp_path: Path) -> None:
    demonstrations = read(store, image_size=16)
    plain = cloned(in_memory(demonstrations), tmp_path / "plain", obs_horizon=2)
    assert cloned(demonstrations, tmp_path / "parts", 2, 3, obs_horizon=2) == plain


@contextmanager
def memory_for(data_bytes: int) -> Iterator[None]:
    """Refuse this process more than that much memory beside what it has; files mapped for reading do not count."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    used, limits = 1024 * int(lines["VmData"].split()[0]), resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + data_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


def test_training_on_a_store_takes_less_than_half_of_what_its_images_take(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path / "store")
    image = encode_image(np.full((224, 224, 3), 90, np.uint8))
    for _ in range(16):
        writer = store.open_episode(FACTS)
        for step in range(40):
            writer.append(make_tick(step), dict.fromkeys(CAMERAS, image))
        writer.close(EndReason.SUCCESS)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:  # whose memory no other test has grown
        fresh.submit(train_in_little_memory, store.root, tmp_path, 16 * 41 * 2 * 224 * 224 * 3).result()


def train_in_little_memory(root: Path, folder: Path, total: int) -> None:
    """Train on a store with images of `total` bytes in less than half of that, which holding them all does not fit."""
    store = EpisodeStore(root)
    one = read(store)
    cloned(replace(one, trajectories=one.trajectories[:1]), folder / "warm", batch_size=1)  # libraries, the network
    with memory_for(total // 2):
        found = read(store)
        assert sum(images.nbytes for item in found.trajectories for images in item.images.values()) == total
        cloned(found, folder / "run", batch_size=1)
        with pytest.raises(MemoryError):
            in_memory(found)


def test_reading_goes_on_while_the_store_is_written(store: EpisodeStore) -> None:
    stop, failures = threading.Event(), []

    def keep_recording() -> None:
        try:
            for number in range(10, 20):
                record_episode(EpisodeStore(store.root), number, ticks=4, size=SIZE)
                if stop.wait(0.05):
                    return
        except Exception as error:
            failures.append(error)

    recorder = threading.Thread(target=keep_recording)
    recorder.start()
    try:
        counts = [len(pixels(read(store, cached=False).trajectories[0], "scene")) for _ in range(8)]
        lengths = [read(store).ticks for _ in range(4)]
    finally:
        stop.set()
        recorder.join()
    assert not failures and counts == [TICKS + 1] * 8
    assert lengths == sorted(lengths) and lengths[0] >= 4 * TICKS and len(store.episodes()) > 4


def test_images_of_another_size_are_refused_by_name(store: EpisodeStore, tmp_path: Path) -> None:
    record_episode(store, 5, ticks=3, size=SIZE + 8)
    with pytest.raises(ConfigError, match=r"bench-0005, row 0: image of 'scene' is \|u1 \(40, 40, 3\), others are"):
        read(store)
    episodes = [store.load(info.episode_id) for info in store.episodes()]
    cache = CachedImages(tmp_path / "cache", episodes, ("scene",), 16)
    assert cache.read("scene", np.array([0, 4]), np.array([0, 2])).shape == (2, 16, 16, 3)


def test_a_store_that_may_only_be_read_is_decoded_at_every_access(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = read(store).sha256
    refused = store.root / "cache"
    refused.rename(store.root / "kept")
    make = Path.mkdir

    def mkdir(path: Path, *args: int, **more: bool) -> None:
        if refused in path.parents:  # chmod does not hold a superuser back
            raise PermissionError(errno.EROFS, "Read-only file system", str(path))
        make(path, *args, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert read(store).sha256 == wanted
    assert "decoded at every access" in capsys.readouterr().out
    (store.root / "kept").rename(refused)
    read(store)
    assert not capsys.readouterr().out  # a cache that is there is used
