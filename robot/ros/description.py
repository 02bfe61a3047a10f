"""The graph of one robot as plain data: which processes, with which names and parameters.

Two front ends start it, `tandem up` and `launch/*.launch.py`, with the same argument lists. Importing this needs
neither ROS nor a simulator: modules are named here, never imported.
"""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from robot.errors import ConfigError, unknown_name
from robot.operator.door import PORT
from robot.specs import StationSpec, load_station

Parameter = bool | int | float | str
PROFILE = Path(__file__).parent / "fastdds.xml"
CONTROL_PROFILE = Path(__file__).parent / "fastdds_control.xml"
SEES_IMAGES = (
    *("sim.camera_node", "robot.operator.page_node", "robot.ros.recorder_node", "policies.policy_node"),
    *("robot.ros.graph_probe_node", "robot.ros.bag_node"),
)
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Fast DDS 2 and 3
DISCOVERY = "ROS_AUTOMATIC_DISCOVERY_RANGE"
OPERATORS = ("scripted", "page", "none")
RESPAWN_DELAY_S = 2.0


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One process. Without a `required` one the graph shuts down; one that may respawn is started again."""

    module: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    required: bool = True
    respawn: bool = False

    def argv(self) -> list[str]:
        """Return the command line that starts the process."""
        words = [sys.executable, "-m", self.module, "--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            words += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for key, value in self.parameters.items():
            words += ["-p", f"{key}:={_yaml(value)}"]
        return words


def _yaml(value: Parameter) -> str:
    """Write a parameter so that its type survives the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """What to start. Empty names leave the part out; `script` is extra parameters of the scripted operator."""

    station: str = "fr3_sim"
    task: str = "peg-insert"
    policy: str = ""
    execution: str = ""  # how the policy's chunks are executed; "": its own way
    operator: str = "scripted"
    record: str = ""
    bag: str = ""
    cameras: tuple[str, ...] | None = None  # None: the station's
    randomize: str = ""  # what every episode draws anew: `all`, or aspects with commas between
    control_rate_hz: float = 0.0
    namespace: str = ""
    step_mode: str = "realtime"
    page_port: int = PORT
    script: Mapping[str, Parameter] = field(default_factory=dict)


def describe(options: GraphOptions) -> list[NodeSpec]:
    """Return the processes of a simulated robot's graph, the arm first."""
    if options.operator not in OPERATORS:
        raise unknown_name("operator", options.operator, OPERATORS)
    station = load_station(options.station)
    nodes = [_spec(options, "sim.arm_node", "arm", randomize=options.randomize)]
    nodes += [_spec(options, "sim.camera_node", name, camera=name) for name in _cameras(options, station)]
    nodes.append(_arbiter(options))
    nodes.append(_spec(options, "robot.ros.episode_node", "episode"))
    if options.policy:
        checkpoint = str(Path(options.policy).absolute())
        nodes.append(
            _spec(options, "policies.policy_node", "policy", checkpoint=checkpoint, execution=options.execution)
        )
    if options.operator == "scripted":
        nodes.append(_spec(options, "sim.operator_node", "operator", **options.script))
    if options.operator == "page":
        nodes.append(_page(options))
    if options.record:
        store, cameras = str(Path(options.record).absolute()), ",".join(_cameras(options, station))
        recorder = _spec(options, "robot.ros.recorder_node", "recorder", store=store, cameras=cameras)
        nodes.append(replace(recorder, required=False, respawn=True))  # the arm holds until it is back
    if options.bag:
        folder = str(Path(options.bag).absolute())
        nodes.append(replace(_spec(options, "robot.ros.bag_node", "bag", folder=folder, vital=False), required=False))
    return expecting_all([*nodes, _health(options, nodes)])


def expecting_all(nodes: Sequence[NodeSpec]) -> list[NodeSpec]:
    """Tell each arbiter how many other vital nodes its robot has: nothing moves before all of them are there."""
    vital = Counter(node.namespace for node in nodes if node.parameters.get("vital"))
    return [
        replace(node, parameters={**node.parameters, "vital_nodes": vital[node.namespace] - 1})
        if node.name == "arbiter"
        else node
        for node in nodes
    ]


def _cameras(options: GraphOptions, station: StationSpec) -> list[str]:
    names = [camera.name for camera in station.cameras] if options.cameras is None else options.cameras
    return [station.camera(name).name for name in names]


def _spec(options: GraphOptions, module: str, name: str, **parameters: Parameter) -> NodeSpec:
    return NodeSpec(module, name, options.namespace, {**_common(options), "vital": True, **parameters})


def _common(options: GraphOptions) -> dict[str, Parameter]:
    station = options.station
    if station.endswith((".yaml", ".yml")):
        station = str(Path(station).absolute())
    return {
        "station": station,
        "task": options.task,
        "control_rate_hz": float(options.control_rate_hz),
        "step_mode": options.step_mode,
    }


def _arbiter(options: GraphOptions) -> NodeSpec:
    policy = "any" if options.policy else "none"
    operator = "none" if options.operator == "none" else "any"
    return _spec(options, "robot.ros.arbiter_node", "arbiter", policy=policy, operator=operator)


def _page(options: GraphOptions) -> NodeSpec:
    """A page that fails is started again; until then the arm holds, as nobody can see it."""
    parameters = {**_common(options), "vital": True, "port": options.page_port}
    return NodeSpec("robot.operator.page_node", "page", options.namespace, parameters, required=False, respawn=True)


def _health(options: GraphOptions, nodes: list[NodeSpec]) -> NodeSpec:
    required = ",".join(node.name for node in nodes if node.required)
    return _spec(options, "robot.ros.health_node", "health", required=required, auto_reset=True)


def environment(base: Mapping[str, str], domain_id: int | None = None) -> dict[str, str]:
    """Return the environment of the graph's processes; what the user has set is left as it is.

    Our Fast DDS profiles stay on this machine by themselves. ROS's LOCALHOST would say the same and silently add a
    small shared-memory transport to every node, so it is left to the profile.

    Args:
        base: the launcher's environment.
        domain_id: ROS_DOMAIN_ID; None takes that of `base`.
    """
    if domain_id is not None and not 0 <= domain_id <= 101:
        raise ConfigError(f"domain_id is {domain_id}, allowed: 0 to 101")
    wanted = {
        **dict.fromkeys(PROFILE_VARIABLES, str(PROFILE)),
        "RCUTILS_COLORIZED_OUTPUT": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # images would be mapped and unmapped for every frame
        "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
        "PYTHONUNBUFFERED": "1",
    }
    chosen = {**wanted, **base}
    is_ours = all(chosen[name] in map(str, (PROFILE, CONTROL_PROFILE)) for name in PROFILE_VARIABLES)
    if base.get(DISCOVERY, "LOCALHOST") == "LOCALHOST":
        chosen[DISCOVERY] = "SYSTEM_DEFAULT" if is_ours else "LOCALHOST"
    if domain_id is not None:
        chosen["ROS_DOMAIN_ID"] = str(domain_id)
    return chosen


def node_environment(spec: NodeSpec, base: Mapping[str, str]) -> dict[str, str]:
    """Return what one node needs beside `environment`: the profile without shared memory where it sees no images."""
    if spec.module in SEES_IMAGES:
        return {}
    return {name: str(CONTROL_PROFILE) for name in PROFILE_VARIABLES if base.get(name, str(PROFILE)) == str(PROFILE)}


def added_environment(domain_id: int | None = None) -> dict[str, str]:
    """Return only what `environment` adds to this process's own."""
    return {key: value for key, value in environment(os.environ, domain_id).items() if os.environ.get(key) != value}
