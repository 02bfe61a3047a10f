"""Trajectories read from an episode store: gaps, ends, discarded and failed episodes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.data.chunks import ChunkDataset
from policies.data.episodes import read_store
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.images import encode_image
from robot.record import Clip, TickRecord
from robot.types import EndReason, Owner, Segment

ACTION = 4


def tick(step: int, *, executed: bool = True, **changes: object) -> TickRecord:
    """Return a tick whose action tells its step."""
    nothing = np.full(ACTION, np.nan)
    record = TickRecord(
        step=step,
        tick_time_ns=step * 50_000_000,
        observation_time_ns=step * 50_000_000,
        stream_times_ns={},
        observation={
            "tcp_position": np.full(3, step, float),
            "joint_position": np.zeros(8),
            "object_state": np.ones(6),
        },
        base_action=nothing,
        residual_action=nothing,
        policy_action=nothing,
        human_action=nothing,
        executed_action=np.full(ACTION, float(step)) if executed else nothing,
        joint_command=np.zeros(8),
        blend_weight=1.0,
        owner=Owner.HUMAN if executed else Owner.HOLD,
        segment=Segment.DEMO,
        intervention_id=-1,
        safety_clips=Clip.NONE,
        chunk_id=-1,
        chunk_offset=0,
        generation=0,
        policy_version=0,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def record(
    store: EpisodeStore, name: str, ticks: list[TickRecord], reason: EndReason, task: str = "peg-insert"
) -> None:
    writer = store.open_episode({"station": "fr3_sim", "task": task}, episode_id=name)
    for item in ticks:
        writer.append(item)
    writer.close(reason)


def success(steps: int, gap: tuple[int, ...] = ()) -> list[TickRecord]:
    ticks = [tick(step, executed=step not in gap) for step in range(steps - 1)]
    return [*ticks, tick(steps - 1, terminated=True, reward_task=1.0)]


def test_only_kept_successes_are_read_and_gaps_cut_trajectories(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    record(store, "whole", success(5), EndReason.SUCCESS)
    record(store, "gap", success(8, gap=(3, 4)), EndReason.SUCCESS)
    record(store, "failed", success(4), EndReason.TIMEOUT)
    record(store, "discarded", success(4), EndReason.DISCARD)
    demonstrations = read_store(tmp_path)
    # Discarded episodes are not even counted; the failed one was tried.
    assert (len(demonstrations.trajectories), demonstrations.tried) == (3, 3)
    by_steps = {tuple(item.actions[:, 0]): item for item in demonstrations.trajectories}
    assert set(by_steps) == {(0, 1, 2, 3, 4), (0, 1, 2), (5, 6, 7)}
    before, after = by_steps[(0, 1, 2)], by_steps[(5, 6, 7)]
    tcp = list(demonstrations.observation_shapes).index("tcp_position")
    assert tcp >= 0
    column = sum(int(np.prod(s)) for s in list(demonstrations.observation_shapes.values())[:tcp])
    assert before.states[:, column].tolist() == [0, 1, 2, 3]  # the tick after the stretch was seen
    assert (before.terminated, before.is_success) == (False, False)
    assert after.states[:, column].tolist() == [5, 6, 7, 7]
    assert (after.terminated, after.truncated, after.is_success) == (True, False, True)
    dataset = ChunkDataset.cut(demonstrations.trajectories, 4)
    assert not np.isnan(dataset.chunks).any()
    spans = dataset.chunks[..., 0].max(axis=1) - dataset.chunks[..., 0].min(axis=1)
    assert spans.max() == 3


def test_the_interface_comes_from_the_station(tmp_path: Path) -> None:
    record(EpisodeStore(tmp_path), "one", success(3), EndReason.SUCCESS)
    demonstrations = read_store(tmp_path)
    assert list(demonstrations.observation_shapes) == ["joint_position", "tcp_position", "object_state"]
    assert demonstrations.action_names == ("tcp_x", "tcp_y", "tcp_z", "fr3_finger_joint1")
    assert demonstrations.rate_hz == 20.0
    assert demonstrations.half_range_floor(0.1)[0] == pytest.approx(0.025)


def test_a_store_without_successes_or_with_two_tasks_says_so(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    record(store, "failed", success(3), EndReason.FAILURE)
    with pytest.raises(ConfigError, match="1 kept, none ended as SUCCESS"):
        read_store(tmp_path)
    record(store, "one", success(3), EndReason.SUCCESS)
    record(store, "two", success(3), EndReason.SUCCESS, task="lift")
    with pytest.raises(ConfigError, match="mixes"):
        read_store(tmp_path)
    assert len(read_store(tmp_path, task="lift").trajectories) == 1


def test_images_and_depth_come_with_their_ticks(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    writer = store.open_episode({"station": "fr3_sim", "task": "peg-insert"}, episode_id="seen")
    for item in success(4):
        grey = np.full((48, 64, 3), 20 * item.step, np.uint8)
        depth = np.full((48, 64), 1000 * item.step, np.uint16)
        writer.append(item, {"scene": encode_image(grey), "range": encode_image(depth)})
    writer.close(EndReason.SUCCESS)
    demonstrations = read_store(tmp_path, images=["scene", "range"], image_size=24)
    (trajectory,) = demonstrations.trajectories
    assert demonstrations.observation_shapes["image/scene"] == (24, 24, 3)
    assert demonstrations.observation_shapes["depth/range"] == (24, 24)
    steps = trajectory.states[:, list(demonstrations.observation_shapes).index("tcp_position") + 7]
    colour, depth = (np.asarray(trajectory.images[name]) for name in ("image/scene", "depth/range"))
    assert depth.dtype == np.uint16
    assert depth[:, 12, 12].tolist() == (1000 * steps).tolist()
    assert np.abs(colour[:, 12, 12, 0] - 20.0 * steps).max() <= 3, "JPEG"
    dataset = ChunkDataset.cut([trajectory], 2)
    assert np.array_equal(dataset.images["depth/range"], depth[:-1])
    assert not read_store(tmp_path).trajectories[0].images
