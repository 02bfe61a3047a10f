"""The operator page in the graph: shows the robot to a browser and publishes `teleop/input` while a page steers.

Each packet of the page becomes one `teleop/input` message at once (20 a second), and nothing is repeated in the page's
silence: the arbiter's own watchdog sees it.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from robot.errors import ConfigError
from robot.gripper_specs import JawSpec
from robot.images import encode_image
from robot.operator.cell_view import CellView, Placed
from robot.operator.door import PORT, is_loopback, open_door
from robot.operator.library import Library
from robot.operator.library_routes import Shelves
from robot.operator.re_recording import ReRecording
from robot.operator.server import Frame, OperatorPage, PageServer
from robot.operator.session import OperatorSession, Seen
from robot.operator.shift import Shift
from robot.outcome_labels import WITHDRAWN, add_label
from robot.record import Clip, TickRecord
from robot.ros import topics
from robot.ros.image_message import from_image
from robot.ros.messages import MessageRefused, from_joint_state, from_json, to_json, to_operator
from robot.ros.node import Diagnosis, NodeParameters, RobotNode, run_node
from robot.ros.record_message import from_record
from robot.ros.topics import Topic
from robot.types import NS_PER_S, Mark, OperatorInput, RobotState

JPEG_QUALITY = 80
INSIST_S = 5.0  # for how long a stop is asked for again until the arm shows it
SHOWN_S = 0.5  # what is older is not shown as the robot's state
NOTE_PERIOD_S = 0.05
LOOP = ("late_p50_ms", "late_p99_ms", "overruns", "chunk_age_ms")  # of the arbiter's diagnostics
# What a policy says of itself.
SAID = ("success_probability", "success", "doubt", "uncertainty", "q_mean", "q_std", "takeover_risk", "warning")
AGE = "learner/parameter_age_s"  # the group of a served policy
T = TypeVar("T")
SERVICES = {"stop": topics.SAFETY_STOP, "reset": topics.SAFETY_RESET, "end": topics.EPISODE_STOP}


@dataclass(frozen=True)
class PageParameters(NodeParameters):
    """A host other than this machine's loopback always asks for a token; "" draws one. Port 0 takes any free one.

    `store` is the folder of the episodes to show, `demonstrations` that of those to be near to (the same by default),
    `runs` that of the learning curves.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""
    store: str = ""
    demonstrations: str = ""
    runs: str = ""


class Newest(Generic[T]):
    """The newest message of a topic, converted only when somebody asks for it; `seq` counts those that came."""

    def __init__(self, node: RobotNode[Any], topic: Topic, convert: Callable[[Any], T]) -> None:
        self.seq = 0
        self._node, self._topic, self._convert = node, topic, convert
        self._message: Any = None
        self._at_s = 0.0
        node.subscribe(topic, self._keep)

    def _keep(self, message: Any) -> None:
        self._message, self._at_s, self.seq = message, time.monotonic(), self.seq + 1

    def read(self, max_age_s: float = math.inf) -> T | None:
        """Return what the message says; None where none came in time, or where it cannot be used."""
        if self._message is None or time.monotonic() - self._at_s > max_age_s:
            return None
        try:
            return self._convert(self._message)
        except MessageRefused as refusal:
            self._node.refuse(self._topic.name, refusal)
            return None


