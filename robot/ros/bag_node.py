"""Writes every topic of the graph, as it comes over the wire, into a bag (MCAP). It only listens.

A flight recorder: what trains is the episode store. `tandem data import` makes episodes of a bag again.
"""

import contextlib
import queue
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robot.errors import StoreError
from robot.ros import topics
from robot.ros.bag import BagWriter
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node
from robot.ros.qos import message_type, profile
from robot.ros.topics import Topic

POLL_S = 0.2
QUEUE_BYTES = 2**28  # waiting to be written; beyond it messages are left out and counted
DEPTH = 50


@dataclass(frozen=True)
class BagParameters(NodeParameters):
    """`folder`: where bags go, one folder per run of this node."""

    folder: str = "runs/bags"


class BagNode(RobotNode[BagParameters]):
    """Callbacks that put bytes into a queue, and the thread that writes them."""

    def __init__(self) -> None:
        super().__init__("bag", BagParameters)
        self._waiting: queue.SimpleQueue[tuple[str, int, bytes]] = queue.SimpleQueue()
        self._waiting_bytes = self._left_out = self._written = 0
        self._complaint = ""
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._bag = BagWriter(Path(self.parameters.folder) / f"{moment}-{time.time_ns() % 10**9:09}")
        for topic in wanted_topics([camera.name for camera in self.station.cameras]):
            self._listen(topic)
        self.start_thread("write", self._write)

    def _listen(self, topic: Topic) -> None:
        name = self.resolve_topic_name(topic.name)
        self._bag.add(topic, name)
        asked = replace(topic.subscribe, depth=DEPTH, deadline_s=None, lease_s=None)

        def take(data: Any) -> None:
            if self._waiting_bytes > QUEUE_BYTES:
                self._left_out += 1
                return
            self._waiting_bytes += len(data)
            self._waiting.put((name, self.now_ns(), data))

        self.create_subscription(message_type(topic.type), topic.name, take, profile(asked), raw=True)

    def _write(self) -> None:
        while not (self.stopping.is_set() and self._waiting.empty()):
            with contextlib.suppress(queue.Empty):
                name, time_ns, data = self._waiting.get(timeout=POLL_S)
                self._waiting_bytes -= len(data)
                try:
                    self._bag.write(name, time_ns, data)
                    self._written += 1
                except StoreError as error:
                    self._left_out += 1
                    self._complaint = str(error)
            if self._waiting.empty():
                self._bag.flush()
        self._bag.close()

    def diagnose(self) -> Diagnosis:
        values = {"bag": self._bag.folder, "messages": self._written, "left_out": self._left_out}
        if self._complaint:
            return Diagnosis(Level.ERROR, self._complaint, values)
        if self._left_out:
            return Diagnosis(Level.WARN, "the disk is too slow: messages were left out", values)
        return Diagnosis(values=values)


def wanted_topics(cameras: Iterable[str]) -> list[Topic]:
    """Return every topic of the table that a bag keeps, those of cameras once per camera."""
    names = list(cameras)
    kept = [topic for topic in topics.TOPICS if topic not in (topics.NODE_ALIVE,)]
    single = [topic for topic in kept if "{camera}" not in topic.name]
    return single + [topic.of(name) for topic in kept if "{camera}" in topic.name for name in names]


def main(args: Iterable[str] | None = None) -> int:
    return run_node(BagNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
