"""The recorder, the labels and the weights through a graph of real processes."""

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from policies.served_policy import file_hash
from robot.episode import Episode
from robot.episode_store import EpisodeStore
from robot.record import TickRecord
from robot.ros import topics
from robot.ros.client import GraphClient
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.messages import to_json, to_operator
from robot.ros.record_message import from_record
from robot.ros.running_graph import RunningGraph, running_graph
from robot.types import EndReason, Mark, OperatorInput, Owner
from tests.domains import some_domain
from tests.ros.made_policy import TASK, save_made

pytestmark = [pytest.mark.ros, pytest.mark.slow]
FROZEN_AFTER = 45
S = 1_000_000_000


def changed(spec: NodeSpec, **parameters: bool | int | float | str) -> NodeSpec:
    return replace(spec, parameters={**spec.parameters, **parameters})


class Rig:
    """A graph that records, with everything the tests publish into it."""

    def __init__(self, graph: RunningGraph, store: Path, folder: Path) -> None:
        self.graph, self.store, self.folder = graph, store, folder
        self.client: GraphClient = graph.client
        self.heard: list[tuple[float, TickRecord]] = []
        self.client.subscribe(topics.TICK_RECORD, lambda m: self.heard.append((time.monotonic(), from_record(m))))
        self.operator = self.client.publisher(topics.TELEOP_INPUT)
        self.weights = self.client.publisher(topics.LEARNER_WEIGHTS)
        self._seq = 0

    def mark(self, mark: Mark) -> None:
        self._seq += 1
        self.operator.publish(to_operator(OperatorInput(self._seq, time.time_ns(), "test", mark=mark)))

    def wait_ticks(self, count: int, timeout_s: float = 20.0) -> None:
        before = len(self.heard)
        self.client.wait(lambda: len(self.heard) - before >= count, timeout_s, f"{count} ticks")

    def wait_sealed(self, episode_id: str) -> Episode:
        """Return an episode once it lies in the store."""
        path = self.store / "episodes" / f"{episode_id}.zarr"
        self.client.wait(path.exists, 15.0, f"episode {episode_id} in the store")
        return Episode(path)

    def value(self, node: str, name: str) -> str:
        health = self.client.status(node)
        return health.values.get(name, "") if health else ""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("recording")
    checkpoint, store = save_made("clone", folder), folder / "store"
    options = GraphOptions(task=TASK, policy=str(checkpoint), operator="none", record=str(store))
    specs = {spec.name: spec for spec in describe(options)}
    specs["arbiter"] = changed(specs["arbiter"], operator="any", max_steps=100_000)
    specs["wrist"] = changed(specs["wrist"], freeze_after=FROZEN_AFTER)
    with running_graph(list(specs.values()), domain_id=some_domain()) as graph:
        yield Rig(graph, store, folder)


@pytest.mark.parametrize(("mark", "reason"), [(Mark.SUCCESS, EndReason.SUCCESS), (Mark.FAILURE, EndReason.FAILURE)])
def test_a_label_reaches_the_recorded_episode(rig: Rig, mark: Mark, reason: EndReason) -> None:
    state = rig.client.start_episode(4, metadata={"operator": "test"})
    rig.wait_ticks(12)
    rig.mark(mark)
    assert rig.client.wait_for_end(state.id, 5.0).end_reason == reason.name.lower()
    episode = rig.wait_sealed(state.id)
    columns = episode.columns
    assert episode.end_reason is reason
    assert columns["end_reason"][-1] == reason and columns["terminated"][-1]
    assert columns["reward_operator"][-1] == (1.0 if mark is Mark.SUCCESS else 0.0)
    assert [event["mark"] for event in episode.events] == [mark.name.lower()]
    assert {"task": TASK, "seed": 4, "operator": "test", "part": 1}.items() <= dict(episode.metadata).items()
    assert (np.diff(columns["step"]) == 1).all() and columns["step"][0] == 0, "every tick is there"


def test_a_discard_is_marked_as_such(rig: Rig) -> None:
    state = rig.client.start_episode()
    rig.wait_ticks(5)
    rig.client.command("discard")
    rig.client.wait_for_end(state.id, 5.0)
    assert rig.wait_sealed(state.id).info.is_discarded


