"""How fast a person gets the arm and gives it back, and that it stands when hand, page or station is gone.

The whole simulated graph at 50 Hz with a small policy that drives. The local device is the gamepad's own node, fed the
kernel's events through a pipe; the page is a client on its web socket (`robot.operator.page_client`), not a browser.
Times are the worst of the run, as seen by a bystander, its own hop included: interventions spec, 13.1.
"""

import json
import os
import signal
import struct
import tempfile
import time
import tomllib
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from policies.bench_servo import save_small_policy
from robot.errors import RobotError
from robot.machine import machine
from robot.operator.page_client import PageClient
from robot.ros import topics
from robot.ros.description import GraphOptions, describe
from robot.ros.messages import from_command, from_json, from_stamp
from robot.ros.running_graph import RunningGraph, choose_domain, running_graph
from robot.rows import row
from robot.specs import StationSpec, load_station
from robot.types import NS_PER_S, Owner

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
CONTROL_HZ, ROUNDS, LOSS, LETTING_GO = 50.0, 20, 0.05, 10
STILL_RAD = 2e-5  # between two setpoints 10 ms apart
EVENT = struct.Struct("@qqHHi")  # of Linux's input devices: seconds, microseconds, type, code, value
KEY, AXIS, BUMPER, START, LEFT_Y, FULL = 1, 3, 0x137, 0x13B, 1, 32767
PAUSE_S, SEEN_S = 0.4, 5.0
FORWARD = (0.6, 0.0, 0.0, 0.0, 0.0, 0.0)


class Hand(Protocol):
    """Somebody who takes over and drives."""

    name: str

    def hold(self, is_held: bool) -> None: ...

    def push(self, is_pushed: bool) -> None: ...

    def hand_back(self) -> None: ...


