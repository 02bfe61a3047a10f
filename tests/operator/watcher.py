"""A node beside the graph that only listens: what the arm did, who decided, which episode runs."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from robot.kinematics.arm import ArmKinematics
from robot.ros import topics
from robot.ros.messages import from_joint_state, from_json
from robot.ros.qos import message_type, profile
from robot.ros.topics import Topic
from robot.specs import StationSpec


class Watcher:
    """Spun by a thread of its own; the context manager starts and ends it."""

    def __init__(self, station: StationSpec, domain_id: int) -> None:
        self.authors: deque[tuple[float, dict[str, Any]]] = deque(maxlen=100)
        self.episode: dict[str, Any] = {}
        self.safety = ""
        self.joints: Any = None
        self._station, self._kinematics = station, ArmKinematics(station)
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("watcher", context=self._context)
        self._listen(topics.AUTHOR, lambda message: self.authors.append((time.monotonic(), from_json(message))))
        self._listen(topics.EPISODE_STATE, lambda message: setattr(self, "episode", from_json(message)))
        self._listen(topics.SAFETY_STATE, lambda message: setattr(self, "safety", message.data))
        self._listen(topics.JOINT_STATES, self._on_joints)
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._context.try_shutdown()
        self._thread.join(3.0)

    @property
    def author(self) -> dict[str, Any]:
        return self.authors[-1][1]

    @property
    def author_at_s(self) -> float:
        """Return when the newest word of the arbiter came [s, monotonic]."""
        return self.authors[-1][0]

    @property
    def tcp_m(self) -> np.ndarray:
        return self._kinematics.tcp_position(self.joints.position)

    @property
    def gripper_m(self) -> float:
        return float(self.joints.position[-1])

    def _listen(self, topic: Topic, callback: Callable[[Any], None]) -> None:
        self._node.create_subscription(message_type(topic.type), topic.name, callback, profile(topic.subscribe))

    def _on_joints(self, message: Any) -> None:
        self.joints = from_joint_state(message, self._station.joint_names)

    def _spin(self) -> None:
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)
        try:
            while self._context.ok():
                executor.spin_once(timeout_sec=0.1)
        except ExternalShutdownException:
            return
