"""Records every episode of the graph into an episode store. It only listens: nothing ever waits for it.

Callbacks put references into a queue; one thread joins, encodes and writes, another seals ended episodes. Killed at
any moment it has lost less than a second; when it comes back while an episode runs it goes on in an episode of its own,
named after the first.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from robot.applied_join import AppliedJoin
from robot.depth import stored_images
from robot.episode_store import EpisodeStore
from robot.errors import StaleObservation, StoreError
from robot.motion import make_action_space
from robot.observation import StreamLimits
from robot.ros import topics
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node
from robot.ros.scribe import Cameras, Scribe
from robot.ros.scribe_input import ScribeInput, Work
from robot.ros.topics import IMAGE, Topic
from robot.types import EndReason

POLL_S = 0.05
DEPTH = 64  # of all but images: a setpoint that a busy moment drops would be missing in what was executed
IMAGES_KEPT_S = 0.7
SEAL_NICE = 10
READY_PERIOD_S = 0.2


@dataclass(frozen=True)
class RecorderParameters(NodeParameters):
    """`store`: the folder of the episode store. `cameras`: names with commas between, `all`, or empty for none."""

    store: str = "runs/episodes"
    cameras: str = "all"


class RecorderNode(RobotNode[RecorderParameters]):
    """Callbacks, and the two threads behind them. The arm moves only once this one can write what it does."""

    announces_at_once = False

    def __init__(self) -> None:
        super().__init__("recorder", RecorderParameters)
        names = [camera.name for camera in self.station.cameras]
        wanted = self.parameters.cameras
        chosen = names if wanted == "all" else [name.strip() for name in wanted.split(",") if name.strip()]
        age_s = StreamLimits().camera_age_s
        self._cameras = Cameras(dict.fromkeys(stored_images(self.station, chosen), age_s), IMAGES_KEPT_S)
        self._work: queue.SimpleQueue[tuple[float, Work]] = queue.SimpleQueue()  # with the time it was heard at
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._join = AppliedJoin(make_action_space(self.station).from_joints)
        self._scribe: Scribe | None = None
        self._opened, self._written = threading.Event(), threading.Event()
        self._sealed, self._seal_complaint = 0, ""
        self._heard: set[str] = set()  # names of topics
        given = ScribeInput(self.station, self._cameras, time.monotonic, self.now_ns)
        for topic, read in given.readers(chosen).items():
            self._listen(topic, read)
        self._readiness = self.create_timer(READY_PERIOD_S, self._announce_when_ready)
        self.start_thread("write", self._write)
        self.start_thread("seal", self._seal)

    def _announce_when_ready(self) -> None:
        """Be counted as alive once the store is open and both ends of the ticks' topic know each other."""
        knows_episode = topics.EPISODE_STATE.name in self._heard
        if self._opened.is_set() and knows_episode and self.count_publishers(topics.TICK_RECORD.name):
            self.destroy_timer(self._readiness)
            self.announce()

    def _listen(self, topic: Topic, read: Callable[[Any], Work | None]) -> None:
        def take(message: Any) -> None:
            self._heard.add(topic.name)
            work = read(message)
            if work is not None:
                self._work.put((time.monotonic(), work))

        asked = topic.publish if self.is_barrier else topic.subscribe
        depth = asked.depth if topic.type == IMAGE else max(asked.depth, DEPTH)
        self.subscribe(topic, take, replace(asked, depth=depth))

    def _write(self) -> None:
        """Open the store, which seals what a crash left open, then write until the node stops."""
        store = EpisodeStore(self.parameters.store)
        scribe = Scribe(store, self.station, self._join, self._cameras, self._ended.put)
        self._store, self._scribe = store, scribe
        self._opened.set()
        while not (self.stopping.is_set() and self._work.empty()):
            try:
                heard_s, work = self._work.get(timeout=POLL_S)
            except queue.Empty:
                heard_s = time.monotonic()
            else:
                work(scribe)
            # What was heard later and still waits may say more of a tick: until then no patience is over.
            scribe.flush(heard_s)
        scribe.finish(EndReason.OPERATOR_ABORT, time.monotonic())
        self._written.set()

    def _seal(self) -> None:
        """Turn ended journals into sealed episodes, with less right to the processor than all else."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), SEAL_NICE)
        self._opened.wait()
        while not (self._written.is_set() and self._ended.empty()):
            try:
                episode_id = self._ended.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                info = self._store.seal(episode_id)
            except StoreError as error:
                self._seal_complaint = str(error)
                self.get_logger().error(str(error))
                continue
            self._sealed += 1
            self.get_logger().info(f"episode {episode_id}: {info.steps} steps, {info.end_reason.name.lower()}")

    def diagnose(self) -> Diagnosis:
        scribe = self._scribe
        if scribe is None:
            return Diagnosis(Level.WARN, "the store is being opened")
        values = {
            "episode": scribe.episode_id,
            "episodes": scribe.episodes,
            "sealed": self._sealed,
            "ticks": scribe.ticks,
            "failed_writes": scribe.failed,
            "changed_by_arm": self._join.changed,
            "without_applied": self._join.unmatched,
            "queue": self._work.qsize(),
        }
        if scribe.complaint or self._seal_complaint:
            return Diagnosis(Level.ERROR, scribe.complaint or self._seal_complaint, values)
        try:
            self._cameras.check_ages(self.now_ns())
        except StaleObservation as stale:
            return Diagnosis(Level.WARN, str(stale), values)
        return Diagnosis(values=values)


def main(args: Iterable[str] | None = None) -> int:
    return run_node(RecorderNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
