"""Every topic and service of the graph in one table: name, message type and QoS. Plain data, no ROS needed.

Names are relative to the robot's namespace (robot_graph spec, section 4). A publisher is reliable and a control
subscriber asks for best effort: the other way round the two never connect.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Qos:
    """Quality of service of one end of a topic; `latched` is ROS's transient local."""

    reliable: bool = True
    latched: bool = False
    depth: int = 1
    deadline_s: float | None = None  # offered: somebody who asks for a longer one is told when it is missed
    lease_s: float | None = None  # liveliness: a frozen or dead publisher is noticed after so long


NEWEST = Qos(reliable=False)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: what it is called, what it carries, and what each end asks for."""

    name: str
    type: str  # package/msg/Type
    publish: Qos
    subscribe: Qos

    def of(self, camera: str) -> "Topic":
        """Return this topic of one camera."""
        return replace(self, name=self.name.format(camera=camera))


JOINT_STATE = "sensor_msgs/msg/JointState"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
STRING = "std_msgs/msg/String"
IMAGE = "sensor_msgs/msg/Image"

_LATCHED = Qos(latched=True)
_EDGES = Qos(depth=10)  # latest wins, but a request on the way may not be lost
_EVENTS = Qos(depth=50)


def _state(name: str, kind: str, deadline_s: float | None = None) -> Topic:
    return Topic(name, kind, Qos(deadline_s=deadline_s), NEWEST)


def _latched(name: str, kind: str = STRING) -> Topic:
    return Topic(name, kind, _LATCHED, _LATCHED)


def _same(name: str, kind: str, qos: Qos) -> Topic:
    return Topic(name, kind, qos, qos)


JOINT_STATES = _state("joint_states", JOINT_STATE, deadline_s=0.1)
OBJECT_STATE = _state("object_state", JOINT_STATE)
SIM_STATE = _state("sim/state", JOINT_STATE)
SIM_DOMAIN = _latched("sim/domain")
APPLIED_COMMAND = _state("applied_command", JOINT_STATE)
COMMAND = Topic("command/joint", TRAJECTORY, Qos(deadline_s=0.2), Qos())
ACTION_CHUNK = _same("policy/action_chunk", TRAJECTORY, Qos())
CHUNK_INFO = _same("policy/chunk_info", STRING, Qos(depth=4))
POLICY_ALIVE = _state("policy/alive", "std_msgs/msg/UInt64")
TELEOP_INPUT = _same("teleop/input", STRING, _EDGES)
SAFETY_STATE = _latched("safety/state")
ESTOP = _latched("safety/estop", "std_msgs/msg/Bool")
AUTHOR = _latched("command/author")
TICK_RECORD = _same("tick/record", "std_msgs/msg/UInt8MultiArray", Qos(depth=100))
TASK_OUTCOME = _same("task/outcome", STRING, Qos())
EPISODE_COMMAND = _same("episode/command", STRING, _EDGES)
EPISODE_STATE = _latched("episode/state")
EPISODE_EVENT = _same("episode/event", STRING, _EVENTS)
WORLD_READY = _latched("world/ready")
LEARNER_WEIGHTS = _latched("learner/weights")
NODE_ALIVE = _same("node/alive", STRING, Qos(lease_s=0.15))  # carries nothing: what counts is its liveliness
DIAGNOSTICS = _same("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", Qos(depth=10))
COLOR_IMAGE = Topic("{camera}/color/image_raw", IMAGE, Qos(depth=2), NEWEST)
COLOR_INFO = Topic("{camera}/color/camera_info", "sensor_msgs/msg/CameraInfo", Qos(depth=2), NEWEST)
DEPTH_IMAGE = Topic("{camera}/aligned_depth_to_color/image_raw", IMAGE, Qos(depth=2), NEWEST)

TOPICS = tuple(value for value in list(vars().values()) if isinstance(value, Topic))

# Services, all std_srvs/srv/Trigger.
SAFETY_STOP = "safety/stop"
SAFETY_RESET = "safety/reset"
EPISODE_START = "episode/start"
EPISODE_STOP = "episode/stop"
EPISODE_DISCARD = "episode/discard"
TRIGGER = "std_srvs/srv/Trigger"
SERVICES = (SAFETY_STOP, SAFETY_RESET, EPISODE_START, EPISODE_STOP, EPISODE_DISCARD)
