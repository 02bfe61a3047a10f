"""The journal: whole records survive truncation, damage, a slow disk and a full one."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot.errors import StoreError
from robot.journal import (
    MAGIC,
    SYNC_PERIOD_S,
    Journal,
    Kind,
    decode_tick,
    encode_frame,
    encode_layout,
    encode_tick,
    map_file,
    read_frames,
    row_dtype,
)

payloads = st.lists(st.binary(max_size=60) | st.just(MAGIC * 3) | st.just(MAGIC + b"\x02"), min_size=1, max_size=8)


def whole_frames(data: bytes) -> list[bytes]:
    return [bytes(payload) for kind, payload in read_frames(memoryview(data)) if kind == Kind.TICK]


def encode_all(records: list[bytes]) -> list[bytes]:
    return [encode_frame(Kind.TICK, record) for record in records]


@given(payloads)
def test_any_sequence_of_records_is_read_back(records):
    assert whole_frames(b"".join(encode_all(records))) == records


@given(payloads, st.data())
def test_any_truncation_keeps_exactly_the_whole_records_before_it(records, data):
    frames = encode_all(records)
    journal = b"".join(frames)
    cut = data.draw(st.integers(0, len(journal)))
    ends = np.cumsum([len(frame) for frame in frames])
    assert whole_frames(journal[:cut]) == records[: int(np.sum(ends <= cut))]


@given(payloads, st.data())
def test_a_flipped_byte_costs_its_own_record_and_corrupts_none(records, data):
    frames = encode_all(records)
    journal = bytearray(b"".join(frames))
    place = data.draw(st.integers(0, len(journal) - 1))
    journal[place] ^= data.draw(st.integers(1, 255))
    hit = int(np.searchsorted(np.cumsum([len(frame) for frame in frames]), place, side="right"))
    assert whole_frames(bytes(journal)) == records[:hit] + records[hit + 1 :]


@given(payloads, st.binary(max_size=200))
def test_records_after_a_stretch_of_garbage_are_found(records, garbage):
    frames = encode_all(records)
    assert whole_frames(frames[0] + garbage + b"".join(frames[1:])) == records


shapes = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
dtypes = st.sampled_from(["bool", "int8", "uint16", "int64", "float32", "float64"])


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), hnp.arrays(dtypes, shapes), min_size=1, max_size=5),
    st.dictionaries(st.text(max_size=5), st.binary(max_size=50), max_size=3),
)
def test_any_tick_is_read_back(columns, images):
    tick = decode_tick(memoryview(encode_tick(encode_layout(columns), columns, images)))
    assert {camera: bytes(blob) for camera, blob in tick.images.items()} == images
    dtype = row_dtype(tick.layout)
    for name, column in columns.items():
        start = (dtype.fields or {})[name][1]
        assert (dtype[name].base, dtype[name].shape) == (column.dtype, column.shape)
        assert bytes(tick.row[start : start + column.nbytes]) == column.tobytes()


def test_a_journal_is_locked_and_has_its_header_from_the_start(tmp_path: Path):
    path = tmp_path / "a.journal"
    journal = Journal(path, {"answer": 42})
    assert [(kind, bytes(payload)) for kind, payload in read_frames(map_file(path))] == [
        (Kind.HEADER, b'{"answer":42}')
    ]
    with pytest.raises(StoreError, match="File exists"):
        Journal(path, {})
    journal.append(Kind.TICK, b"one")
    journal.close()
    with pytest.raises(StoreError, match="closed"):
        journal.append(Kind.TICK, b"two")
    assert [bytes(payload) for _, payload in read_frames(map_file(path))] == [b'{"answer":42}', b"one"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_told_with_its_path(tmp_path: Path):
    with pytest.raises(StoreError, match=r"cannot create the journal .*nowhere.*No such file"):
        Journal(tmp_path / "nowhere" / "a.journal", {})


def test_the_disk_gets_everything_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, synced = os.fdatasync, []
    monkeypatch.setattr(os, "fdatasync", lambda fd: (real(fd), synced.append((time.monotonic(), os.fstat(fd).st_size))))
    journal, start = Journal(tmp_path / "a.journal", {}), time.monotonic()
    written = []
    while time.monotonic() - start < 2.2 * SYNC_PERIOD_S:
        journal.append(Kind.TICK, bytes(1000))
        written.append((time.monotonic(), (tmp_path / "a.journal").stat().st_size))
        time.sleep(0.02)
    journal.close()
    for when, size in written:
        on_disk = min(moment for moment, synced_size in synced if synced_size >= size)
        assert on_disk - when <= 1.0
    assert len(synced) >= 3


def test_an_append_does_not_wait_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    syncing = threading.Event()

    def slow_sync(fd: int) -> None:
        syncing.set()
        time.sleep(0.5)

    monkeypatch.setattr(os, "fdatasync", slow_sync)
    journal = Journal(tmp_path / "a.journal", {})
    assert syncing.wait(5)
    start = time.monotonic()
    journal.append(Kind.TICK, bytes(60_000))
    assert time.monotonic() - start < 0.2
    journal.close()


def test_a_failed_sync_is_told_by_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    failed = threading.Event()

    def failing_sync(fd: int) -> None:
        failed.set()
        raise OSError(5, "Input/output error")

    journal = Journal(tmp_path / "a.journal", {})
    monkeypatch.setattr(os, "fdatasync", failing_sync)
    assert failed.wait(5)
    time.sleep(0.05)
    with pytest.raises(StoreError, match=r"bring to disk .*a\.journal.*Input/output error"):
        journal.append(Kind.TICK, b"lost?")
    monkeypatch.undo()
    journal.close()


def test_threads_may_share_a_journal(tmp_path: Path):
    journal = Journal(tmp_path / "a.journal", {})
    writers = [
        threading.Thread(target=lambda n=n: [journal.append(Kind.EVENT, bytes([n]) * 500) for _ in range(100)])
        for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    journal.close()
    found = [bytes(payload) for kind, payload in read_frames(map_file(tmp_path / "a.journal")) if kind == Kind.EVENT]
    assert sorted(found) == sorted(bytes([n]) * 500 for n in range(4) for _ in range(100))
