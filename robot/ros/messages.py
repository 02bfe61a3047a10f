"""Between ROS messages and Tandem's values: pure functions, no node needed.

Joints and actions are mapped by name, never by order. What cannot be used raises `MessageRefused`, whose `kind` is
what diagnostics count.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from robot.errors import ActionRejected
from robot.policy import ActionChunk
from robot.ros.missing import missing_ros
from robot.specs import StationSpec
from robot.types import (
    CELL_FRAME,
    NS_PER_S,
    TOOL_FRAME,
    Array,
    Command,
    Mark,
    OperatorInput,
    Owner,
    OwnerRequest,
    RobotState,
)

try:
    from builtin_interfaces.msg import Duration, Time
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Bool, Header, String, UInt64
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
except ImportError as error:
    raise missing_ros(error) from None


MAX_TEXT = 256  # of what an operator device says of itself
MAX_JOINTS = 32


class MessageRefused(ActionRejected):
    """A message that cannot be used; `kind` is one of the counters in diagnostics."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def to_stamp(time_ns: int) -> Time:
    return Time(sec=time_ns // NS_PER_S, nanosec=time_ns % NS_PER_S)


def from_stamp(stamp: Time) -> int:
    """Return the time [ns]."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def to_duration(duration_ns: int) -> Duration:
    return Duration(sec=duration_ns // NS_PER_S, nanosec=duration_ns % NS_PER_S)


def from_duration(duration: Duration) -> int:
    """Return the duration [ns]."""
    return duration.sec * NS_PER_S + duration.nanosec


def to_joint_state(
    names: Sequence[str], time_ns: int, position: Array, velocity: Array | None = None, frame_id: str = ""
) -> JointState:
    message = JointState(name=list(names), position=position.tolist())
    message.header = Header(stamp=to_stamp(time_ns), frame_id=frame_id)
    if velocity is not None:
        message.velocity = velocity.tolist()
    return message


def from_joint_state(message: JointState, names: Sequence[str]) -> RobotState:
    """Return the joints called `names`, in that order; other joints of the message are ignored."""
    index = name_index(list(message.name), names, allow_more=True)
    position = np.asarray(message.position)
    velocity = np.asarray(message.velocity) if len(message.velocity) else np.zeros(len(position))
    if len(position) != len(message.name) or len(velocity) != len(message.name):
        raise MessageRefused(
            "incomplete", f"{len(message.name)} names with {len(position)} positions and {len(velocity)} velocities"
        )
    if not (np.isfinite(position).all() and np.isfinite(velocity).all()):
        raise MessageRefused("not_finite", "a joint state holds values that are not finite")
    return RobotState(from_stamp(message.header.stamp), position[index], velocity[index])


def to_object_state(time_ns: int, values: Array) -> JointState:
    return to_joint_state([f"object_{i}" for i in range(len(values))], time_ns, values)


def from_object_state(message: JointState) -> tuple[int, Array]:
    """Return time [ns] and the task's object state."""
    return from_stamp(message.header.stamp), np.array(message.position)


def name_index(given: Sequence[str], wanted: Sequence[str], *, allow_more: bool = False) -> list[int]:
    """Return where each wanted name stands among the given ones; refuse missing, double and unknown names."""
    places = {name: i for i, name in enumerate(given)}
    missing = [name for name in wanted if name not in places]
    if missing:
        raise MessageRefused("incomplete", f"missing {', '.join(missing)}; given: {', '.join(given) or 'none'}")
    unknown = [name for name in given if name not in wanted]
    if len(places) != len(given) or (unknown and not allow_more):
        raise MessageRefused("wrong_names", f"given {', '.join(given)}; allowed, each once: {', '.join(wanted)}")
    return [places[name] for name in wanted]


def to_command(command: Command, names: Sequence[str], period_ns: int, episode: str = "") -> JointTrajectory:
    """Return the command's message; `episode` is the one the arbiter has begun."""
    facts = frame_id(seq=command.seq, owner=command.owner.name.lower(), episode=episode)
    point = JointTrajectoryPoint(positions=command.position.tolist(), time_from_start=to_duration(period_ns))
    header = Header(stamp=to_stamp(command.time_ns), frame_id=facts)
    return JointTrajectory(header=header, joint_names=list(names), points=[point])


def from_command(message: JointTrajectory, names: Sequence[str]) -> Command:
    """Return the command in the order of `names`; a value that is not finite is left to the safety filter."""
    index, points = name_index(list(message.joint_names), names), list(message.points)
    if len(points) != 1 or len(points[0].positions) != len(index):
        raise MessageRefused("incomplete", f"a command has one point with {len(index)} positions")
    facts = read_frame_id(message.header.frame_id)
    owner = Owner[facts["owner"].upper()] if facts.get("owner", "").upper() in Owner.__members__ else Owner.HOLD
    position = np.array(points[0].positions)[index]
    return Command(_fact(facts, "seq"), from_stamp(message.header.stamp), position, owner)


def frame_id(**facts: int | str) -> str:
    """Write facts as `key=value;key=value`."""
    return ";".join(f"{key}={value}" for key, value in facts.items())


def read_frame_id(text: str) -> dict[str, str]:
    """Read what `frame_id` wrote; anything else gives no facts."""
    return dict(re.findall(r"(\w+)=([^;]*)", text))


def _fact(facts: Mapping[str, str], key: str, default: int = -1) -> int:
    value = facts.get(key, "")
    return int(value) if re.fullmatch(r"-?\d+", value) else default


def to_chunk(chunk: ActionChunk, action_names: Sequence[str]) -> JointTrajectory:
    """Return the chunk's message: stamp is the time of the observation, point i is due at stamp + (i + 1) dt."""
    facts = frame_id(generation=chunk.generation, chunk=chunk.chunk_id, version=chunk.policy_version)
    dt_ns = chunk.dt_s * NS_PER_S
    points = [
        JointTrajectoryPoint(positions=action.tolist(), time_from_start=to_duration(round((i + 1) * dt_ns)))
        for i, action in enumerate(chunk.actions)
    ]
    header = Header(stamp=to_stamp(chunk.observation_time_ns), frame_id=facts)
    return JointTrajectory(header=header, joint_names=list(action_names), points=points)


def to_chunk_info(chunk: ActionChunk) -> String:
    """Return what the chunk's message has no place for; sent before the chunk, joined by stamp and chunk id."""
    info: dict[str, Any] = {"stamp_ns": chunk.observation_time_ns, "chunk": chunk.chunk_id, "dt_s": chunk.dt_s}
    if chunk.base_actions is not None:
        info["base_actions"] = chunk.base_actions.tolist()
    info["groups"] = {name: _to_array(np.asarray(value)) for name, value in chunk.groups.items()}
    return to_json(info)


def from_chunk(
    message: JointTrajectory, action_names: Sequence[str], info: Mapping[str, Any] | None = None
) -> ActionChunk:
    """Return the chunk in the order of `action_names`; times, generation and values are judged by `robot.plan`."""
    index, points = name_index(list(message.joint_names), action_names), list(message.points)
    if not points or any(len(point.positions) != len(index) for point in points):
        raise MessageRefused("incomplete", f"a chunk has at least one point, each with {len(index)} positions")
    times_ns = np.array([from_duration(point.time_from_start) for point in points])
    dt_ns = float(times_ns[-1]) / len(times_ns)
    if dt_ns <= 0 or np.abs(times_ns - dt_ns * np.arange(1, len(times_ns) + 1)).max() > 1e6:
        raise MessageRefused("wrong_times", "point i of a chunk is due at (i + 1) * dt after its stamp")
    facts = read_frame_id(message.header.frame_id)
    stamp_ns, chunk_id = from_stamp(message.header.stamp), _fact(facts, "chunk")
    if info is None or (info.get("stamp_ns"), info.get("chunk")) != (stamp_ns, chunk_id):
        info = {}
    base = info.get("base_actions")
    return ActionChunk(
        actions=np.array([point.positions for point in points])[:, index],
        dt_s=float(info.get("dt_s", dt_ns / NS_PER_S)),
        observation_time_ns=stamp_ns,
        generation=_fact(facts, "generation"),
        chunk_id=chunk_id,
        policy_version=_fact(facts, "version", 0),
        base_actions=None if base is None else np.array(base, float)[:, index],
        groups={name: _from_array(value) for name, value in info.get("groups", {}).items()},
    )


def _to_array(value: np.ndarray) -> dict[str, Any]:
    return {"dtype": value.dtype.str, "shape": value.shape, "values": value.ravel().tolist()}


def _from_array(value: Mapping[str, Any]) -> np.ndarray:
    return np.array(value["values"], np.dtype(value["dtype"])).reshape(value["shape"])


def to_json(value: Mapping[str, Any]) -> String:
    return String(data=json.dumps(value, separators=(",", ":")))


def from_json(message: String) -> dict[str, Any]:
    """Return the object that a JSON string message holds."""
    try:
        value = json.loads(message.data)
    except ValueError as error:
        raise MessageRefused("not_json", f"{message.data[:80]!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MessageRefused("not_json", f"{message.data[:80]!r} is not a JSON object")
    return value


def to_bool(value: bool) -> Bool:
    return Bool(data=value)


def to_count(value: int) -> UInt64:
    return UInt64(data=value)


def to_string(value: str) -> String:
    return String(data=value)


def operator_to_dict(packet: OperatorInput) -> dict[str, Any]:
    """Return a packet as JSON has it: enum names as lower-case strings."""
    return {**asdict(packet), "request": packet.request.name.lower(), "mark": packet.mark.name.lower()}


def operator_from_dict(value: Mapping[str, Any]) -> OperatorInput:
    """Check and return a packet; what comes from a page is not to be trusted."""
    unknown = set(value) - {field.name for field in fields(OperatorInput)}
    if unknown:
        raise MessageRefused("wrong_names", f"an operator packet has no {', '.join(sorted(map(str, unknown)))}")
    try:
        packet = OperatorInput(
            seq=int(value["seq"]),
            time_ns=int(value["time_ns"]),
            device=str(value.get("device", "none"))[:MAX_TEXT],
            engaged=value.get("engaged", False) is True,
            request=OwnerRequest[str(value.get("request", "none")).upper()],
            mark=Mark[str(value.get("mark", "none")).upper()],
            twist=_numbers(value.get("twist", (0.0,) * 6), 6),
            gripper=None if value.get("gripper") is None else float(value["gripper"]),
            side=str(value.get("side", "")),
            frame=str(value.get("frame", CELL_FRAME)),
            is_fine=value.get("is_fine", False) is True,
            pose=None if value.get("pose") is None else _numbers(value["pose"], 7),
            joints=None if value.get("joints") is None else _numbers(value["joints"]),
            is_absolute=value.get("is_absolute", False) is True,
            clutch=int(value.get("clutch", 0)),
            mark_back_s=float(value.get("mark_back_s", 0.0)),
            device_time_ns=int(value.get("device_time_ns", 0)),
            raw=str(value.get("raw", ""))[:MAX_TEXT],
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MessageRefused("incomplete", f"operator packet {str(value)[:120]} cannot be used: {error!r}") from None
    motion = [*packet.twist, *(packet.pose or ()), *(packet.joints or ())]
    if not np.isfinite([*motion, packet.gripper or 0.0, packet.mark_back_s]).all():
        raise MessageRefused("not_finite", f"an operator's motion is finite numbers, given: {motion}, {packet.gripper}")
    if packet.pose is not None and abs(np.linalg.norm(packet.pose[3:]) - 1.0) > 1e-3:
        raise MessageRefused("not_finite", f"a hand's pose ends with a unit quaternion, given: {packet.pose[3:]}")
    return packet


def _numbers(values: Any, count: int = 0) -> Any:
    """Return `count` numbers, or up to `MAX_JOINTS` where that is 0, as a tuple."""
    numbers = tuple(float(x) for x in values)
    if len(numbers) != count if count else len(numbers) > MAX_JOINTS:
        raise ValueError(f"{len(numbers)} numbers, needed: {count or f'{MAX_JOINTS} at most'}")
    return numbers


def check_operator(packet: OperatorInput, station: StationSpec) -> None:
    """Refuse a packet that names a side, a frame or joints that the station does not have."""
    check_side(packet, station.side_names)
    frames = (CELL_FRAME, TOOL_FRAME, *(camera.name for camera in station.cameras))
    if packet.frame not in frames:
        raise MessageRefused(
            "wrong_names", f"a packet of {packet.device} names frame {packet.frame!r}; frames: {', '.join(frames)}"
        )
    if packet.engaged and packet.joints is not None:
        wanted = len(station.sides[station.side_names.index(packet.side)].joint_names) - 1
        if len(packet.joints) != wanted:
            raise MessageRefused(
                "incomplete",
                f"{packet.device} has {len(packet.joints)} joints, the arm has {wanted} without its gripper",
            )


def check_side(packet: OperatorInput, sides: Sequence[str]) -> None:
    """Refuse a packet that is to move an arm the station does not have; of several arms it has to say which."""
    if packet.engaged and packet.side not in sides:
        allowed = ", ".join(sides) if any(sides) else "none, there is one arm"
        raise MessageRefused("wrong_names", f"a packet of {packet.device} names side {packet.side!r}; sides: {allowed}")


def to_operator(packet: OperatorInput) -> String:
    return to_json(operator_to_dict(packet))


def from_operator(message: String) -> OperatorInput:
    return operator_from_dict(from_json(message))
