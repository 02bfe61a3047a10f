"""What each message means to the scribe: one place for the recorder, which listens, and for bags, which are read."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from robot.applied_join import Applied
from robot.depth import stored_depth
from robot.ros import topics
from robot.ros.episode_state import episode_state_from
from robot.ros.image_message import from_image
from robot.ros.messages import from_joint_state, from_json, from_operator, from_stamp, read_frame_id
from robot.ros.record_message import from_record
from robot.ros.scribe import Cameras, Scribe
from robot.ros.topics import Topic
from robot.specs import StationSpec
from robot.types import Mark

Work = Callable[[Scribe], None]


class ScribeInput:
    """Turns messages into calls of a scribe, to be made by its thread; images go to `cameras` at once.

    `now_s` is the scribe's monotonic clock [s], `now_ns` the clock of the stamps.
    """

    def __init__(
        self, station: StationSpec, cameras: Cameras, now_s: Callable[[], float], now_ns: Callable[[], int]
    ) -> None:
        self._station, self._cameras = station, cameras
        self._now_s, self._now_ns = now_s, now_ns

    def readers(self, cameras: list[str]) -> Mapping[Topic, Callable[[Any], Work | None]]:
        """Return what reads the messages of each topic; None: nothing is left to do."""
        images = {topics.COLOR_IMAGE.of(name): partial(self._image, name) for name in cameras}
        with_depth = [name for name in cameras if self._station.camera(name).has_depth]
        images |= {topics.DEPTH_IMAGE.of(name): partial(self._image, stored_depth(name)) for name in with_depth}
        return {
            topics.EPISODE_STATE: self._state,
            topics.TICK_RECORD: self._record,
            topics.COMMAND: self._command,
            topics.APPLIED_COMMAND: self._applied,
            topics.EPISODE_EVENT: self._event,
            topics.TELEOP_INPUT: self._operator,
            **images,
        }

    def _state(self, message: Any) -> Work:
        state = episode_state_from(from_json(message))
        return lambda scribe: scribe.state(state, self._now_s())

    def _record(self, message: Any) -> Work:
        return lambda scribe: scribe.record(from_record(message), self._now_s())

    def _command(self, message: Any) -> Work:
        seq = int(read_frame_id(message.header.frame_id).get("seq", -1))
        time_ns = from_stamp(message.header.stamp)
        return lambda scribe: scribe.command(seq, time_ns)

    def _applied(self, message: Any) -> Work:
        facts = read_frame_id(message.header.frame_id)
        position = from_joint_state(message, self._station.joint_names).position
        applied = Applied(int(facts.get("seq", -1)), position, int(facts.get("behind_urad", 0)) / 1e6)
        return lambda scribe: scribe.applied(applied)

    def _event(self, message: Any) -> Work:
        event = from_json(message)
        time_ns = int(event.get("time_ns", self._now_ns()))
        return lambda scribe: scribe.event(time_ns, event)

    def _operator(self, message: Any) -> Work | None:
        packet = from_operator(message)
        if packet.mark is Mark.NONE:
            return None
        label = {"mark": packet.mark, "device": packet.device}
        if packet.mark is Mark.WENT_WRONG:
            label |= {"back_s": packet.mark_back_s}
        return lambda scribe: scribe.event(packet.time_ns, label)

    def _image(self, camera: str, message: Any) -> None:
        time_ns, image = from_image(message)
        self._cameras.add(camera, time_ns, image)
