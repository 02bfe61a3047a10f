"""The operator page in the graph: shows the robot to a browser and publishes `teleop/input` while a page steers.

Each packet of the page becomes one `teleop/input` message at once (20 a second), and nothing is repeated in the page's
silence: the arbiter's own watchdog sees it.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from robot.errors import ConfigError
from robot.images import encode_image
from robot.motion import make_kinematics
from robot.operator.door import PORT, is_loopback, open_door
from robot.operator.server import Frame, OperatorPage, PageServer
from robot.operator.session import OperatorSession, Seen
from robot.record import Clip
from robot.ros import topics
from robot.ros.image_message import from_image
from robot.ros.messages import MessageRefused, from_joint_state, from_json, to_json, to_operator
from robot.ros.node import Diagnosis, NodeParameters, RobotNode, run_node
from robot.ros.record_message import from_record
from robot.ros.topics import Topic
from robot.types import NS_PER_S, OperatorInput, RobotState

JPEG_QUALITY = 80
INSIST_S = 5.0  # for how long a stop is asked for again until the arm shows it
SHOWN_S = 0.5  # what is older is not shown as the robot's state
T = TypeVar("T")
SERVICES = {"stop": topics.SAFETY_STOP, "reset": topics.SAFETY_RESET, "end": topics.EPISODE_STOP}


@dataclass(frozen=True)
class PageParameters(NodeParameters):
    """A host other than this machine's loopback always asks for a token; "" draws one. Port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""


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
        self._kinematics = make_kinematics(self.station)
        self._grippers = [joints.stop - 1 for joints in self.station.joint_slices]
        self._author: dict[str, Any] = {}
        self._episode: dict[str, Any] = {}
        self._safety = ""
        self._message = (0, "")
        self._images = {name: Newest(self, topics.COLOR_IMAGE.of(name), from_image) for name in self.cameras}
        self._frames: dict[str, Frame] = {}
        self._locks = {name: threading.Lock() for name in self.cameras}
        self._joints = Newest(self, topics.JOINT_STATES, self._to_robot)
        self._records = Newest(self, topics.TICK_RECORD, from_record)
        self.subscribe(topics.AUTHOR, lambda message: setattr(self, "_author", from_json(message)))
        self.subscribe(topics.EPISODE_STATE, lambda message: setattr(self, "_episode", from_json(message)))
        self.subscribe(topics.SAFETY_STATE, lambda message: setattr(self, "_safety", message.data))
        self._inputs = self.publisher(topics.TELEOP_INPUT)
        self._episodes = self.publisher(topics.EPISODE_COMMAND)
        self._callers = {name: self.client(service) for name, service in SERVICES.items()}
        self._sent, self._encoded = 0, 0
        self._insist_until_s = 0.0
        self.create_timer(0.1, self._insist)
        self._server = self._open()

    def _open(self) -> PageServer:
        given = self.parameters
        session = OperatorSession(self.station, first_seq=time.time_ns() // 1_000_000)  # rises over restarts
        page = OperatorPage(self, session, open_door(given.host, given.port, given.token))
        server = PageServer(page).__enter__()
        print(f"operator page: {server.door.address}", flush=True)
        if not is_loopback(given.host):
            self.get_logger().warning("the page speaks plain HTTP: open it to other machines on a trusted network only")
        return server

    def close(self) -> None:
        self._server.__exit__()
        super().close()

    def seen(self) -> Seen:
        joints = self._joints.read(SHOWN_S)
        grippers_m = () if joints is None else tuple(joints.position[self._grippers].tolist())
        return Seen(str(self._author.get("mode", "")), str(self._episode.get("phase", "")), grippers_m)

    def state(self) -> Mapping[str, Any]:
        now_ns, joints = self.now_ns(), self._joints.read(SHOWN_S)
        return {
            "author": self._author or None,
            "owner_s": (now_ns - int(self._author.get("since_ns", now_ns))) / NS_PER_S,
            "safety": self._safety,
            "episode": self._episode or None,
            "episode_s": (now_ns - int(self._episode.get("start_ns", now_ns))) / NS_PER_S,
            "tcp_m": None if joints is None else self._kinematics.tcp_position(joints.position),
            "gripper_m": None if joints is None else joints.position[self._grippers],  # of each side, as `tcp_m`
            "clips": self._clips(),
            "message": self._message,
        }

    def _to_robot(self, message: Any) -> RobotState:
        return from_joint_state(message, self.station.joint_names)

    def _clips(self) -> list[str]:
        """Return what the safety filter did in the newest tick."""
        record = self._records.read(SHOWN_S)
        return (
            [] if record is None else [clip.name.lower() for clip in Clip if clip & record.safety_clips and clip.name]
        )

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

    def command(self, name: str) -> None:
        self.get_logger().info(f"the page asks for: {name}")
        if name in ("start", "demonstrate"):
            self._episodes.publish(to_json({"command": "start", "autonomous": name == "start"}))
            return
        if name in ("stop", "reset"):
            self._insist_until_s = time.monotonic() + INSIST_S if name == "stop" else 0.0
        self._call(name)

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
        return Diagnosis(values={"packets": self._sent, "images_encoded": self._encoded})


def main(args: Iterable[str] | None = None) -> int:
    return run_node(PageNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
