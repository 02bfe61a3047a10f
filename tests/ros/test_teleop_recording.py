"""`tandem record --teleop keyboard` on the graph: keys at a terminal drive, throw an episode away and keep the next."""

import contextlib
import io
import os
import pty
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot.episode import Episode
from robot.episode_store import EpisodeStore
from robot.operator_log import replay_log
from robot.ros.device_recording import start_joints, start_offset
from robot.ros.record_verb import RecordConfig, run_record
from robot.types import EndReason, Owner, Segment


class Typist(io.StringIO):
    """Somebody who reads what the verb prints, and at each announcement drives for a while and gives the next label."""

    def __init__(self, labels: bytes) -> None:
        super().__init__()
        self.ours, self.theirs = pty.openpty()
        self.path = os.ttyname(self.theirs)
        self._labels, self._announced, self._closing = labels, 0, threading.Event()
        self._thread = threading.Thread(target=self._type, daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        self._announced += "take over and drive" in text
        return super().write(text)

    def _type(self) -> None:
        since_s, seen = time.monotonic(), 0
        while not self._closing.wait(0.07):
            if seen != self._announced:
                seen, since_s = self._announced, time.monotonic()
            if seen:
                os.write(self.ours, b"w")
                if time.monotonic() - since_s > 2.5:  # again and again: before the episode runs nobody hears it
                    os.write(self.ours, self._labels[min(seen, len(self._labels)) - 1 :][:1])
                    since_s += 1.0

    def stop(self) -> None:
        self._closing.set()
        self._thread.join()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.mark.ros
@pytest.mark.slow
def test_keys_record_a_demonstration_anew_throw_one_away_and_keep_one(tmp_path: Path) -> None:
    typist = Typist(b"vzy")
    try:
        with contextlib.redirect_stdout(typist):
            config = RecordConfig(
                task="reach", episodes=1, store=tmp_path, seed=7, cameras=(), teleop="keyboard",
                option=(f"path={typist.path}",), episode_limit_s=60.0,
            )  # fmt: skip
            result = run_record(config)
    finally:
        typist.stop()
    assert result["ok"], typist.getvalue()
    store = EpisodeStore(tmp_path)
    infos = store.episodes()
    assert [(info.metadata["seed"], info.is_discarded) for info in infos] == [(7, True), (7, True), (8, False)]
    assert [episode["id"] for episode in result["episodes"]] == [infos[-1].episode_id]
    labels = [{event["mark"] for event in store.load(info.episode_id).events} for info in infos]
    assert labels == [{"rerecord"}, {"discard"}, {"success"}]
    check_demonstration(store.load(infos[-1].episode_id))
    check_operator_log(tmp_path / "operator", store.load(infos[-1].episode_id))
    starts = start_joints(store, "fr3_sim")
    assert starts.shape == (1, 8)  # only what counts
    nudged = starts[0] + np.eye(8)[2] * 0.1
    assert start_offset(nudged, starts) == (2, pytest.approx(0.1))


def check_demonstration(kept: Episode) -> None:
    """Success by the person's word alone, who drove nearly all of the time."""
    assert kept.end_reason is EndReason.SUCCESS
    assert kept.columns["reward_operator"][-1] == 1.0
    driven = kept.columns["owner"] == Owner.HUMAN
    assert driven.argmax() < 25  # half a second: held on to from before the start
    assert driven.sum() > 20
    assert driven.mean() > 0.7  # a late byte of a busy machine is a silence
    assert (kept.columns["segment"][driven] == Segment.CORRECTION).all()
    assert np.isfinite(kept.columns["human_action"][driven]).all()
    assert np.ptp(kept.columns["observation/tcp_position"][:, 0]) > 0.01


def check_operator_log(folder: Path, kept: Episode) -> None:
    """One file for the run; replayed, it gives who was in control at every recorded tick, and what the keys sent."""
    (file,) = folder.iterdir()
    lines = file.read_text().splitlines(keepends=True)
    assert any('"raw":"77"' in line for line in lines)  # the byte of a w
    replayed = {tick.time_ns: tick.state for tick in replay_log(line for line in lines if line.endswith("\n"))}
    columns = kept.columns
    times, kinds = columns["tick_time_ns"].tolist(), ("owner", "generation", "intervention_id")
    assert set(times) <= set(replayed)
    for kind in kinds:
        assert [getattr(replayed[time_ns], kind) for time_ns in times] == columns[kind].tolist(), kind