def test_images_belong_to_their_ticks_and_a_frozen_camera_is_seen(rig: Rig) -> None:
    """The wrist camera sends its last frame again and again, under rising stamps."""
    rig.client.wait(lambda: int(rig.value("wrist", "frames") or 0) > FROZEN_AFTER + 20, 20.0, "the camera to freeze")

    def warns() -> bool:
        said = rig.client.status("recorder")
        return said is not None and "wrist" in said.message and "same image again" in said.message

    rig.client.wait(warns, 5.0, "a warning of the recorder")
    state = rig.client.start_episode(1)
    rig.wait_ticks(30)
    rig.client.command("stop")
    rig.client.wait_for_end(state.id, 5.0)
    episode = rig.wait_sealed(state.id)
    columns = episode.columns
    assert "time_ns/image/wrist" not in columns, "no old picture is recorded as a new one"
    age_ms = (columns["observation_time_ns"] - columns["time_ns/image/scene"]) / 1e6
    assert age_ms.min() >= 0.0 and np.median(age_ms) < 60.0
    assert len(np.unique(columns["time_ns/image/scene"])) > 0.8 * len(age_ms)
    assert episode.image("scene", 10).shape == (480, 640, 3)
    assert episode.end_reason is EndReason.OPERATOR_ABORT


def test_weights_are_exchanged_between_chunks_and_only_the_announced_file(rig: Rig) -> None:
    path = save_made("clone", rig.folder, seed=1)
    state = rig.client.start_episode(2)
    rig.wait_ticks(8)
    announced = {"path": str(path), "version": 1, "step": 10, "time_ns": time.time_ns()}
    rig.weights.publish(to_json({**announced, "sha256": "0" * 64}))
    rig.client.wait(lambda: rig.value("policy", "refused_weights") == "1", 5.0, "the refusal of a wrong hash")
    assert rig.value("policy", "version") == "0"
    rig.weights.publish(to_json({**announced, "sha256": file_hash(path), "version": 2}))
    rig.client.wait(lambda: rig.value("policy", "version") == "2", 5.0, "the new weights")
    rig.wait_ticks(12)
    rig.client.command("stop")
    rig.client.wait_for_end(state.id, 5.0)
    columns = rig.wait_sealed(state.id).columns
    driven = columns["owner"] == Owner.POLICY
    by_chunk = {int(c): set(columns["policy_version"][driven & (columns["chunk_id"] == c)]) for c in
                np.unique(columns["chunk_id"][driven])}  # fmt: skip
    assert all(len(versions) == 1 for versions in by_chunk.values()), "one set of weights per chunk"
    assert set.union(*by_chunk.values()) == {0, 2}
    present = columns["present/learner/parameter_age_s"]
    assert (columns["policy_version"][driven & present] == 2).all()
    assert 0.0 < columns["learner/parameter_age_s"][driven & present].min() < 10.0


def test_five_kills_of_the_recorder_lose_less_than_a_second_each(rig: Rig) -> None:
    state = rig.client.start_episode(3)
    first = len(rig.heard)
    gaps: list[tuple[float, float]] = []  # from the kill until it records again [monotonic s]
    for _ in range(5):
        rig.wait_ticks(16)
        node = rig.graph.processes["recorder"]
        killed_s = time.monotonic()
        node.send(signal.SIGKILL)
        rig.client.wait(lambda node=node: node.exit_code() is not None, 5.0, "the end of the recorder")
        rig.client.health.pop("/recorder", None)
        rig.graph.processes.restart("recorder")
        rig.client.wait(lambda: int(rig.value("recorder", "ticks") or 0) > 0, 30.0, "the recorder to write again")
        gaps.append((killed_s, time.monotonic()))
    rig.client.command("stop")
    rig.client.wait_for_end(state.id, 5.0)
    rig.wait_sealed(f"{state.id}-6")
    stored = EpisodeStore(rig.store)
    parts = [stored.load(e.episode_id) for e in stored.episodes() if e.episode_id.startswith(state.id)]
    assert [part.metadata["part"] for part in parts] == [1, 2, 3, 4, 5, 6]
    assert [part.end_reason for part in parts] == [EndReason.CRASH] * 5 + [EndReason.OPERATOR_ABORT]
    for part in parts:
        part.verify()
    there = {int(t) for part in parts for t in part.columns["tick_time_ns"]}
    lost = [(at_s, record) for at_s, record in rig.heard[first:] if record.tick_time_ns not in there]
    since = [0.0, *(back_s for _, back_s in gaps)]
    spans = []  # from the first tick lost before a kill to the last one lost after it
    for begun_s, (killed_s, back_s) in zip(since, gaps, strict=False):
        at = [at_s for at_s, _ in lost if begun_s <= at_s <= back_s]
        spans.append((max([0.0, *(killed_s - t for t in at)]), max([0.0, *(t - killed_s for t in at)])))
    print(f"lost before and after each kill [s]: {np.round(spans, 2).tolist()}, ticks {len(there)}, lost {len(lost)}")
    assert max(before for before, _ in spans) <= 1.0
    assert max(before + after for before, after in spans) <= 1.0, "the arm stands until it is recorded again"
    assert [r.step for at_s, r in lost if at_s > since[-1]] == [], "nothing else is lost"
