"""The scripted person: takes over when told or when nothing moves, reaches the goal, labels, hands back."""

import numpy as np
import pytest

from robot.control_loop import ControlLoop
from robot.errors import ConfigError
from robot.policy import ActionChunk
from robot.record import TickRecord
from robot.specs import load_station
from robot.types import Command, EndReason, Mark, Owner, OwnerRequest
from sim.experts import Knobs, make_scripted_expert
from sim.scripted_operator import OperatorScript, ScriptedOperator, Stall, Takeover
from sim.suites.tandem import default_station, names
from sim.task import make_task
from sim.world import SimWorld

STATION = load_station("fr3_sim")


def run(task: str, script: OperatorScript, seed: int = 0, *, autonomous: bool = True) -> list[TickRecord]:
    """Run one episode in lock-step with a policy that asks to stay where it is."""
    station = load_station(default_station(task))
    loop = ControlLoop(SimWorld(station, make_task(task)))
    operator = ScriptedOperator(station, make_scripted_expert(task, station, Knobs()), script)
    observation = loop.reset(seed, autonomous=autonomous)
    operator.reset(seed)
    assert loop.state is not None
    stay = loop.state.commanded
    records: list[TickRecord] = []
    while not records or not (records[-1].terminated or records[-1].truncated):
        assert loop.state is not None
        chunk = ActionChunk(stay[None], 0.05, observation.time_ns, loop.state.ownership.generation)
        observation, record = loop.step(chunk, operator.read(observation))
        records.append(record)
    return records


def test_a_schedule_decides_who_owns_which_step() -> None:
    records = run("reach", OperatorScript(takeovers=(Takeover(5, 10), Takeover(30, 4))))
    human = [record.step for record in records if record.owner is Owner.HUMAN]
    assert human == [*range(5, 15), *range(30, 34)]
    held = [record.step for record in records if record.owner is Owner.HOLD]
    assert held == [15, 34], "one tick after each hand-back: the policy has to see something newer first"
    assert [records[5].intervention_id, records[30].intervention_id, records[20].intervention_id] == [0, 1, -1]


@pytest.mark.parametrize("task", names())
def test_a_demonstration_drives_the_whole_episode_to_success(task: str) -> None:
    for seed in range(2):
        records = run(task, OperatorScript(demonstrate=True), seed, autonomous=False)
        assert {record.owner for record in records} == {Owner.HUMAN}
        assert records[-1].end_reason is EndReason.SUCCESS


def test_a_policy_that_stands_still_is_relieved() -> None:
    records = run("reach", OperatorScript(stall=Stall(0.005, 20, 15)))
    human = [record.step for record in records if record.owner is Owner.HUMAN]
    assert human[0] == 20, "20 steps of patience"
    assert human[:15] == list(range(20, 35))


@pytest.mark.parametrize(("mark", "reason"), [(Mark.SUCCESS, EndReason.SUCCESS), (Mark.FAILURE, EndReason.FAILURE)])
def test_a_mark_ends_the_episode_at_its_step(mark: Mark, reason: EndReason) -> None:
    records = run("reach", OperatorScript(marks=((7, mark),)))
    assert (records[-1].step, records[-1].end_reason) == (7, reason)
    assert records[-1].terminated


def test_packets_follow_from_observations_and_their_seq_rises_over_episodes() -> None:
    def packets() -> list:
        world = SimWorld(STATION, make_task("lift"))
        operator = ScriptedOperator(
            STATION, make_scripted_expert("lift", STATION, Knobs(noise=0.01)), OperatorScript((Takeover(0, 5),))
        )
        found = []
        for seed in (1, 1):
            operator.reset(seed)
            found += [operator.read(world.reset(seed)) for _ in range(2)]
        return found

    first = packets()
    assert first == packets()
    assert [packet.seq for packet in first] == [0, 1, 2, 3]
    assert first[0].twist == first[2].twist and np.any(first[0].twist)


def test_a_hand_back_is_asked_for_more_than_once() -> None:
    world = SimWorld(STATION, make_task("reach"))
    script = OperatorScript((Takeover(0, 2),))
    operator = ScriptedOperator(STATION, make_scripted_expert("reach", STATION, Knobs()), script)
    seen = world.reset(0)
    asked = []
    for step in range(6):
        asked.append(operator.read(seen).request)
        seen = world.advance(Command(step, seen.time_ns, seen.robot.position, Owner.HOLD))
    assert asked == [OwnerRequest.TAKE_OVER] * 2 + [OwnerRequest.HAND_BACK] * 3 + [OwnerRequest.NONE]


def test_a_script_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(ConfigError, match="in order"):
        OperatorScript((Takeover(5, 10), Takeover(12, 3)))
    with pytest.raises(ConfigError, match="gain"):
        OperatorScript(gain=0.0)


def test_a_step_of_the_script_is_a_tick_of_the_world() -> None:
    world = SimWorld(STATION, make_task("reach"))
    before = world.reset(0)
    after = world.advance(Command(0, before.time_ns, before.robot.position, Owner.HOLD))
    assert after.time_ns - before.time_ns == STATION.period_ns
