"""Talk to a running graph from a program: start episodes, follow what happens, wait for things."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from robot.errors import DeviceNotFound, RobotError
from robot.record import TickRecord
from robot.ros import topics
from robot.ros.episode_state import EpisodeState, episode_state_from
from robot.ros.messages import from_json, to_json
from robot.ros.missing import missing_ros
from robot.ros.node import Level
from robot.ros.qos import message_type, profile
from robot.ros.record_message import from_record
from robot.ros.topics import Topic

try:
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions
except ImportError as error:
    raise missing_ros(error) from None

T = TypeVar("T")
RELEASED = ("holding", "ok", "limited", "starved")


@dataclass(frozen=True, slots=True)
class Health:
    """What a node last said about itself, and when [monotonic s]."""

    level: Level
    message: str
    values: Mapping[str, str]
    heard_s: float


class GraphClient:
    """A node of its own beside the graph, spun by a thread. The environment must be the graph's before it is made."""

    def __init__(self, namespace: str = "", *, domain_id: int | None = None, with_records: bool = False) -> None:
        self.namespace = f"/{namespace.strip('/')}".rstrip("/")
        self.health: dict[str, Health] = {}
        self.safety = ""
        self.author: Mapping[str, Any] = {}
        self.episodes: list[EpisodeState] = []  # every state heard
        self.records: list[TickRecord] = []
        self._news, self._closing = threading.Condition(), threading.Event()
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
        name = f"client_{time.monotonic_ns() % 10**9}"
        self.node = rclpy.create_node(name, namespace=self.namespace or "/", context=self._context)
        self._commands = self.publisher(topics.EPISODE_COMMAND)
        self.subscribe(topics.DIAGNOSTICS, self._on_diagnostics)
        self.subscribe(topics.EPISODE_STATE, self._on_episode)
        self.subscribe(topics.SAFETY_STATE, lambda message: setattr(self, "safety", message.data))
        self.subscribe(topics.AUTHOR, lambda message: setattr(self, "author", from_json(message)))
        if with_records:
            self.subscribe(topics.TICK_RECORD, lambda message: self.records.append(from_record(message)))
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)
        self._thread.start()

    def publisher(self, topic: Topic) -> Any:
        return self.node.create_publisher(message_type(topic.type), topic.name, profile(topic.publish))

    def subscribe(self, topic: Topic, callback: Callable[[Any], None]) -> None:
        """Call back, in the client's thread, with every message of a topic."""

        def heard(message: Any) -> None:
            callback(message)
            with self._news:
                self._news.notify_all()

        self.node.create_subscription(message_type(topic.type), topic.name, heard, profile(topic.subscribe))

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            level = Level(int.from_bytes(status.level, "little"))
            self.health[status.name] = Health(level, status.message, values, time.monotonic())

    def _on_episode(self, message: Any) -> None:
        self.episodes.append(episode_state_from(from_json(message)))

    def _spin(self) -> None:
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self.node)
        with contextlib.suppress(ExternalShutdownException):
            while not self._closing.is_set():
                executor.spin_once(timeout_sec=0.1)
        executor.remove_node(self.node)

    def wait(self, get: Callable[[], T | None], timeout_s: float, what: str) -> T:
        """Return what `get` gives once that is true; DeviceNotFound says what did not come in time."""
        deadline_s = time.monotonic() + timeout_s
        with self._news:
            while not (found := get()):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise DeviceNotFound(f"waited {timeout_s:g} s for {what}; {self._summary()}")
                self._news.wait(min(left_s, 0.1))
        return found

    def _summary(self) -> str:
        said = [f"{name}: {health.message}" for name, health in sorted(self.health.items())]
        return f"arm is {self.safety or 'not heard'}; nodes: {'; '.join(said) or 'none heard'}"

    def status(self, name: str) -> Health | None:
        """Return what a node of this robot last said."""
        return self.health.get(f"{self.namespace}/{name}")

    def wait_until_up(self, names: Sequence[str], timeout_s: float = 40.0) -> None:
        """Wait until every named node has spoken and the arm follows commands."""
        self.wait(lambda: all(self.status(name) for name in names), timeout_s, f"the nodes {', '.join(names)}")
        self.wait(lambda: self.safety in RELEASED, timeout_s, "the arm to be released")

    def start_episode(
        self, seed: int | None = None, *, autonomous: bool = True, metadata: Mapping[str, Any] | None = None
    ) -> EpisodeState:
        """Start an episode and return its state once it runs."""
        self.wait(lambda: self._commands.get_subscription_count() > 0, 10.0, "the episode node")
        heard = len(self.episodes)
        request = {"command": "start", "seed": seed, "autonomous": autonomous, "metadata": dict(metadata or {})}
        self._commands.publish(to_json(request))
        state = self.wait(lambda: self._first("running", "ended", since=heard), 15.0, "the episode to start")
        if state.phase != "running":
            raise RobotError(f"episode {state.id} ended as {state.end_reason} before it ran; {self._summary()}")
        return state

    def command(self, command: str) -> None:
        """Send `stop` or `discard`."""
        self._commands.publish(to_json({"command": command}))

    def wait_for_end(self, episode_id: str, timeout_s: float) -> EpisodeState:
        """Wait until an episode has ended and return its last state."""
        what = f"the end of episode {episode_id}"
        return self.wait(lambda: self._first("ended", episode_id=episode_id), timeout_s, what)

    def _first(self, *phases: str, since: int = 0, episode_id: str = "") -> EpisodeState | None:
        wanted = (state for state in self.episodes[since:] if state.phase in phases)
        return next((state for state in wanted if not episode_id or state.id == episode_id), None)

    def close(self) -> None:
        """Leave the graph."""
        self._closing.set()
        self._thread.join(timeout=3.0)
        self.node.destroy_node()
        self._context.try_shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
