"""A bystander that measures a running graph: how old messages are when they arrive, and how many images do.

It is subscribed as a policy is. After `seconds` it prints one JSON object and ends.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot.ros import topics
from robot.ros.client import GraphClient
from robot.ros.image_message import from_image
from robot.ros.messages import from_stamp
from robot.ros.node import NodeParameters, RobotNode, run_node
from robot.ros.topics import Topic

MARK = "measured: "
SETTLE_S = 1.5


@dataclass(frozen=True)
class ProbeParameters(NodeParameters):
    """`seconds` of measurement; `nodes` to wait for first, with commas between."""

    seconds: float = 10.0
    nodes: str = ""


class ProbeNode(RobotNode[ProbeParameters]):
    """Counts in callbacks, so that what it measures includes the hop into a busy process."""

    def __init__(self) -> None:
        super().__init__("graph_probe", ProbeParameters)
        self._ages_ms: dict[str, list[float]] = defaultdict(list)
        self._is_measuring = False
        self._watch(topics.JOINT_STATES, "joints")
        self._watch(topics.COMMAND, "commands")
        for camera in self.station.cameras:
            self._watch(topics.COLOR_IMAGE.of(camera.name), f"images_of_{camera.name}", from_image)
        self.start_thread("measure", self._measure)

    def _watch(self, topic: Topic, name: str, read: Callable[[Any], Any] = lambda _: None) -> None:
        def heard(message: Any) -> None:
            read(message)
            if self._is_measuring:
                self._ages_ms[name].append((time.time_ns() - from_stamp(message.header.stamp)) / 1e6)

        self.subscribe(topic, heard)

    def _measure(self) -> None:
        """Start an episode once everybody is there, measure while it runs, say what was found."""
        with GraphClient(self.get_namespace()) as client:
            client.wait_until_up([name for name in self.parameters.nodes.split(",") if name], 60.0)
            client.start_episode(0, autonomous=False)
            time.sleep(SETTLE_S)
            begun_s, self._is_measuring = time.monotonic(), True
            self.stopping.wait(self.parameters.seconds)
            self._is_measuring, took_s = False, time.monotonic() - begun_s
        for camera in self.station.cameras:
            self._ages_ms["images"] += self._ages_ms[f"images_of_{camera.name}"]
        due = took_s * sum(camera.rate_hz for camera in self.station.cameras)
        found: dict[str, float] = {"seconds": took_s, "frames_received": len(self._ages_ms["images"]) / due}
        for name, ages in sorted(self._ages_ms.items()):
            found[f"{name}_hz"] = len(ages) / took_s
            for q in (50, 99):
                found[f"{name}_age_p{q}_ms"] = float(np.percentile(ages, q))
        print(MARK + json.dumps(found), flush=True)
        self.stopping.set()


def main(args: Iterable[str] | None = None) -> int:
    return run_node(ProbeNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