class PadHand:
    """A gamepad's events, into the pipe that its node reads."""

    name = "local"

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def hold(self, is_held: bool) -> None:
        self._write(KEY, BUMPER, int(is_held))

    def push(self, is_pushed: bool) -> None:
        self._write(AXIS, LEFT_Y, -FULL if is_pushed else 0)

    def hand_back(self) -> None:
        self._write(KEY, START, 1)
        self._write(KEY, START, 0)

    def _write(self, kind: int, code: int, value: int) -> None:
        now_us = time.time_ns() // 1000
        os.write(self._pipe, EVENT.pack(now_us // 10**6, now_us % 10**6, kind, code, value))


class PageHand:
    """A page's client."""

    name = "page"

    def __init__(self, client: PageClient) -> None:
        self.client = client

    def hold(self, is_held: bool) -> None:
        self.client.set("take_over" if is_held else "", engaged=is_held)

    def push(self, is_pushed: bool) -> None:
        self.client.set(move=FORWARD if is_pushed else (0.0,) * 6)

    def hand_back(self) -> None:
        self.client.set("hand_back", engaged=False)


@dataclass(frozen=True, slots=True)
class Said:
    """One word of the arbiter, and when it was heard [monotonic s]."""

    heard_s: float
    owner: str
    mode: str
    time_ns: int


class Bystander:
    """Hears the arbiter, the arm and one camera; waits for what they do."""

    def __init__(self, graph: RunningGraph, station: StationSpec) -> None:
        self.graph, self._station = graph, station
        self.said: deque[Said] = deque(maxlen=5000)
        self.setpoints: deque[tuple[float, np.ndarray]] = deque(maxlen=6000)
        self.largest_step = 0.0  # between two commands in a row of one episode, as a share of what is allowed
        self.is_in_episode = False  # outside of one the scene is placed anew
        self._before: tuple[int, np.ndarray] | None = None
        self.of_policy: deque[int] = deque(maxlen=60_000)  # times of its commands [ns]
        self.chunk_ages_s: deque[float] = deque(maxlen=5000)
        self.image_ages_s: deque[float] = deque(maxlen=5000)
        client = graph.client
        client.subscribe(topics.AUTHOR, self._on_author)
        client.subscribe(topics.APPLIED_COMMAND, self._on_applied)
        client.subscribe(topics.COMMAND, self._on_command)
        client.subscribe(topics.ACTION_CHUNK, lambda m: self.chunk_ages_s.append(_age_s(m)))
        client.subscribe(topics.COLOR_IMAGE.of("scene"), lambda m: self.image_ages_s.append(_age_s(m)))

    def _on_author(self, message: Any) -> None:
        word = from_json(message)
        self.said.append(Said(time.monotonic(), word["owner"], word["mode"], int(word["time_ns"])))

    def _on_applied(self, message: Any) -> None:
        self.setpoints.append((time.monotonic(), np.array(message.position[:-1])))

    def _on_command(self, message: Any) -> None:
        command = from_command(message, self._station.joint_names)
        if command.owner is Owner.POLICY:
            self.of_policy.append(command.time_ns)
        position = command.position[:-1]
        if self._before is not None and command.seq > self._before[0]:
            station, (before_seq, before) = self._station, self._before
            ticks_s = (command.seq - before_seq) * station.period_s
            limit = station.velocity_limit[:-1] * station.safety.velocity_scale * ticks_s
            self.largest_step = max(self.largest_step, float((np.abs(position - before) / limit).max()))
        self._before = (command.seq, position) if self.is_in_episode else None

    def until(self, is_so: Callable[[Said], bool], since_s: float, what: str, timeout_s: float = SEEN_S) -> Said:
        """Return the first word since a moment that is so."""
        found = self.graph.client.wait(
            lambda: next((word for word in list(self.said) if word.heard_s >= since_s and is_so(word)), None),
            timeout_s,
            f"{what}; the arbiter last said {self.said[-1] if self.said else 'nothing'}",
        )
        self.graph.check()
        return found

    def until_owner(self, owner: str, timeout_s: float = SEEN_S) -> None:
        self.graph.client.wait(lambda: self.said and self.said[-1].owner == owner, timeout_s, f"{owner} in charge")

    def until_moved(self, since_s: float) -> float:
        """Return when the setpoint first moved after a moment, from where it stood then."""
        stood = next(position for heard_s, position in reversed(list(self.setpoints)) if heard_s <= since_s)

        def moved() -> float | None:
            later = [(at, position) for at, position in list(self.setpoints) if at > since_s]
            return next((at for at, position in later if np.abs(position - stood).max() > STILL_RAD), None)

        return self.graph.client.wait(moved, SEEN_S, "a moving arm")

    def last_motion_s(self) -> float:
        points = list(self.setpoints)
        for (_, before), (at, after) in zip(reversed(points[:-1]), reversed(points[1:]), strict=True):
            if np.abs(after - before).max() > STILL_RAD:
                return at
        return 0.0


def _age_s(message: Any) -> float:
    return (time.time_ns() - from_stamp(message.header.stamp)) / NS_PER_S


class Session:
    """What is measured, one hand after the other, in one running graph."""

    def __init__(self, graph: RunningGraph, station: StationSpec) -> None:
        self.bystander, self.graph = Bystander(graph, station), graph
        self.found: dict[str, list[float]] = {}
        self.stale = 0
        self._seed = 0

    def begin(self) -> None:
        """Start an episode anew and wait until the policy drives."""
        client = self.graph.client
        self.bystander.is_in_episode = False
        if client.episodes and client.episodes[-1].phase == "running":
            client.command("stop")
            client.wait(lambda: client.episodes[-1].phase == "ended", 5.0, "the end of the episode before")
        self._seed += 1
        client.start_episode(self._seed)
        self.bystander.until_owner("policy", 10.0)
        self.bystander.is_in_episode = True

    def note(self, name: str, seconds: float) -> None:
        self.found.setdefault(name, []).append(1e3 * seconds)

    def rounds(self, hand: Hand) -> None:
        """Take over, move, let go and hand back, again and again."""
        bystander, rng = self.bystander, np.random.default_rng(0)
        self.begin()
        for _ in range(ROUNDS):
            bystander.until_owner("policy")
            time.sleep(rng.uniform(0.1, 0.2))
            begun_s = time.monotonic()
            hand.hold(True)
            taken = bystander.until(lambda word: word.owner != "policy", begun_s, f"{hand.name} takes over")
            self.note(f"press_{hand.name}", taken.heard_s - begun_s)
            bystander.until_owner("human")
            time.sleep(PAUSE_S)
            begun_s = time.monotonic()
            hand.push(True)
            self.note(f"motion_{hand.name}", bystander.until_moved(begun_s) - begun_s)
            time.sleep(0.2)
            hand.push(False)
            begun_s = time.monotonic()
            hand.hand_back()
            left = bystander.until(lambda word: word.owner != "human", begun_s, f"{hand.name} hands back")
            again = bystander.until(lambda word: word.owner == "policy", left.heard_s, "the policy again")
            hand.hold(False)
            self.note(f"resume_{hand.name}", again.heard_s - left.heard_s)
            self.stale += sum(taken.time_ns <= at < again.time_ns for at in list(bystander.of_policy))

    def drive(self, hand: Hand) -> None:
        """Be in charge, the arm moving."""
        self.begin()
        begun_s = time.monotonic()
        hand.hold(True)
        self.bystander.until(lambda word: word.owner == "human", begun_s, f"{hand.name} in charge")
        hand.push(True)
        self.bystander.until_moved(begun_s)
        time.sleep(PAUSE_S)

    def lose(self, name: str, hand: Hand, lose: Callable[[], None]) -> None:
        """Drive, lose the hand, and note how long it took until the arbiter held and until the arm stood."""
        self.drive(hand)
        begun_s = time.monotonic()
        lose()
        held = self.bystander.until(lambda word: word.owner in ("hold", "safety"), begun_s, f"{name}: hold")
        self.note(f"{name}: hold", held.heard_s - begun_s)
        time.sleep(1.0)
        self.note(f"{name}: stands", max(0.0, self.bystander.last_motion_s() - begun_s))

    def let_go(self, hand: Hand) -> None:
        """Let go of a pushed stick with 5 % of the packets lost, again and again."""
        for _ in range(LETTING_GO):
            self.drive(hand)
            begun_s = time.monotonic()
            hand.hold(False)
            time.sleep(1.0)
            self.note("let_go_with_loss", max(0.0, self.bystander.last_motion_s() - begun_s))
            hand.push(False)


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes four minutes."""
    targets = tomllib.loads(TARGETS.read_text())["takeover"]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        session, images = _measure(Path(folder), stack)
    rows = _rows(session, images, targets)
    return {"name": "takeover", "ok": all(one["ok"] for one in rows), "rows": rows, "machine": machine()}


def _measure(folder: Path, stack: ExitStack) -> tuple[Session, list[float]]:
    station = load_station("fr3_sim").with_rate(CONTROL_HZ)
    checkpoint, path = save_small_policy(station, folder / "policy.safetensors"), folder / "gamepad"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)  # both ends: it is neither empty for good nor waited for
    stack.callback(os.close, pipe)
    options = GraphOptions(
        task="reach", policy=str(checkpoint), operator="page", device="gamepad",
        device_options=json.dumps({"path": str(path)}), cameras=("scene",), control_rate_hz=CONTROL_HZ, page_port=0,
    )  # fmt: skip
    more = {"arbiter": {"max_steps": 1_000_000}}
    nodes = [replace(node, parameters={**node.parameters, **more.get(node.name, {})}) for node in describe(options)]
    graph = stack.enter_context(running_graph(nodes, domain_id=choose_domain(None)))
    graph.client.wait(lambda: graph.page_address, 20.0, "the page's address")
    session = Session(graph, station)
    pad = PadHand(pipe)
    session.rounds(pad)
    processes = graph.processes
    session.lose("device frozen", pad, lambda: processes["device"].send(signal.SIGSTOP))
    processes["device"].send(signal.SIGCONT)
    pad.push(False)
    pad.hold(False)
    time.sleep(PAUSE_S)
    with PageClient(graph.page_address) as client:
        page = PageHand(client)
        session.rounds(page)
        images = list(client.image_ages_s)
        session.lose("page silent", page, lambda: setattr(client, "is_silent", True))
        client.is_silent = False
        page.push(False)
        page.hold(False)
        session.lose("tab hidden", page, lambda: client.set(engaged=False, watching=False, move=(0.0,) * 6))
    with PageClient(graph.page_address, LOSS) as client:
        session.let_go(PageHand(client))
    client = PageClient(graph.page_address)
    session.lose("browser killed", PageHand(client), client.cut)
    with PageClient(graph.page_address) as client:
        session.lose("station killed", PageHand(client), lambda: processes["page"].send(signal.SIGKILL))
    return session, images


def _rows(session: Session, images: list[float], targets: dict[str, Any]) -> list[dict[str, Any]]:
    bystander, found = session.bystander, session.found
    inference_ms = 1e3 * max(bystander.chunk_ages_s)
    rows = [_at_most(name, max(found[name]), targets[name]) for name in found if name in targets]
    for name in ("resume_local", "resume_page"):
        beyond_ms = max(0.0, max(found[name]) - inference_ms)
        rows.append(_at_most(f"{name}, beyond the slowest chunk", beyond_ms, targets["resume_over_inference"]))
    rows.append(_at_most("image_local", 1e3 * _p99(bystander.image_ages_s), targets["image_local"]))
    rows.append(_at_most("image_page", 1e3 * _p99(images), targets["image_page"]))
    rows.append(_at_most("stale commands after a takeover", session.stale, targets["stale_commands"], "commands"))
    rows.append(_at_most("largest step", bystander.largest_step, targets["step_share"], "of limit"))
    limits = {"device frozen": "silence_local", "page silent": "silence_page", "tab hidden": "press_page"}
    for name in ("device frozen", "page silent", "tab hidden", "browser killed", "station killed"):
        if name in limits:
            rows.append(_at_most(f"{name}: hold", max(found[f"{name}: hold"]), targets[limits[name]]))
        if name != "page silent":  # whose 250 ms are over before it begins to stand
            rows.append(_at_most(f"{name}: stands", max(found[f"{name}: stands"]), targets["stands"]))
    return rows


def _p99(ages_s: Any) -> float:
    if not ages_s:
        raise RobotError("no image came: is the camera's process alive?")
    return float(np.percentile(list(ages_s), 99))


def _at_most(metric: str, value: float, limit: float, unit: str = "ms") -> dict[str, Any]:
    return row(metric, float(value), unit, target=limit, ok=value <= limit)
