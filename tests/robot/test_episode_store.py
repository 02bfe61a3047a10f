"""The episode store: what is recorded comes back, labelled, verified and in one piece."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot.bench_store import make_images, make_tick
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, StoreError
from robot.journal import Journal
from robot.record import SCHEMA_VERSION, TickRecord
from robot.types import EndReason, Mark

FIXTURES = Path(__file__).parents[1] / "fixtures"
METADATA = {"station": "fr3_sim", "task": "tandem/peg-insert", "seed": 3, "limits": (0.5, 1)}
PICTURE = {"scene": b"a" * 50}


def record(
    store: EpisodeStore, steps: int, end_reason: EndReason = EndReason.SUCCESS, *, images: dict[str, bytes]
) -> str:
    writer = store.open_episode(METADATA)
    for step in range(steps):
        writer.append(make_tick(step), images)
    return writer.close(end_reason).episode_id


def assert_holds(columns: dict[str, np.ndarray], records: list[TickRecord]) -> None:
    flat = [tick.columns() for tick in records]
    assert set(columns) == set(flat[0])
    for name, column in columns.items():
        expected = np.stack([row[name] for row in flat])
        assert column.dtype == expected.dtype
        np.testing.assert_array_equal(column, expected)


def test_an_episode_comes_back_whole(tmp_path: Path):
    store, pictures = EpisodeStore(tmp_path), make_images(3)
    assert store.leftovers == () and store.episodes() == []
    writer = store.open_episode(METADATA)
    for step in range(20):
        writer.append(make_tick(step), {"scene": pictures[step % 3], "wrist": pictures[(step + 1) % 3]})
    writer.event(7, {"mark": Mark.CORRECTION, "note": "slipped"})
    assert writer.steps == 20
    info = writer.close(EndReason.SUCCESS)
    assert (info.steps, info.end_reason, info.is_discarded) == (20, EndReason.SUCCESS, False)
    assert (info.station, info.task, info.cameras, info.lost_bytes) == (
        *list(METADATA.values())[:2],
        ("scene", "wrist"),
        0,
    )
    assert store.episodes() == [info]
    episode = store.load(info.episode_id)
    assert_holds(episode.columns, [make_tick(step) for step in range(20)])
    assert episode.metadata == {**METADATA, "limits": [0.5, 1]}
    assert episode.events == [{"mark": "correction", "note": "slipped", "time_ns": 7}]
    assert all(episode.image_bytes("wrist", step) == pictures[(step + 1) % 3] for step in range(20))
    assert episode.image("scene", 4).shape == (480, 640, 3)
    assert not list((tmp_path / "open").iterdir()) and not list((tmp_path / "sealing").iterdir())


values = st.sampled_from(["bool", "uint8", "int32", "float32", "float64"]).flatmap(
    lambda dtype: st.tuples(*[hnp.arrays(dtype, (2, 3))] * 4)
)
blobs = st.lists(
    st.dictionaries(st.sampled_from(["scene", "wrist"]), st.binary(min_size=1, max_size=99)), min_size=4, max_size=4
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(min_size=1, max_size=6).map("group/".__add__), values, max_size=3), blobs)
def test_any_records_and_images_round_trip(tmp_path: Path, groups, images):
    store = EpisodeStore(tmp_path)
    records = [make_tick(step, {name: columns[step] for name, columns in groups.items()}) for step in range(4)]
    writer = store.open_episode({})
    for tick, tick_images in zip(records, images, strict=True):
        writer.append(tick, tick_images)
    episode = store.load(writer.close(EndReason.TIMEOUT).episode_id)
    assert_holds(episode.columns, records)
    newest: dict[str, bytes] = {}
    for step, tick_images in enumerate(images):
        newest |= tick_images
        assert {camera: episode.image_bytes(camera, step) for camera in newest} == newest


def test_columns_that_come_and_go_are_marked_where_they_are_present(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({})
    for step in range(6):
        writer.append(make_tick(step, {"noise/latent": np.full(2, step, np.float32)} if step % 2 else {}))
    columns = store.load(writer.close(EndReason.SUCCESS).episode_id).columns
    np.testing.assert_array_equal(columns["present/noise/latent"], [False, True] * 3)
    np.testing.assert_array_equal(columns["noise/latent"][1::2], [[1, 1], [3, 3], [5, 5]])
    assert np.isnan(columns["noise/latent"][::2]).all() and columns["noise/latent"].dtype == np.float32


def test_a_number_written_first_without_a_point_loses_nothing(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({})
    for step, reward in enumerate((0, 0.25, 1)):
        writer.append(replace(make_tick(step), reward_task=reward))
    columns = store.load(writer.close(EndReason.SUCCESS).episode_id).columns
    np.testing.assert_array_equal(columns["reward_task"], [0.0, 0.25, 1.0])


def test_a_tick_that_does_not_fit_is_refused_and_the_others_are_kept(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({})
    writer.append(make_tick(0))
    with pytest.raises(StoreError, match=r"executed_action has shape \(5,\), but had \(4,\)"):
        writer.append(replace(make_tick(1), executed_action=np.zeros(5)))
    with pytest.raises(StoreError, match="group/text is <U3; allowed: bool, int, float"):
        writer.append(make_tick(1, {"group/text": np.array("abc")}))
    writer.append(make_tick(1))
    assert writer.close(EndReason.SUCCESS).steps == 2


@pytest.mark.parametrize("by_event", [False, True])
def test_a_discarded_episode_is_flagged_and_kept(tmp_path: Path, by_event: bool):
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({})
    writer.append(make_tick(0))
    if by_event:
        writer.event(5, {"mark": Mark.DISCARD})
    info = writer.close(EndReason.FAILURE if by_event else EndReason.DISCARD)
    assert info.is_discarded and store.load(info.episode_id).columns["step"].tolist() == [0]


def test_an_empty_episode_is_an_episode(tmp_path: Path):
    info = EpisodeStore(tmp_path).open_episode({}).close(EndReason.OPERATOR_ABORT)
    assert info.steps == 0 and EpisodeStore(tmp_path).load(info.episode_id).columns == {}


def test_equal_content_has_equal_hashes_whatever_its_name(tmp_path: Path):
    one, two = EpisodeStore(tmp_path / "one"), EpisodeStore(tmp_path / "two")
    ids = [record(one, 3, images=PICTURE), record(one, 4, images=PICTURE)]
    others = [record(two, 4, images=PICTURE), record(two, 3, images=PICTURE)]
    assert one.content_hash() == two.content_hash() == one.content_hash(ids[::-1])
    assert one.content_hash(ids[:1]) == two.content_hash(others[1:]) != one.content_hash(ids[1:])
    hashes = [one.load(ids[0]).content_hash()]
    hashes.append(two.load(record(two, 3, EndReason.FAILURE, images=PICTURE)).content_hash())
    for images in ({"scene": b"b" * 50}, PICTURE | {"wrist": b"a"}, {}):
        hashes.append(two.load(record(two, 3, images=images)).content_hash())
    assert len(set(hashes)) == len(hashes)


def test_a_changed_byte_in_a_sealed_episode_is_noticed(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    episode = store.load(record(store, 3, images=PICTURE))
    episode.verify()
    shard = next(path for path in (episode.info.path / "image" / "scene" / "c").iterdir())
    damaged = bytearray(shard.read_bytes())
    damaged[10] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(StoreError, match="is not what was sealed"):
        store.load(episode.info.episode_id).verify()


def test_leftovers_are_sealed_with_what_is_known_of_their_end(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    names = {"crashed": EndReason.OPEN, "told-by-tick": EndReason.FAILURE, "finished": EndReason.OPEN}
    for name, reason in names.items():
        writer = store.open_episode({}, episode_id=name)
        writer.append(replace(make_tick(0), end_reason=reason))
        if name == "finished":
            writer.finish(EndReason.SAFETY)
        writer._journal.close()
    reopened = EpisodeStore(tmp_path)
    assert [(leftover.episode_id, leftover.outcome) for leftover in reopened.leftovers] == [
        (name, "sealed") for name in sorted(names)
    ]
    reasons = {info.episode_id: info.end_reason for info in reopened.episodes()}
    assert reasons == {"crashed": EndReason.CRASH, "told-by-tick": EndReason.FAILURE, "finished": EndReason.SAFETY}
    assert EpisodeStore(tmp_path).leftovers == ()


def test_an_episode_being_recorded_is_left_alone(tmp_path: Path):
    writer = EpisodeStore(tmp_path).open_episode({})
    writer.append(make_tick(0))
    other = EpisodeStore(tmp_path)
    assert [leftover.outcome for leftover in other.leftovers] == ["still open"] and other.episodes() == []
    writer.append(make_tick(1))
    assert writer.close(EndReason.SUCCESS).steps == 2


def test_a_journal_whose_episode_was_already_sealed_is_only_removed(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({}, episode_id="a")
    writer.append(make_tick(0))
    writer.finish(EndReason.SUCCESS)
    copy = (tmp_path / "open" / "a.journal").read_bytes()
    sealed = store.seal("a")
    (tmp_path / "open" / "a.journal").write_bytes(copy)
    reopened = EpisodeStore(tmp_path)
    assert reopened.episodes() == [sealed] and not list((tmp_path / "open").iterdir())


def test_a_journal_that_differs_from_the_sealed_episode_of_its_name_is_kept(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    for steps in (1, 2):
        writer = store.open_episode({}, episode_id=f"e{steps}")
        for step in range(steps):
            writer.append(make_tick(step))
        writer.finish(EndReason.SUCCESS)
    store.seal("e1")
    (tmp_path / "open" / "e2.journal").rename(tmp_path / "open" / "e1.journal")
    leftovers = EpisodeStore(tmp_path).leftovers
    assert [leftover.outcome for leftover in leftovers] == ["not sealed"] and "rename the journal" in leftovers[
        0
    ].detail
    (tmp_path / "open" / "e1.journal").rename(tmp_path / "open" / "e3.journal")
    EpisodeStore(tmp_path)
    assert sorted((info.episode_id, info.steps) for info in store.episodes()) == [("e1", 1), ("e3", 2)]


def test_a_torn_and_a_damaged_journal_give_all_their_whole_ticks(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({}, episode_id="a")
    ends = []
    for step in range(5):
        writer.append(make_tick(step), {"scene": b"picture %d" % step})
        ends.append((tmp_path / "open" / "a.journal").stat().st_size)
    writer._journal.close()
    journal = bytearray((tmp_path / "open" / "a.journal").read_bytes())[:-3]
    journal[ends[0] + 500] ^= 0x10
    (tmp_path / "open" / "a.journal").write_bytes(journal)
    info = EpisodeStore(tmp_path).episodes()[0]
    episode = store.load("a")
    assert episode.columns["step"].tolist() == [0, 2, 3]
    assert [episode.image_bytes("scene", row) for row in range(3)] == [b"picture 0", b"picture 2", b"picture 3"]
    assert (info.end_reason, info.lost_bytes) == (EndReason.CRASH, 2 * (ends[1] - ends[0]) - 3)


def test_a_journal_without_a_readable_header_is_kept_and_told_of(tmp_path: Path):
    EpisodeStore(tmp_path)
    (tmp_path / "open" / "a.journal").write_bytes(b"garbage")
    (tmp_path / "open" / "b.journal").write_bytes(b"")
    leftovers = EpisodeStore(tmp_path).leftovers
    assert [(leftover.episode_id, leftover.outcome) for leftover in leftovers] == [
        ("a", "not sealed"),
        ("b", "not sealed"),
    ]
    assert "no readable header" in leftovers[0].detail
    assert (tmp_path / "open" / "a.journal").read_bytes() == b"garbage"


def test_files_of_schema_1_are_read(tmp_path: Path):
    shutil.copytree(FIXTURES / "store_schema_1", tmp_path / "store")
    store = EpisodeStore(tmp_path / "store")
    assert [leftover.outcome for leftover in store.leftovers] == ["sealed"]
    assert [(info.episode_id, info.steps, info.end_reason.name) for info in store.episodes()] == [
        ("sealed", 3, "SUCCESS"),
        ("journal", 3, "CRASH"),
    ]
    for info in store.episodes():
        episode = store.load(info.episode_id)
        episode.verify()
        assert episode.metadata == {"station": "fr3_sim", "task": "fixture"}
        assert episode.columns["step"].tolist() == [0, 1, 2]
        np.testing.assert_allclose(episode.columns["executed_action"][:, 0], [0.5, 0.51, 0.52])
        assert episode.events == [{"mark": "correction", "time_ns": 1}]
        assert episode.image("scene", 2).shape == (6, 8, 3)


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    path = store.load(record(store, 1, images=PICTURE)).info.path / "zarr.json"
    facts = json.loads(path.read_text())
    facts["attributes"]["schema_version"] = SCHEMA_VERSION + 1
    path.write_text(json.dumps(facts))
    with pytest.raises(
        StoreError, match=f"has schema version {SCHEMA_VERSION + 1}, this Tandem reads 1 to {SCHEMA_VERSION}"
    ):
        store.episodes()
    Journal(tmp_path / "open" / "new.journal", {"schema_version": SCHEMA_VERSION + 1}).close()
    assert "schema version" in EpisodeStore(tmp_path).leftovers[0].detail
    assert (tmp_path / "open" / "new.journal").exists()


def test_wrong_use_says_what_is_allowed(tmp_path: Path):
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({}, episode_id="first")
    with pytest.raises(ConfigError, match="cannot end as OPEN; allowed: SUCCESS, FAILURE"):
        writer.close(EndReason.OPEN)
    writer.append(make_tick(0), {})
    writer.append(make_tick(1), {"scene": b"picture"})
    writer.close(EndReason.SUCCESS)
    with pytest.raises(StoreError, match="is closed"):
        writer.append(make_tick(2))
    with pytest.raises(StoreError, match="already in"):
        store.open_episode({}, episode_id="first")
    with pytest.raises(ConfigError, match=r"episode_id '\.\./up'"):
        store.open_episode({}, episode_id="../up")
    with pytest.raises(ConfigError, match="metadata must be made of JSON"):
        store.open_episode({"seed": np.int64(3)})
    with pytest.raises(ConfigError, match="unknown episode 'frist': did you mean 'first'"):
        store.load("frist")
    episode = store.load("first")
    with pytest.raises(ConfigError, match="unknown camera of episode first 'scenes': did you mean 'scene'"):
        episode.image("scenes", 0)
    with pytest.raises(StoreError, match="no row 2; it has 2"):
        episode.image("scene", 2)
    with pytest.raises(StoreError, match="no image of scene up to row 0"):
        episode.image("scene", 0)
