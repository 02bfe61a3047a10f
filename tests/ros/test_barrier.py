"""The graph, stepped tick by tick through a barrier, does exactly what the in-process loop does.

Same policy file, same seeds, same scripted person: 500 ticks and more over several episodes, with takeovers and
hand-backs, and every field of every record is the same number.
"""

from dataclasses import fields, replace
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
from tests.domains import some_domain
from tests.ros.made_policy import TASK, save_made

TICKS = 500
TAKEOVERS = (Takeover(12, 20), Takeover(50, 9))


def run_graph(options: GraphOptions, ticks: int, *, autonomous: bool = True) -> dict[int, list[TickRecord]]:
    """Return the records of as many episodes as the ticks take, by seed."""
    options = replace(options, operator="scripted", cameras=(), step_mode="barrier")
    found: dict[int, list[TickRecord]] = {}
    with running_graph(describe(options), domain_id=some_domain()) as graph:
        records: list[TickRecord] = []
        graph.client.subscribe(topics.TICK_RECORD, lambda message: records.append(from_record(message)))
        while sum(map(len, found.values())) < ticks:
            seed, before = 100 + len(found), len(records)
            state = graph.client.start_episode(seed, autonomous=autonomous)
            graph.client.wait_for_end(state.id, 40.0)
            graph.check()
            graph.client.wait(lambda n=before: len(records) > n and is_last(records[-1]), 5.0, "the last record")
            found[seed] = records[before:]
    return found


def is_last(record: TickRecord) -> bool:
    return record.terminated or record.truncated


def run_in_process(
    options: GraphOptions, script: OperatorScript, graph: dict[int, list[TickRecord]]
) -> dict[int, list[TickRecord]]:
    """Run the same episodes in one process, on a clock that is set like the graph's."""
    station = load_station(options.station)
    world = SimWorld(station, make_task(options.task))
    world.time_ns = next(iter(graph.values()))[0].tick_time_ns - station.period_ns
    loop, policy = ControlLoop(world), load_policy(Path(options.policy)) if options.policy else None
    operator = ScriptedOperator(station, make_expert(f"tandem/{options.task}"), script)
    return {
        seed: [record for _, record in loop.run_episode(ChunkRunner(policy) if policy else None, seed, operator)]
        for seed in graph
    }


def differences(graph: TickRecord, loop: TickRecord) -> list[str]:
    """Name the fields in which two records are not bit for bit the same."""
    return [f.name for f in fields(TickRecord) if not same(getattr(graph, f.name), getattr(loop, f.name))]


def same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def assert_equal(graph: dict[int, list[TickRecord]], loop: dict[int, list[TickRecord]]) -> None:
    assert {seed: len(records) for seed, records in graph.items()} == {s: len(r) for s, r in loop.items()}
    wrong = {
        (seed, a.step): names
        for seed in graph
        for a, b in zip(graph[seed], loop[seed], strict=True)
        if (names := differences(a, b))
    }
    assert not wrong, f"{len(wrong)} records differ, first: {next(iter(wrong.items()))}"


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clone", "residual"])
def test_the_graph_equals_the_loop_field_by_field(kind: str, tmp_path: Path) -> None:
    script = {"takeovers": ",".join(f"{t.start}+{t.steps}" for t in TAKEOVERS)}
    options = GraphOptions(task=TASK, policy=str(save_made(kind, tmp_path)), script=script)
    graph = run_graph(options, TICKS)
    assert_equal(graph, run_in_process(options, OperatorScript(TAKEOVERS), graph))
    records = [record for episode in graph.values() for record in episode]
    assert len(records) >= TICKS
    owners = {record.owner for record in records}
    assert {Owner.POLICY, Owner.HUMAN, Owner.HOLD} <= owners, "takeovers and hand-backs happened"
    after = [r for r in records if r.step == TAKEOVERS[0].start + TAKEOVERS[0].steps + 2]
    assert {r.owner for r in after} == {Owner.POLICY}, "the policy drives again after the hand-back"


@pytest.mark.ros
@pytest.mark.slow
def test_two_arms_through_the_graph_equal_the_loop_field_by_field() -> None:
    options = GraphOptions(station="fr3_pair_sim", task="handover", script={"script": "demonstrate"})
    graph = run_graph(options, 1, autonomous=False)
    assert_equal(graph, run_in_process(options, OperatorScript(demonstrate=True), graph))
    (records,) = graph.values()
    assert records[-1].terminated, "the person hands the bar over"
    assert {record.joint_command.shape for record in records} == {(16,)}


def test_the_comparison_sees_one_bit() -> None:
    record = np.array([1.0, 2.0])
    assert same({"a": record}, {"a": record.copy()})
    assert not same({"a": record}, {"a": np.nextafter(record, 3.0)})
    assert not same(np.float64(1.0), 1)
    assert same(np.array([np.nan]), np.array([np.nan]))
