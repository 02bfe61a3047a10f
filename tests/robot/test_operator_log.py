"""A log of what operators said, replayed: every edge of ownership again, and a log with one packet less is another."""

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from robot import ownership
from robot.errors import StoreError
from robot.operator_inbox import OperatorInbox
from robot.operator_log import OperatorLog, replay_log
from robot.ownership import PAGE_RULES, Mode, Ownership
from robot.specs import ActionSpec, load_station
from robot.tick import Cell, TickInputs, TickState, start, tick
from robot.types import Mark, Observation, OperatorInput, OwnerRequest, RobotState

FR3 = load_station("fr3_sim")
STATION = replace(FR3, action=ActionSpec("joint_position", tuple(FR3.position_lower), tuple(FR3.position_upper)))
CELL = Cell(STATION)
PERIOD_NS = STATION.period_ns
ARM = STATION.home[:-1]
DEVICES = ("mouse", "page", "leader")


def said(rng: np.random.Generator, device: str, time_ns: int, seq: int) -> OperatorInput:
    """Return what somebody might say: mostly driving, sometimes asking or labelling."""
    request = OwnerRequest(int(rng.choice(5, p=[0.6, 0.2, 0.1, 0.08, 0.02])))
    packet = OperatorInput(seq, time_ns, device, engaged=bool(rng.random() < 0.8), request=request, raw="01ff")
    if rng.random() < 0.1:
        packet = replace(packet, mark=Mark(int(rng.integers(len(Mark)))))
    if device == "leader":
        off = rng.choice([0.0, 0.2])
        return replace(packet, joints=tuple((ARM + off).tolist()), is_absolute=True)
    return replace(packet, twist=(0.05, 0.0, 0.0, 0.0, 0.0, 0.1))


def session(seed: int, ticks: int = 60) -> tuple[list[str], list[Ownership]]:
    """Run devices, inbox and ticks as the arbiter does, with a log; returns its lines and the truth."""
    rng, file = np.random.default_rng(seed), io.StringIO()
    log = OperatorLog(file)
    inbox, truth = OperatorInbox(log), []
    state = start(CELL, STATION.home, 0)
    for i in range(1, ticks + 1):
        time_ns = i * PERIOD_NS
        for k in range(int(rng.integers(0, 4))):
            now_s = (i - rng.random()) * STATION.period_s + 100.0
            inbox.put(said(rng, str(rng.choice(DEVICES)), time_ns + k, 10 * i + k), now_s)
        if i % 25 == 1:
            state = replace(state, ownership=ownership.begin(ownership.clear_safety(state.ownership, time_ns), time_ns))
        state = one_tick(state, inbox, log, time_ns, 100.0 + i * STATION.period_s, rng)
        truth.append(state.ownership)
    return file.getvalue().splitlines(), truth


def one_tick(
    state: TickState, inbox: OperatorInbox, log: OperatorLog, time_ns: int, now_s: float, rng: np.random.Generator
) -> TickState:
    operator, age_s = inbox.take(now_s, is_human=state.ownership.is_human)
    is_page = operator is not None and operator.device == "page"
    cell = CELL if not is_page else PAGE_CELL
    off = 0.2 if rng.random() < 0.02 else 0.0  # an arm that does not follow
    robot = RobotState(time_ns, state.filter.position + off, np.zeros(8))
    inputs = TickInputs(time_ns, Observation(time_ns, robot, {}), operator=operator, operator_age_s=age_s)
    after, _, record = tick(cell, state, inputs)
    log.ticked(cell, state, inputs, after, record)
    return after


PAGE_CELL = Cell(STATION, PAGE_RULES)


@pytest.mark.parametrize("seed", range(8))
def test_a_replayed_log_has_every_edge_bit_for_bit(seed: int) -> None:
    lines, truth = session(seed)
    replayed = [tick.state for tick in replay_log(lines)]
    assert replayed == truth
    assert len({state.mode for state in truth}) > 2  # something happened


def test_all_modes_are_reached_by_some_session() -> None:
    modes = {state.mode for seed in range(8) for state in session(seed, 30)[1]}
    assert modes >= {Mode.AUTO, Mode.HOLD, Mode.HUMAN_CORRECTION, Mode.SAFETY}


def test_a_log_without_one_takeover_is_another_one() -> None:
    lines, truth = session(0)
    events = [json.loads(line) for line in lines]
    taken = next(i for i, state in enumerate(truth) if state.is_human)
    ticks = [i for i, event in enumerate(events) if event["kind"] == "tick"]
    asked = [
        i for i, event in enumerate(events)
        if i < ticks[taken] and event["kind"] == "packet" and event["said"].get("request") == OwnerRequest.TAKE_OVER
    ]  # fmt: skip
    shorter = [line for i, line in enumerate(lines) if i not in asked]
    assert [tick.state for tick in replay_log(shorter)] != truth


@pytest.mark.parametrize("line", ["{", '{"kind":"tick"}', '{"kind":"packet","said":{"torque":1},"now_s":0}', "[]"])
def test_a_line_that_is_none_of_the_log_s_is_named(line: str) -> None:
    lines, _ = session(1, 3)
    with pytest.raises(StoreError, match=f"line {len(lines) + 1} "):
        list(replay_log([*lines, line]))


def test_packets_come_back_whole() -> None:
    packet: dict[str, Any] = {
        "pose": (0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0),
        "frame": "tool",
        "clutch": 4,
        "gripper": 0.01,
    }
    given = OperatorInput(7, 9, "hand", True, OwnerRequest.FREEZE, Mark.UNDO, **packet)
    file = io.StringIO()
    OperatorInbox(OperatorLog(file)).put(given, 1.0)
    OperatorLog(file).take(1.1, is_human=False)
    inbox = OperatorInbox()
    event = json.loads(file.getvalue().splitlines()[0])
    assert event["said"]["frame"] == "tool"
    inbox.put(given, 1.0)
    assert list(replay_log(file.getvalue().splitlines())) == []
