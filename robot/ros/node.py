"""The base class of every node: parameters, topics from the table, threads, diagnostics and one clean way to stop.

A node module imports no ROS package itself, so that where ROS is missing there is one error, raised here.
"""

import contextlib
import dataclasses
import faulthandler
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeVar

from robot.errors import ConfigError, RobotError, unknown_name
from robot.ros import topics
from robot.ros.executor import NodeExecutor
from robot.ros.messages import MessageRefused
from robot.ros.missing import missing_ros
from robot.ros.qos import message_type, profile
from robot.ros.topics import Qos, Topic
from robot.specs import StationSpec, load_station

try:
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.event_handler import SubscriptionEventCallbacks
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from rclpy.signals import SignalHandlerOptions
    from rclpy.subscription import Subscription
    from rclpy.utilities import try_shutdown
except ImportError as error:
    raise missing_ros(error) from None

PARENT = "TANDEM_PARENT_PID"  # set by the launcher: a node outlives it by a moment only
VITAL_NICE = 10
LEAVE_S = 5.0  # for the middleware to let go of a node that has closed everything of its own
FROZEN_S = 15.0  # the others forget a participant after 20 s, and then not both ways: see fastdds.xml
MODES = ("realtime", "barrier")


@dataclass(frozen=True)
class NodeParameters:
    """ROS parameters of every node; a node adds its own by inheriting."""

    station: str = "fr3_sim"
    task: str = ""
    control_rate_hz: float = 0.0  # 0: the station's
    step_mode: str = "realtime"
    vital: bool = False  # the arm holds while this node is frozen or dead


class Level(IntEnum):
    """Levels of a diagnostic status."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a node says about itself once a second."""

    level: Level = Level.OK
    message: str = "ok"
    values: Mapping[str, object] = dataclasses.field(default_factory=dict)


P = TypeVar("P", bound=NodeParameters)


