"""A probe that watches a running graph from the outside and disturbs it; graphs to probe."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robot.ros import topics
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.episode_state import EpisodeState, episode_state_from
from robot.ros.messages import from_json, read_frame_id, to_json, to_string
from robot.ros.qos import message_type, profile
from robot.ros.running_graph import RunningGraph, running_graph
from robot.ros.topics import Qos, Topic
from robot.specs import load_station
from tests.domains import some_domain

HERE = Path(__file__).parent
STATION = load_station("fr3_sim")
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
STILL_RAD = 2e-5  # between two setpoints 10 ms apart


@dataclass(frozen=True)
class Setpoint:
    """One message on applied_command."""

    heard_s: float
    seq: int
    position: np.ndarray


class Probe:
    """Watches a graph from the test's process; everything is stamped with the monotonic time it was heard at."""

    def __init__(self, graph: RunningGraph) -> None:
        self.graph, self.client = graph, graph.client
        self.setpoints: deque[Setpoint] = deque(maxlen=3000)
        self.owners: deque[tuple[float, dict[str, Any]]] = deque(maxlen=2000)
        self.states: deque[tuple[float, str]] = deque(maxlen=2000)
        self.episodes: deque[EpisodeState] = deque(maxlen=1000)
        self.health: dict[str, tuple[float, dict[str, str]]] = {}  # by node: when it spoke, what it counts
        self.answer = ""  # of the service called last
        self._publishers: dict[str, Any] = {}
        self._on(topics.EPISODE_STATE, lambda m: self.episodes.append(episode_state_from(from_json(m))))
        self._on(topics.DIAGNOSTICS, self._on_diagnostics)
        self._on(topics.APPLIED_COMMAND, self._on_applied)
        self._on(topics.AUTHOR, lambda m: self.owners.append((time.monotonic(), from_json(m))))
        with contextlib.suppress(PermissionError):  # on a busy machine the probe measures, not its own delay
            os.setpriority(os.PRIO_PROCESS, self.client._thread.native_id or 0, -10)
        self._on(topics.SAFETY_STATE, lambda m: self.states.append((time.monotonic(), m.data)))

    def _on(self, topic: Topic, callback: Callable[[Any], None]) -> None:
        qos = topic.subscribe if topic.publish.latched else Qos(depth=50)
        self.client.node.create_subscription(message_type(topic.type), topic.name, callback, profile(qos))

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            self.health[status.name] = time.monotonic(), {**values, "message": status.message}

    def heard(self) -> list[Setpoint]:
        """Return the setpoints so far; the deque itself grows in the client's thread."""
        return list(self.setpoints)

    @property
    def safety(self) -> str:
        """Return what the arm last said of itself, on change and twice a second."""
        return self.states[-1][1] if self.states else ""

    def _on_applied(self, message: Any) -> None:
        seq = int(read_frame_id(message.header.frame_id).get("seq", "-1"))
        self.setpoints.append(Setpoint(time.monotonic(), seq, np.array(message.position)))

    def publish(self, topic: Topic, message: Any) -> None:
        if topic.name not in self._publishers:
            made = self.client.node.create_publisher(message_type(topic.type), topic.name, profile(topic.publish))
            self._publishers[topic.name] = made
            self.wait(lambda: made.get_subscription_count() > 0, 5.0, f"a subscriber of {topic.name}")
        self._publishers[topic.name].publish(message)

    def call(self, service: str) -> tuple[bool, str]:
        """Call a Trigger service and return whether it was done, and its answer."""
        client = self.client.node.create_client(message_type(topics.TRIGGER), service)
        self.wait(client.service_is_ready, 5.0, service)
        future = client.call_async(message_type(topics.TRIGGER).Request())
        self.wait(future.done, 5.0, f"the answer of {service}")
        answer: Any = future.result()
        self.answer = answer.message
        return answer.success, answer.message

    def publish_until(self, topic: Topic, make: Callable[[], Any], is_so: Callable[[], bool], what: str) -> None:
        """Publish at 50 Hz until it has shown: where only the newest message counts, one may be overtaken unseen."""

        def shown() -> bool:
            self.publish(topic, make())
            time.sleep(0.01)
            return is_so()

        self.wait(shown, 4.0, what)

    def wait(self, is_so: Callable[[], Any], timeout_s: float, what: str) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s for {what}; {self.said()}"
            time.sleep(0.01)

    def said(self) -> str:
        """Return what the graph last said of itself, and what its processes printed."""
        now_s = time.monotonic()
        health = [f"{name} {now_s - at_s:.1f} s ago: {values}" for name, (at_s, values) in self.health.items()]
        printed = [
            f"{name} ({node.exit_code()}): {' | '.join(list(node.lines)[-5:])}"
            for name, node in self.graph.processes.nodes.items()
        ]
        author = self.owners[-1][1] if self.owners else "no author"
        return "\n".join([f"arm {self.safety}, last answer: '{self.answer}', {author}", *health, *printed])

    def counter(self, node: str, name: str) -> int:
        """Return a counter of a node's diagnostics, 0 where it has none yet."""
        return int(self.health.get(f"/{node}", (0.0, {}))[1].get(name, "0"))

    def heard_s(self, node: str) -> float:
        """Return when a node last spoke of its health."""
        return self.health.get(f"/{node}", (0.0, {}))[0]

    def wait_counter(self, node: str, name: str, above: int, timeout_s: float = 4.0) -> None:
        self.wait(lambda: self.counter(node, name) > above, timeout_s, f"{name} of {node} above {above}")

    def moving_at(self, since_s: float) -> bool:
        """Say whether the setpoint has moved since a moment."""
        recent = [s.position for s in self.heard() if s.heard_s >= since_s]
        return len(recent) > 1 and float(np.ptp(np.array(recent)[:, :7], axis=0).max()) > STILL_RAD

    def wait_moving(self, timeout_s: float = 8.0) -> None:
        """Wait until the arm moves and the policy drives."""

        def moves() -> bool:
            now_s = time.monotonic()
            author = self.owners[-1][1] if self.owners else {"owner": "", "since_ns": 0}
            drives = author["owner"] == "policy" and author["since_ns"] >= self.episodes[-1].start_ns
            return drives and self.safety in ("ok", "limited") and self.moving_at(now_s - 0.1)

        self.wait(moves, timeout_s, "a moving arm")

    def last_motion_s(self) -> float:
        """Return when the setpoint was last heard to differ from the one before."""
        points = self.heard()
        for before, after in zip(reversed(points[:-1]), reversed(points[1:]), strict=True):
            if np.abs(after.position - before.position)[:7].max() > STILL_RAD:
                return after.heard_s
        return 0.0

    def time_to_hold(self, disturb: Callable[[], None], watch_s: float = 0.7) -> float:
        """Disturb a moving graph and return after how long the setpoint stood [s]."""
        self.wait_moving()
        begun_s = time.monotonic()
        disturb()
        time.sleep(watch_s)
        heard_s = [s.heard_s for s in self.heard() if s.heard_s > begun_s + 0.5 * watch_s]
        assert heard_s, f"no setpoints were heard meanwhile; the arm is {self.safety}"
        return max(0.0, self.last_motion_s() - begun_s)

    def send(self, node: str, number: int) -> None:
        self.graph.processes[node].send(number)

    def set_mode(self, mode: str) -> None:
        """Change what the chunk policy does."""
        self.publish(Topic("test/mode", topics.STRING, Qos(), Qos()), to_string(mode))

    def start_episode(self, seed: int) -> str:
        """Start an episode, ending the one before, and return its id once it runs."""
        if self.episodes and self.episodes[-1].phase in ("running", "reset"):
            self.publish(topics.EPISODE_COMMAND, to_json({"command": "stop"}))
            self.wait(lambda: self.episodes[-1].phase == "ended", 5.0, "the end of the episode before")
        self.release()
        before = self.episodes[-1].id if self.episodes else ""
        self.publish(topics.EPISODE_COMMAND, to_json({"command": "start", "seed": seed}))
        self.wait(
            lambda: self.episodes and self.episodes[-1].id != before and self.episodes[-1].phase == "running",
            10.0,
            "a running episode",
        )
        return self.episodes[-1].id

    def release(self) -> None:
        """Reset the arm where something has stopped it."""
        if self.safety in ("latched", "stopped") or self.safety.startswith("fault"):
            self.wait(lambda: self.call(topics.SAFETY_RESET)[0], 5.0, "a reset")
            self.wait(lambda: self.safety in ("holding", "ok", "limited", "starved"), 3.0, "a released arm")


