"""Images for training: the same from the store and from its cache, of exactly the episodes that were sealed."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.data.bench_episodes import CAMERAS, FACTS, record_episode
from policies.data.image_chunks import ImageChunks, ImageChunkSource, read_image_chunks
from policies.data.images import CachedImages
from policies.normalization import ActionLimits, StateNormalizer
from robot.bench_store import make_tick
from robot.curation import set_flags
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, StoreError
from robot.images import encode_image
from robot.types import EndReason
from tests.policies.data.conftest import SIZE, TICKS


def read(store: EpisodeStore, **changes: object) -> ImageChunks:
    wanted = {"cameras": CAMERAS, "horizon": 4} | changes
    return read_image_chunks(store.root, **wanted)  # type: ignore[arg-type]


def make_source(dataset: ImageChunks, seed: int = 0) -> ImageChunkSource:
    samples = dataset.samples
    states = StateNormalizer.fit(samples.states, floor=1e-3)
    actions = ActionLimits.fit(samples.actions, floor=1e-3)
    return ImageChunkSource(dataset, states, actions, batch_size=8, seed=seed)


@pytest.mark.parametrize("image_size", [0, 24])
def test_the_cache_gives_what_the_store_gives(store: EpisodeStore, image_size: int) -> None:
    cached, stored = read(store, image_size=image_size), read(store, image_size=image_size, cached=False)
    index = np.random.default_rng(0).integers(0, len(cached), 20)
    ours, theirs = cached.read_images(index), stored.read_images(index)
    side = image_size or SIZE
    for camera in CAMERAS:
        assert ours[camera].shape == (20, side, side, 3) and ours[camera].dtype == np.uint8
        np.testing.assert_array_equal(ours[camera], theirs[camera])
    episode = store.load(store.episodes()[1].episode_id)
    place = np.flatnonzero((cached.episode == 1) & (cached.row == 4))
    if not image_size:
        np.testing.assert_array_equal(cached.read_images(place)["wrist"][0], episode.image("wrist", 4))
    np.testing.assert_array_equal(cached.samples.chunks[place[0]][0], episode.columns["executed_action"][4])


def test_a_row_without_a_new_image_has_the_one_before_and_rows_before_the_first_are_left_out(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    writer = store.open_episode(FACTS)
    grey = [np.full((8, 8, 3), 20 * step, np.uint8) for step in range(9)]
    for step in range(9):
        writer.append(make_tick(step), {"scene": encode_image(grey[step])} if step in (2, 5) else {})
    writer.close(EndReason.SUCCESS)
    for cached in (True, False):
        dataset = read(store, cameras=("scene",), cached=cached)
        assert dataset.row.tolist() == [2, 3, 4, 5, 6, 7, 8]
        means = dataset.read_images(np.arange(7))["scene"].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means, [40, 40, 40, 100, 100, 100, 100], atol=1)


def test_a_damaged_cache_is_built_again_and_another_selection_has_its_own(store: EpisodeStore) -> None:
    before = read(store).read_images(np.arange(5))
    (folder,) = (store.root / "cache").iterdir()
    for damage in (lambda data: data[:-7], lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:]):
        (folder / "scene.raw").write_bytes(damage((folder / "scene.raw").read_bytes()))
        np.testing.assert_array_equal(read(store).read_images(np.arange(5))["scene"], before["scene"])
    (folder / "cache.json").write_text("{")
    np.testing.assert_array_equal(read(store).read_images(np.arange(5))["scene"], before["scene"])
    set_flags(store, [store.episodes()[0].episode_id], "blurred")
    assert len(read(store)) == len(read(store, image_size=8)) == 3 * TICKS
    assert len(list((store.root / "cache").iterdir())) == 3


def test_what_cannot_be_read_is_named(store: EpisodeStore) -> None:
    name = store.episodes()[1].episode_id
    with pytest.raises(ConfigError, match=r"bench-0000 has no camera 'hand' \(it has: scene, wrist\)"):
        read(store, cameras=("hand",))
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
        read(store, cameras=("scene",))


def test_batches_depend_on_the_seed_alone_and_go_on_where_they_stopped(store: EpisodeStore) -> None:
    dataset = read(store)
    one, other = make_source(dataset), make_source(dataset)
    first = [one.next() for _ in range(6)]
    again = [other.next() for _ in range(2)]
    kept = other.state()
    resumed = make_source(dataset, seed=99)
    resumed.restore(kept)
    again += [resumed.next() for _ in range(4)]
    assert resumed.progress == 6 == one.progress
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours.states, theirs.states)
        np.testing.assert_array_equal(ours.images["wrist"], theirs.images["wrist"])
        np.testing.assert_array_equal(ours.chunks, theirs.chunks)
    assert first[0].images["scene"].shape == (8, SIZE, SIZE, 3) and first[0].mask.shape == (8, 4, 1)
    for source in (one, other, resumed):
        source.close()


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
        counts = [len(read(store, cached=False).read_images(np.arange(8))["scene"]) for _ in range(8)]
        lengths = [len(read(store)) for _ in range(4)]
    finally:
        stop.set()
        recorder.join()
    assert not failures and counts == [8] * 8
    assert lengths == sorted(lengths) and lengths[0] >= 4 * TICKS and len(store.episodes()) > 4


def test_images_of_another_size_are_refused_by_name(store: EpisodeStore, tmp_path: Path) -> None:
    record_episode(store, 5, ticks=3, size=SIZE + 8)
    with pytest.raises(ConfigError, match=r"bench-0005, row 0: image of 'scene' is \|u1 \(40, 40, 3\), others are"):
        read(store)
    episodes = [store.load(info.episode_id) for info in store.episodes()]
    cache = CachedImages(tmp_path / "cache", episodes, ("scene",), 16)
    assert cache.read("scene", np.array([0, 4]), np.array([0, 2])).shape == (2, 16, 16, 3)
