"""A camera whose SDK lives in a child process, because there it may block, crash and be ended without harm.

A supervising thread owns the child: it tells by the counter in shared memory whether the stream lives, and climbs the
recovery ladder where it does not. `read` judges freshness by that counter's time alone, whatever the thread does.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

from hardware.cameras.child import Child
from hardware.cameras.frame_ring import FrameRing, FrameShape
from hardware.cameras.recovery import PROCESS, REPLUG, RESET, START, Ladder, Step
from robot import errors
from robot.devices import DeviceLife, DeviceState, Features, Frame, Intrinsics
from robot.errors import ConfigError, DeviceDisconnected, DeviceNotFound, MissingDependency, RobotError
from robot.specs import CameraSpec
from robot.types import NS_PER_S

STALE_PERIODS = 5.0
POLL_S = 0.02
END_S = 2.0  # how long a child may take to let go of its device
START_STEP = Step(START, tries=1, limit_s=10.0, settle_s=3.0)
FATAL = (ConfigError, MissingDependency)  # no ladder helps against these


class ProcessCamera(DeviceLife):
    """A `robot.devices.Camera` over a `Source` in a process of its own.

    Args:
        spec: the camera of the station.
        source: `module:function` that makes the source out of the spec, in the child.
        steps: the recovery ladder.
        has_depth: whether pictures carry a depth image.
        environment: variables of the child.
        patience_s: how long `connect` waits for the first picture, with the ladder's help; a device that is not there
            at all is given up at once where this is 0.
    """

    def __init__(
        self,
        spec: CameraSpec,
        source: str,
        steps: tuple[Step, ...],
        *,
        has_depth: bool = False,
        environment: Mapping[str, str],
        patience_s: float = 15.0,
    ) -> None:
        super().__init__()
        streams = ("color", "depth") if has_depth else ("color",)
        self.features = Features("camera", streams, spec.rate_hz, (spec.height, spec.width, 3))
        self._spec, self._source, self._steps = spec, source, steps
        self._environment, self._patience_s = environment, patience_s
        self._shape = FrameShape(spec.width, spec.height, has_depth)
        self._stale_ns = round(STALE_PERIODS / spec.rate_hz * NS_PER_S)
        self._life: _Supervision | None = None
        self._frame: Frame | None = None

    @property
    def state(self) -> DeviceState:
        life = self._life
        if life is None:
            return DeviceState.DISCONNECTED
        return DeviceState.CONNECTED if self._age_ns(life) <= self._stale_ns else DeviceState.FAULT

    @property
    def intrinsics(self) -> Intrinsics | None:
        return self._life.intrinsics if self._life else None

    def connect(self) -> None:
        """Start the stream and wait for its first picture.

        Raises DeviceNotFound, DeviceDisconnected, ConfigError or MissingDependency; then nothing is left running.
        """
        if self._life is not None:
            return
        life = self._life = _Supervision(self)
        life.start()
        try:
            self._await_first_picture(life)
        except BaseException:
            self.close()
            raise

    def read(self) -> Frame:
        life = self._life
        if life is None:
            raise DeviceDisconnected(f"camera {self._spec.name} is disconnected; it must be connected")
        if self._age_ns(life) > self._stale_ns:
            raise DeviceDisconnected(life.describe_silence())
        if self._frame is None or life.ring.newest()[0] != self._frame.counter:
            newest = life.ring.read()
            assert newest is not None  # it has an age
            self._frame = newest[0]
        return self._frame

    def health(self) -> Mapping[str, object]:
        life = self._life
        if life is None:
            return {}
        return {
            **life.facts,
            "dropped": int(life.ring.notes["dropped"]),
            "repeated": int(life.ring.notes["repeated"]),
            "recoveries": life.ladder.recoveries,
            "recovery_steps": " ".join(life.ladder.tried),
            "process_restarts": life.restarts,
            "alerts": "; ".join(life.alerts),
            "complaint": life.complaint,
        }

    def close(self) -> None:
        life, self._life, self._frame = self._life, None, None
        if life is not None:
            life.stop()

    def _await_first_picture(self, life: "_Supervision") -> None:
        deadline_s = time.monotonic() + START_STEP.limit_s + self._patience_s
        while time.monotonic() < deadline_s:
            if life.ring.newest()[0]:
                return
            error = life.first_error
            if isinstance(error, FATAL) or (isinstance(error, DeviceNotFound) and not self._patience_s):
                raise error
            time.sleep(POLL_S)
        raise life.first_error or DeviceDisconnected(life.describe_silence())

    @staticmethod
    def _age_ns(life: "_Supervision") -> int:
        return time.monotonic_ns() - life.ring.newest()[1]


class _Supervision:
    """The child of one connection, watched by a thread of its own."""

    def __init__(self, camera: ProcessCamera) -> None:
        self._camera = camera
        self.ring = FrameRing(camera._shape)
        self.ladder = Ladder(camera._steps)
        self.facts: dict[str, Any] = {}
        self.alerts: list[str] = []
        self.intrinsics: Intrinsics | None = None
        self.first_error: RobotError | None = None
        self.complaint = ""
        self.restarts = -1
        self._child: Child | None = None
        self._pending: tuple[Step, float] | None = None
        self._seen = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera {camera._spec.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.ring.close()

    def describe_silence(self) -> str:
        name, rate_hz = self._camera._spec.name, self._camera._spec.rate_hz
        parts = [f"camera {name}: no new picture for {STALE_PERIODS:g} periods of {1e3 / rate_hz:.0f} ms"]
        if self.ladder.tried:
            parts.append(f"tried {', '.join(self.ladder.tried)}")
        parts += [part for part in (self.complaint, self.ladder.advice) if part]
        return "; ".join(parts)

    def _run(self) -> None:
        self._spawn(START)
        self._pending = START_STEP, time.monotonic() + START_STEP.limit_s
        try:
            while not self._stopping.is_set():
                self._hear()
                self._watch(time.monotonic())
        finally:
            if self._child is not None:
                self._child.end(END_S)

    def _hear(self) -> None:
        if self._child is None or not self._child.is_alive:
            self._stopping.wait(POLL_S)
            return
        for event in self._child.hear(POLL_S):
            if event.get("error"):
                self.complaint = event["message"]
            if event["event"] == "step":
                self._on_step(event)

    def _on_step(self, event: Mapping[str, Any]) -> None:
        """Note how a step went, and what the device said of itself when it was opened."""
        if event.get("error") and self.first_error is None:
            self.first_error = getattr(errors, event["error"], DeviceDisconnected)(event["message"])
        if event.get("facts") is not None:
            self.facts, self.alerts = event["facts"], event["alerts"]
            given = event["intrinsics"]
            self.intrinsics = Intrinsics(**{**given, "distortion": tuple(given["distortion"])}) if given else None
        if self._pending is not None:
            self.ladder.settle(self._pending[0], time.monotonic(), succeeded=event["ok"])
            self._pending = None

    def _watch(self, now_s: float) -> None:
        counter, host_ns = self.ring.newest()
        if counter > self._seen:
            self.ladder.pictures(counter - self._seen)
            self._seen, self._pending = counter, None
            return
        if self._pending is not None:
            self._watch_step(*self._pending, now_s)
        elif time.monotonic_ns() - host_ns > self._camera._stale_ns and not self._is_hopeless:
            step = self.ladder.next_step(now_s)
            if step is not None:
                self._take(step, now_s)

    @property
    def _is_hopeless(self) -> bool:
        return not self._seen and isinstance(self.first_error, FATAL)

    def _watch_step(self, step: Step, deadline_s: float, now_s: float) -> None:
        """End a child that does not come back from a step, or that is gone."""
        is_dead = self._child is None or not self._child.is_alive
        if now_s < deadline_s and not is_dead:
            return
        reason = "ended" if is_dead else f"did not come back within {step.limit_s:g} s and was ended"
        self.complaint = f"the capture process {reason} in step {step.name}"
        self._end_child(0.0)
        self._pending = None
        self.ladder.settle(step, now_s, succeeded=False)

    def _take(self, step: Step, now_s: float) -> None:
        if step.name in (PROCESS, REPLUG) or self._child is None or not self._child.is_alive:
            self._end_child(END_S if self._child and self._child.is_alive and step.name == PROCESS else 0.0)
            self._spawn(RESET if step.name == RESET else START)
        else:
            self._child.tell(step.name)
        self._pending = step, now_s + step.limit_s

    def _spawn(self, step: str) -> None:
        camera = self._camera
        self._child = Child(camera._source, camera._spec, self.ring, step, camera._environment)
        self.restarts += 1

    def _end_child(self, patience_s: float) -> None:
        if self._child is not None:
            self._child.end(patience_s)
        self._child = None
