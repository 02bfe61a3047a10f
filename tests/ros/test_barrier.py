"""The graph, stepped tick by tick through a barrier, does exactly what the in-process loop does.

Same policy file, same seeds, same scripted person: 500 ticks and more over several episodes, with takeovers and
hand-backs, and every field of every record is the same number.
"""

import random
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from policies.checkpoint import load_policy
from robot.chunk_runner import ChunkRunner
from robot.control_loop import ControlLoop
from robot.record import TickRecord
from robot.ros import topics
from robot.ros.description import GraphOptions, describe
from robot.ros.record_message import from_record
from robot.ros.running_graph import running_graph
from robot.specs import load_station
from robot.types import Owner
from robot.worlds import make_expert
from sim.scripted_operator import OperatorScript, ScriptedOperator, Takeover
from sim.task import make_task
from sim.world import SimWorld
from tests.ros.made_policy import TASK, save_made

TICKS = 500
TAKEOVERS = (Takeover(12, 20), Takeover(50, 9))


def run_graph(checkpoint: Path, ticks: int) -> dict[int, list[TickRecord]]:
    """Return the records of as many episodes as the ticks take, by seed."""
    script = {"takeovers": ",".join(f"{t.start}+{t.steps}" for t in TAKEOVERS)}
    options = GraphOptions(
        task=TASK, policy=str(checkpoint), operator="scripted", cameras=(), step_mode="barrier", script=script
    )
    found: dict[int, list[TickRecord]] = {}
    with running_graph(describe(options), domain_id=random.randint(1, 101)) as graph:
        records: list[TickRecord] = []
        graph.client.subscribe(topics.TICK_RECORD, lambda message: records.append(from_record(message)))
        while sum(map(len, found.values())) < ticks:
            seed, before = 100 + len(found), len(records)
            state = graph.client.start_episode(seed)
            graph.client.wait_for_end(state.id, 40.0)
            graph.check()
            graph.client.wait(lambda n=before: len(records) > n and is_last(records[-1]), 5.0, "the last record")
            found[seed] = records[before:]
    return found


def is_last(record: TickRecord) -> bool:
    return record.terminated or record.truncated


def run_in_process(checkpoint: Path, seeds: list[int], first_tick_ns: int) -> dict[int, list[TickRecord]]:
    """Run the same episodes in one process, on a clock that is set like the graph's."""
    station = load_station("fr3_sim")
    world = SimWorld(station, make_task(TASK))
    world.time_ns = first_tick_ns - station.period_ns
    loop, policy = ControlLoop(world), load_policy(checkpoint)
    operator = ScriptedOperator(station, make_expert(f"tandem/{TASK}"), OperatorScript(TAKEOVERS))
    return {seed: [record for _, record in loop.run_episode(ChunkRunner(policy), seed, operator)] for seed in seeds}


def differences(graph: TickRecord, loop: TickRecord) -> list[str]:
    """Name the fields in which two records are not bit for bit the same."""
    return [f.name for f in fields(TickRecord) if not same(getattr(graph, f.name), getattr(loop, f.name))]


def same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clone", "residual"])
def test_the_graph_equals_the_loop_field_by_field(kind: str, tmp_path: Path) -> None:
    checkpoint = save_made(kind, tmp_path)
    graph = run_graph(checkpoint, TICKS)
    first = next(iter(graph.values()))[0]
    loop = run_in_process(checkpoint, list(graph), first.tick_time_ns)
    assert {seed: len(records) for seed, records in graph.items()} == {s: len(r) for s, r in loop.items()}
    wrong = {
        (seed, a.step): names
        for seed in graph
        for a, b in zip(graph[seed], loop[seed], strict=True)
        if (names := differences(a, b))
    }
    assert not wrong, f"{len(wrong)} records differ, first: {next(iter(wrong.items()))}"
    records = [record for episode in graph.values() for record in episode]
    assert len(records) >= TICKS
    owners = {record.owner for record in records}
    assert {Owner.POLICY, Owner.HUMAN, Owner.HOLD} <= owners, "takeovers and hand-backs happened"
    after = [r for r in records if r.step == TAKEOVERS[0].start + TAKEOVERS[0].steps + 2]
    assert {r.owner for r in after} == {Owner.POLICY}, "the policy drives again after the hand-back"


def test_the_comparison_sees_one_bit() -> None:
    record = np.array([1.0, 2.0])
    assert same({"a": record}, {"a": record.copy()})
    assert not same({"a": record}, {"a": np.nextafter(record, 3.0)})
    assert not same(np.float64(1.0), 1)
    assert same(np.array([np.nan]), np.array([np.nan]))