class PageNode(RobotNode[PageParameters]):
    """The page's cockpit (`robot.operator.server.Cockpit`), the executor beside the web server's own thread."""

    def __init__(self) -> None:
        super().__init__("page", PageParameters)
        if self.is_barrier:
            raise ConfigError("the page is for people, who cannot step with a barrier: use step_mode:=realtime")
        self.cameras = [camera.name for camera in self.station.cameras]
        given = self.parameters
        demonstrations = given.demonstrations or given.store
        self.view = CellView(self.station, Path(demonstrations) if demonstrations else None)
        self._shift = Shift()
        self._loop: dict[str, float] = {}
        self._author: dict[str, Any] = {}
        self._episode: dict[str, Any] = {}
        self._safety = ""
        self._message = (0, "")
        self._re_recording = ReRecording()
        self._images = {name: Newest(self, topics.COLOR_IMAGE.of(name), from_image) for name in self.cameras}
        self._frames: dict[str, Frame] = {}
        self._locks = {name: threading.Lock() for name in self.cameras}
        self._joints = Newest(self, topics.JOINT_STATES, self._to_robot)
        self._applied = Newest(self, topics.APPLIED_COMMAND, self._to_robot)
        self._records = Newest(self, topics.TICK_RECORD, from_record)
        self.subscribe(topics.AUTHOR, lambda message: setattr(self, "_author", from_json(message)))
        self.subscribe(topics.EPISODE_STATE, self._on_episode)
        self.subscribe(topics.DIAGNOSTICS, self._on_diagnostics)
        self.subscribe(topics.SAFETY_STATE, lambda message: setattr(self, "_safety", message.data))
        self._inputs = self.publisher(topics.TELEOP_INPUT)
        self._episodes = self.publisher(topics.EPISODE_COMMAND)
        self._callers = {name: self.client(service) for name, service in SERVICES.items()}
        self._sent, self._encoded = 0, 0
        self._insist_until_s = 0.0
        self.create_timer(0.1, self._insist)
        self.create_timer(NOTE_PERIOD_S, self._note)
        self._server = self._open()

    def _open(self) -> PageServer:
        given = self.parameters
        first_seq = time.time_ns() // 1_000_000  # rises over restarts
        session = OperatorSession(self.station, first_seq=first_seq, rewind=self.view.rewind)
        library = Library(Path(given.store), self.view.figure) if given.store else None
        shelves = Shelves(library, Path(given.runs) if given.runs else None, self.view.aid)
        self._page = OperatorPage(self, session, open_door(given.host, given.port, given.token), shelves)
        server = PageServer(self._page).__enter__()
        print(f"operator page: {server.door.address}", flush=True)
        if not is_loopback(given.host):
            self.get_logger().warning("the page speaks plain HTTP: open it to other machines on a trusted network only")
        return server

    def close(self) -> None:
        self._server.__exit__()
        super().close()

    def seen(self) -> Seen:
        placed, applied = self._placed(self._joints), self._placed(self._applied)
        commanded = applied or placed
        return Seen(
            mode=str(self._author.get("mode", "")),
            phase=str(self._episode.get("phase", "")),
            episode=str(self._episode.get("id", "")),
            grippers_m=self._grippers(),
            tcps_m=commanded.tcps_m if commanded else (),
            tool_rotations=placed.rotations if placed else (),
            camera_rotation=self.view.projection.level_rotation if self.view.projection else None,
        )

    def facts(self) -> Mapping[str, Any]:
        view, sides = self.view.projection, self.station.sides
        return {
            "station": self.station.name,
            "turns": any(side.action.space == "joint_position" for side in sides),
            "camera_frame": view.name if view else "",
            "grippers": [
                [*side.gripper.joint_limits, "rad" if isinstance(side.gripper, JawSpec) else "m"] for side in sides
            ],
        }

    def state(self) -> Mapping[str, Any]:
        now_ns, now_s = self.now_ns(), time.monotonic()
        placed, record = self._placed(self._joints), self._records.read(SHOWN_S)
        return {
            "author": self._author or None,
            "owner_s": (now_ns - int(self._author.get("since_ns", now_ns))) / NS_PER_S,
            "safety": self._safety,
            "episode": self._episode or None,
            "episode_s": (now_ns - int(self._episode.get("start_ns", now_ns))) / NS_PER_S,
            "tcp_m": np.concatenate(placed.tcps_m) if placed else None,
            "figure": placed.lines if placed else None,
            "familiar": self.view.familiar(placed.tcps_m[0]) if placed else None,
            "gripper_m": self._grippers() or None,  # of each side, as `tcp_m`
            "clips": _clips(record),
            "policy": _of_policy(record),
            "loop": self._loop or None,
            "shift": {
                "takeovers": self._shift.takeovers,
                "driving_s": self._shift.driving_s,
                "per_minute": self._shift.per_minute(now_s),
                "rest_is_due": self._shift.rest_is_due(now_s),
            },
            "message": self._message,
        }

    def _placed(self, newest: "Newest[RobotState]") -> Placed | None:
        state = newest.read(SHOWN_S)
        return None if state is None else self.view.place(state.position)

    def _grippers(self) -> tuple[float, ...]:
        joints = self._joints.read(SHOWN_S)
        places = [joints.stop - 1 for joints in self.station.joint_slices]
        return () if joints is None else tuple(joints.position[places].tolist())

    def _note(self) -> None:
        """Keep the way that the arm comes, and who drives it; begin what is to be recorded anew."""
        if self._re_recording.is_due(time.monotonic()):
            self._begin_anew()
        applied = self._applied.read(SHOWN_S)
        if applied is not None and self._episode.get("phase") != "reset":
            self.view.note(time.monotonic(), applied.position)
        mode = str(self._author.get("mode", ""))
        intervention = self._author.get("intervention_id"), self._episode.get("id")
        self._shift.note(time.monotonic(), is_human=mode.startswith("human"), intervention=intervention)

    def _on_episode(self, message: Any) -> None:
        self._episode = from_json(message)
        if self._episode.get("phase") == "reset":
            self.view.forget_way()
        self._re_recording.hear(self._episode, time.monotonic())

    def _begin_anew(self) -> None:
        """Start again from the scene of the episode that was thrown away; who started it elsewhere does so there."""
        thrown = self._episode
        if (thrown.get("metadata") or {}).get("started_by") != "page":
            return
        if not self.station.is_simulated:
            self._say("re-record: put the scene back as it was, then start the next one")
            return
        self._start(autonomous=bool(thrown.get("autonomous")), seed=thrown.get("seed"))

    def _start(self, *, autonomous: bool, seed: int | None = None) -> None:
        """Ask for an episode that says who started it; without a seed one is drawn."""
        asked = {"command": "start", "autonomous": autonomous, "seed": seed, "metadata": {"started_by": "page"}}
        self._episodes.publish(to_json(asked))

    def _on_diagnostics(self, message: Any) -> None:
        arbiter = f"{self.get_namespace().rstrip('/')}/arbiter"
        for status in message.status:
            if status.name == arbiter:
                self._loop = {item.key: float(item.value) for item in status.values if item.key in LOOP}

    def _to_robot(self, message: Any) -> RobotState:
        return from_joint_state(message, self.station.joint_names)

    def frame(self, camera: str, after: int) -> Frame | None:
        newest = self._images[camera]
        if newest.seq <= after:
            return None
        with self._locks[camera]:
            frame = self._frames.get(camera)
            if frame is None or frame.seq < newest.seq:
                frame = self._encode(newest)
                if frame is not None:
                    self._frames[camera] = frame
        return frame

    def _encode(self, newest: Newest[tuple[int, np.ndarray]]) -> Frame | None:
        seq, found = newest.seq, newest.read()
        if found is None:
            return None
        captured_s = time.monotonic() - (self.now_ns() - found[0]) / NS_PER_S
        self._encoded += 1
        return Frame(seq, captured_s, encode_image(found[1], jpeg_quality=JPEG_QUALITY))

    def time_ns(self) -> int:
        return self.now_ns()

    def send(self, packet: OperatorInput) -> None:
        self._inputs.publish(to_operator(packet))
        self._sent += 1
        if packet.mark is Mark.RERECORD:
            self._re_recording.ask(self._episode)

    def command(self, name: str) -> None:
        self.get_logger().info(f"the page asks for: {name}")
        if name in ("start", "demonstrate"):
            self._start(autonomous=name == "start")
            return
        if name in ("stop", "reset"):
            self._insist_until_s = time.monotonic() + INSIST_S if name == "stop" else 0.0
        self._call(name)

    def withdraw(self, episode_id: str) -> None:
        self._re_recording.forget(episode_id)
        if not self.parameters.store:
            self._say("undo: nothing is recorded, so there is no label to take back")
            return
        add_label(Path(self.parameters.store), episode_id, WITHDRAWN, "page")
        self._say(f"{episode_id}: its label is taken back; Episodes has a new one for it")

    def _insist(self) -> None:
        is_due = time.monotonic() < self._insist_until_s and self._safety != "latched"
        if is_due and self._callers["stop"].service_is_ready():
            self._call("stop")

    def _call(self, name: str) -> None:
        client = self._callers[name]
        if not client.service_is_ready():
            self._say(f"{name}: nobody offers {SERVICES[name]}; is its process running?")
            return
        client.call_async(self.trigger_request()).add_done_callback(lambda answer: self._answered(name, answer))

    def _answered(self, name: str, answer: Any) -> None:
        response = answer.result()
        if response is None or not response.success:
            self._say(f"{name} was refused: {response.message if response else 'no answer'}")

    def _say(self, text: str) -> None:
        self._message = (self._message[0] + 1, text)
        self.get_logger().warning(text)

    def diagnose(self) -> Diagnosis:
        refused = {f"refused_{what}": count for what, count in self._page.refused.copy().items()}
        return Diagnosis(values={"packets": self._sent, "images_encoded": self._encoded, **refused})


def _clips(record: TickRecord | None) -> list[str]:
    """Return what the safety filter did in a tick."""
    return [] if record is None else [clip.name.lower() for clip in Clip if clip & record.safety_clips and clip.name]


def _of_policy(record: TickRecord | None) -> dict[str, Any] | None:
    """Return what the policy of a tick says of itself: version, age of its weights, and of `SAID` what it published."""
    if record is None or record.chunk_id < 0:
        return None
    numbers = {name: np.asarray(value) for name, value in record.groups.items()}
    said = {name.rpartition("/")[2]: value.item() for name, value in numbers.items() if value.size == 1}
    age = numbers[AGE].item() if AGE in numbers and numbers[AGE].size == 1 else None
    return {"version": record.policy_version, "age_s": age, "said": {key: said[key] for key in SAID if key in said}}


def main(args: Iterable[str] | None = None) -> int:
    return run_node(PageNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