class RobotNode(Node, Generic[P]):
    """One node of a robot's graph. A loop that keeps a rate runs in a thread of `start_thread`, never in a callback."""

    announces_at_once = True  # a node that is of no use yet when it starts calls `announce` itself

    def __init__(self, name: str, parameters: type[P]) -> None:
        super().__init__(name)
        self.parameters: P = read_parameters(self, parameters)
        if self.parameters.step_mode not in MODES:
            raise unknown_name("step_mode", self.parameters.step_mode, MODES)
        station = load_station(self.parameters.station)
        rate_hz = self.parameters.control_rate_hz
        self.station: StationSpec = station.with_rate(rate_hz) if rate_hz > 0 else station
        self.stopping = threading.Event()  # set by this node itself
        self.told_to_stop = threading.Event()  # set by a signal
        self.failure: BaseException | None = None
        self.refused: Counter[str] = Counter()  # messages that could not be used, by kind
        self._threads: list[threading.Thread] = []
        self._progress_s = time.monotonic()
        self._diagnostics = self.publisher(topics.DIAGNOSTICS)
        self.create_timer(1.0, self._publish_diagnosis)
        if self.parameters.vital:
            _raise_priority()
        if self.announces_at_once:
            self.announce()

    @property
    def is_barrier(self) -> bool:
        """Say whether the world advances tick by tick instead of with the wall clock."""
        return self.parameters.step_mode == "barrier"

    @staticmethod
    def now_ns() -> int:
        """Return ROS system time; for stamps only, timeouts use `time.monotonic`."""
        return time.time_ns()

    def publisher(self, topic: Topic) -> Publisher:
        return self.create_publisher(message_type(topic.type), topic.name, profile(topic.publish))

    def emit(self, publisher: Publisher, message: Any) -> None:
        """Publish; a node whose threads may never wait for another process's death replaces this."""
        publisher.publish(message)

    def subscribe(self, topic: Topic, callback: Callable[[Any], None], qos: Qos | None = None) -> Subscription:
        """Call back with every message; in barrier mode the subscription is reliable, as no message may be lost."""
        wanted = qos or (topic.publish if self.is_barrier else topic.subscribe)
        wanted = dataclasses.replace(wanted, deadline_s=None)

        def guarded(message: Any) -> None:
            try:
                callback(message)
            except MessageRefused as refusal:
                self.refuse(topic.name, refusal)

        return self.create_subscription(message_type(topic.type), topic.name, guarded, profile(wanted))

    def announce(self) -> None:
        """Be counted among the vital nodes from now on, where this is one: the arm moves only while all are there."""
        if self.parameters.vital:
            self.publisher(topics.NODE_ALIVE)

    def watch_nodes(self, expected: int, changed: Callable[[int], None]) -> None:
        """Call back with the number of vital nodes that are not there, whenever it may have changed."""
        attendance = Attendance(expected)

        def count(event: Any) -> None:
            changed(attendance.count(event.alive_count, event.alive_count_change, event.not_alive_count_change))

        events = SubscriptionEventCallbacks(liveliness=count)
        self.create_subscription(
            message_type(topics.NODE_ALIVE.type),
            topics.NODE_ALIVE.name,
            lambda _: None,
            profile(topics.NODE_ALIVE.subscribe),
            event_callbacks=events,
        )

    def refuse(self, source: str, refusal: MessageRefused) -> None:
        """Count a message that could not be used and say so, at most every two seconds."""
        self.refused[refusal.kind] += 1
        self.get_logger().warning(f"{source}: refused ({refusal.kind}): {refusal}", throttle_duration_sec=2.0)

    def provide(self, service: str, answer: Callable[[], tuple[bool, str]]) -> None:
        """Offer a Trigger service; `answer` returns at once whether it was done, and why not."""

        def respond(_: Any, response: Any) -> Any:
            response.success, response.message = answer()
            return response

        self.create_service(message_type(topics.TRIGGER), service, respond)

    def client(self, service: str) -> Any:
        """Return a client of a Trigger service; use its `call_async`, never `call`, in a callback."""
        return self.create_client(message_type(topics.TRIGGER), service)

    def trigger_request(self) -> Any:
        return message_type(topics.TRIGGER).Request()

    def start_thread(self, name: str, loop: Callable[[], None]) -> threading.Thread:
        """Run a loop that returns once `stopping` is set; an exception in it ends the whole node."""

        def guarded() -> None:
            try:
                loop()
            except BaseException as error:
                self.failure = self.failure or error
                self.stopping.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def note_progress(self) -> None:
        """Note that the executor's thread goes on; the node ends, with a RobotError, where it stood still too long."""
        begun_s, self._progress_s = self._progress_s, time.monotonic()
        stood_s = self._progress_s - begun_s
        if stood_s > FROZEN_S:
            self.stopping.set()
            self.failure = RobotError(
                f"stood still for {stood_s:.0f} s; after {FROZEN_S:g} s the other nodes may have forgotten this one "
                "for good: start the graph again"
            )
            raise self.failure

    def diagnose(self) -> Diagnosis:
        """Return the node's state for /diagnostics; called once a second."""
        return Diagnosis()

    def close(self) -> None:
        """Stop in a controlled way within 4 s; a node that owns something extends this."""
        self.stopping.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=3.0)

    def _publish_diagnosis(self) -> None:
        if self.stopping.is_set():
            return
        found = self.diagnose()
        values = {**{f"refused_{kind}": count for kind, count in self.refused.copy().items()}, **found.values}
        status = DiagnosticStatus(
            level=bytes([found.level]),
            name=self.get_fully_qualified_name(),
            message=found.message,
            hardware_id=self.station.name,
            values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self.emit(self._diagnostics, message)


@dataclass
class Attendance:
    """How many vital nodes are missing, of those expected or ever seen, from counts of the living alone.

    Who was killed is missing until as many are alive again: that its peers forget it in the end frees nothing, and a
    restart is not held up by the one that it replaces. Who takes its leave is not missing.
    """

    expected: int = 0

    def count(self, alive: int, alive_change: int, not_alive_change: int) -> int:
        """Note a liveliness event and return how many are missing."""
        if alive_change < 0 and not_alive_change <= 0:
            self.expected += alive_change
        self.expected = max(self.expected, alive)
        return self.expected - alive


def _raise_priority() -> None:
    """Go before ordinary processes where the system allows it (as root, or with a nice limit); else go on as one."""
    with contextlib.suppress(PermissionError):
        os.nice(-VITAL_NICE)


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def read_parameters(node: Node, kind: type[P]) -> P:
    """Declare a dataclass's fields as read-only parameters and return their values; unknown ones are refused."""
    given: dict[str, Any] = node._parameter_overrides  # rclpy has no public way to list what was given
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for name in given:
        if name not in defaults and not name.startswith(("use_sim_time", "qos_overrides.")):
            raise unknown_name(f"parameter of {node.get_name()}", name, defaults)
    values: dict[str, Any] = {}
    for name, default in defaults.items():
        value = given[name].value if name in given else default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)  # `rate:=30` means 30.0
        if type(value) is not type(default):
            raise ConfigError(
                f"parameter {name} of {node.get_name()} is {value!r}; it must be {type(default).__name__}, "
                f"for example {name}:={default!r}"
            )
        node.declare_parameter(name, value, ParameterDescriptor(read_only=True), ignore_override=True)
        values[name] = value
    return kind(**values)


def run_node(make: Callable[[], RobotNode[Any]], args: Iterable[str] | None = None) -> int:
    """Run one node until it is told to stop, and return the process's exit code.

    SIGINT and SIGTERM begin one controlled stop; repeats are ignored. An error of ours is one line on stderr. Where the
    middleware does not let go of a node in time, the process ends without it, with exit code 1 and the place on stderr.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
    node: RobotNode[Any] | None = None
    try:
        node = make()
        node.told_to_stop = stopping
        _spin(node, stopping)
        if node.failure is not None:
            raise node.failure
    except RobotError as error:
        print(f"{node.get_name() if node else 'node'}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return 2
    finally:
        if node is not None:
            node.close()
        faulthandler.dump_traceback_later(LEAVE_S, exit=True)  # no thread of Python's: a hang in C may hold its lock
        if node is not None:
            node.destroy_node()
        try_shutdown()
        faulthandler.cancel_dump_traceback_later()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # Python puts its own handlers back while it ends
    return 0


def _spin(node: RobotNode[Any], stopping: threading.Event) -> None:
    parent = int(os.environ.get(PARENT, "0"))
    executor = NodeExecutor(node)
    with contextlib.suppress(KeyboardInterrupt):
        node._progress_s = time.monotonic()
        while node.context.ok() and not (stopping.is_set() or node.stopping.is_set()):
            executor.spin_once(0.1)
            node.note_progress()
            if parent and os.getppid() != parent:
                node.get_logger().error("the launcher is gone: stopping")
                break
    executor.close()