def graph_specs(*, operator: str = "none", cameras: tuple[str, ...] = (), record: str = "") -> list[NodeSpec]:
    """Return the graph of the safety tests: chunk policy, episodes that do not run out."""
    specs = describe(GraphOptions(operator=operator, cameras=cameras, record=record))
    specs.insert(1, NodeSpec("chunk_policy", "policy", "", {"task": "peg-insert", "vital": True}))
    always = {"policy": "any", "operator": "any", "max_steps": 1_000_000}
    return [
        replace(spec, parameters={**spec.parameters, **always}) if spec.name == "arbiter" else spec for spec in specs
    ]


@contextmanager
def running_probe(specs: list[NodeSpec]) -> Iterator[Probe]:
    with running_graph(specs, domain_id=some_domain(), ready_s=60.0) as graph:
        yield Probe(graph)


class OneGraph:
    """At most one graph: who asks for another one ends the one before."""

    def __init__(self) -> None:
        self._name, self._probe, self._running = "", None, ExitStack()

    def get(self, name: str, specs: Callable[[], list[NodeSpec]]) -> Probe:
        """Return the graph of this name, started now unless it is the one that runs."""
        if self._probe is None or name != self._name:
            self.close()
            self._probe = self._running.enter_context(running_probe(specs()))
            self._name = name
        return self._probe

    def close(self) -> None:
        self._probe = None
        self._running.close()
