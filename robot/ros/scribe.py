"""What the recorder writes and when: one open episode, ticks joined with what was applied, images encoded."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from robot.applied_join import Applied, AppliedJoin
from robot.episode_store import EpisodeStore, EpisodeWriter
from robot.errors import StoreError
from robot.images import encode_for_store
from robot.observation import Stream
from robot.record import TickRecord
from robot.ros.episode_state import EpisodeState
from robot.specs import StationSpec
from robot.types import EndReason

LINGER_S = 0.4  # an episode that was stopped still takes the records on their way
EARLY_KEPT = 64


class Cameras:
    """The newest images of each camera; filled by one thread and read by another."""

    def __init__(self, names: Mapping[str, float], buffer_s: float) -> None:
        self._lock = threading.Lock()
        self._streams = {name: Stream(f"camera {name}", age_s, buffer_s) for name, age_s in names.items()}

    def add(self, camera: str, time_ns: int, image: np.ndarray) -> None:
        with self._lock:
            self._streams[camera].add(time_ns, image)

    def seen_at(self, time_ns: int) -> dict[str, tuple[np.ndarray, int]]:
        """Return each camera's newest image that existed at a time and was not too old then, with its stamp."""
        with self._lock:
            found = {name: (stream.at_or_before(time_ns), stream.max_age_ns) for name, stream in self._streams.items()}
        return {name: item for name, (item, max_age_ns) in found.items() if item and time_ns - item[1] <= max_age_ns}

    def check_ages(self, now_ns: int) -> None:
        """Raise StaleObservation for a camera that is silent or frozen."""
        with self._lock:
            for stream in self._streams.values():
                stream.check_age(now_ns)


class Scribe:
    """Called from one thread. Times are its monotonic clock [s]; `seal` is given the name of every ended episode."""

    def __init__(
        self,
        store: EpisodeStore,
        station: StationSpec,
        join: AppliedJoin,
        cameras: Cameras,
        seal: Callable[[str], None],
    ) -> None:
        self._store, self._station, self._seal = store, station, seal
        self._join, self._cameras = join, cameras
        self._state = EpisodeState()
        self._writer: EpisodeWriter | None = None
        self._early: deque[TickRecord] = deque(maxlen=EARLY_KEPT)
        self._ending: tuple[float, EndReason] | None = None
        self._stored_ns: dict[str, int] = {}
        self.episodes = self.ticks = self.failed = 0
        self.complaint = ""

    @property
    def episode_id(self) -> str:
        """Return the name of the episode being written, empty between episodes."""
        return self._writer.episode_id if self._writer else ""

    def state(self, state: EpisodeState, now_s: float) -> None:
        """Open or end an episode as the episode machine says."""
        if state.phase == "running" and state.id != self._state.id:
            self.finish(self._ending[1] if self._ending else EndReason.CRASH, now_s)
            self._state = state
            self._open(now_s)
        elif state.phase == "ended" and state.id == self._state.id:
            self._ending = (now_s + LINGER_S, EndReason[state.end_reason.upper()])

    def record(self, record: TickRecord, now_s: float) -> None:
        if self._writer is None:
            self._early.append(record)  # perhaps of an episode that we have not heard of yet
        elif record.tick_time_ns >= self._state.start_ns:
            self._join.add_record(record, now_s)

    def applied(self, applied: Applied) -> None:
        self._join.add_applied(applied)

    def command(self, seq: int, tick_time_ns: int) -> None:
        self._join.add_command(seq, tick_time_ns)

    def event(self, time_ns: int, payload: Mapping[str, Any]) -> None:
        """Note a label; between episodes there is nothing to label."""
        if self._writer is not None:
            self._attempt(lambda writer: writer.event(time_ns, payload))

    def flush(self, now_s: float, *, everything: bool = False) -> None:
        """Write what is complete, and end an episode that is over."""
        for record in self._join.ready(now_s, everything=everything):
            self._write(record)
            if record.terminated or record.truncated:
                self._close(record.end_reason)
        if self._ending is not None and now_s > self._ending[0]:
            self.finish(self._ending[1], now_s)

    def finish(self, reason: EndReason, now_s: float) -> None:
        """Write what is left and end the open episode, if there is one."""
        self._ending = None
        self.flush(now_s, everything=True)
        self._close(reason)

    def _open(self, now_s: float) -> None:
        state = self._state
        name, part = state.id, 1
        while any(self._store.root.glob(f"*/{name}.*")):  # recorded so far by a recorder that died
            part += 1
            name = f"{state.id}-{part}"
        metadata = {
            **state.metadata,
            "station": self._station.name,
            "task": state.task,
            "seed": state.seed,
            "autonomous": state.autonomous,
            "control_rate_hz": self._station.control_rate_hz,
            "part": part,
        }
        try:
            self._writer = self._store.open_episode(metadata, episode_id=name)
        except StoreError as error:
            self.complaint = str(error)
            return
        self.episodes += 1
        self.complaint = ""
        self._stored_ns = {}
        for record in self._early:
            self.record(record, now_s)
        self._early.clear()

    def _write(self, record: TickRecord) -> None:
        times, images = dict(record.stream_times_ns), {}
        for camera, (image, stamp_ns) in self._cameras.seen_at(record.observation_time_ns).items():
            times[f"image/{camera}"] = stamp_ns
            if stamp_ns != self._stored_ns.get(camera):
                self._stored_ns[camera] = stamp_ns
                images[camera] = encode_for_store(image, self._station.images)
        complete = replace(record, stream_times_ns=times)
        if self._attempt(lambda writer: writer.append(complete, images)):
            self.ticks += 1

    def _attempt(self, write: Callable[[EpisodeWriter], None]) -> bool:
        if self._writer is None:
            return False
        try:
            write(self._writer)
        except StoreError as error:  # what was written is kept, and there may be room again
            self.failed += 1
            self.complaint = str(error)
            return False
        return True

    def _close(self, reason: EndReason) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.finish(reason)
        except StoreError as error:
            self.complaint = str(error)
        self._seal(writer.episode_id)
