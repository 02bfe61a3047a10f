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
from robot.specs import SIMULATED, StationSpec, load_station

Parameter = bool | int | float | str
PROFILE = Path(__file__).parent / "fastdds.xml"
CONTROL_PROFILE = Path(__file__).parent / "fastdds_control.xml"
SEES_IMAGES = (
    *("sim.camera_node", "hardware.camera_node", "robot.operator.page_node", "robot.ros.recorder_node"),
    *("policies.policy_node", "robot.ros.graph_probe_node", "robot.ros.bag_node"),
)
CAMERAS, ARMS = ("sim.camera_node", "hardware.camera_node"), ("sim.arm_node", "hardware.arm_node")  # managed nodes
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Fast DDS 2 and 3
DISCOVERY = "ROS_AUTOMATIC_DISCOVERY_RANGE"
OPERATORS = ("scripted", "page", "device", "none")
SIMULATED_TASK = "peg-insert"
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
    parameter_file: str = ""

    def argv(self) -> list[str]:
        """Return the command line that starts the process; `parameters` win over the file's."""
        words = [sys.executable, "-m", self.module, "--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            words += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        if self.parameter_file:
            words += ["--params-file", self.parameter_file]
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
    """What to start. Empty names leave the part out; `script` is extra parameters of the scripted operator.

    `operator` is who may take over: `device` starts nobody, and somebody's device speaks from outside. `device` names
    one that gets a process of its own beside whoever else there is, `device_options` is JSON.

    `task` is the scene of a simulated cell, peg-insert where it is empty; on hardware it only names the episodes.
    `replay` is the folder of a sealed episode whose actions drive in the policy's place. `learn` is the folder of the
    weights that a learner makes of the ticks it hears, for a residual `policy`. `parameters` is a ROS parameter file.
    """

    station: str = "fr3_sim"
    task: str = ""
    policy: str = ""
    execution: str = ""  # how the policy's chunks are executed; "": its own way
    operator: str = "scripted"
    device: str = ""
    device_options: str = "{}"
    record: str = ""
    bag: str = ""
    cameras: tuple[str, ...] | None = None  # None: the station's
    randomize: str = ""  # what every episode draws anew: `all`, or aspects with commas between
    control_rate_hz: float = 0.0
    namespace: str = ""
    step_mode: str = "realtime"
    page_port: int = PORT
    replay: str = ""
    learn: str = ""
    learn_preset: str = "cpu"
    demonstrations: str = ""  # the store whose gripper places the page shows as familiar; "": that of `record`
    runs: str = ""  # whose learning curves the page shows; "": the learner's
    parameters: str = ""
    script: Mapping[str, Parameter] = field(default_factory=dict)


def describe(options: GraphOptions) -> list[NodeSpec]:
    """Return the processes of a robot's graph, the arm first.

    A device whose driver is `simulated` is a node of `sim`, every other one a node of `hardware`. A real arm
    is never released by a program: `auto_reset` is for simulated arms alone. Nor does a program set up its scene.
    """
    if options.operator not in OPERATORS:
        raise unknown_name("operator", options.operator, OPERATORS)
    station = load_station(options.station)
    is_simulated = station.is_simulated
    if options.operator == "scripted" and not is_simulated:
        raise ConfigError(f"the scripted operator knows simulated scenes only, {station.name} is real: page or none")
    options = replace(options, task=named_task(options.task, station))
    if is_simulated:
        nodes = [_spec(options, "sim.arm_node", "arm", randomize=options.randomize)]
    elif options.randomize:
        raise ConfigError(f"randomize draws simulated scenes anew, {station.name} is real: leave it out")
    else:
        nodes = [_spec(options, "hardware.arm_node", "arm")]
    nodes += [_camera(options, station, name) for name in _cameras(options, station)]
    nodes.append(_arbiter(options))
    resets = {} if is_simulated else {"world_resets": False}
    nodes.append(_spec(options, "robot.ros.episode_node", "episode", **resets))
    nodes += _drivers(options)
    if options.operator == "scripted":
        nodes.append(_spec(options, "sim.operator_node", "operator", **options.script))
    if options.operator == "page":
        nodes.append(_page(options))
    if options.device:
        given = {"device": options.device, "device_options": options.device_options}
        device = _spec(options, "hardware.operator_node", "device", **given)
        nodes.append(replace(device, required=False, respawn=True))  # the arm holds while nobody could take over
    if options.record:
        store, cameras = _absolute(options.record), ",".join(_cameras(options, station))
        recorder = _spec(options, "robot.ros.recorder_node", "recorder", store=store, cameras=cameras)
        nodes.append(replace(recorder, required=False, respawn=True))  # the arm holds until it is back
    if options.bag:
        bag = _spec(options, "robot.ros.bag_node", "bag", folder=_absolute(options.bag), vital=False)
        nodes.append(replace(bag, required=False))
    nodes = expecting_all([*nodes, _health(options, nodes, auto_reset=is_simulated)])
    return [replace(node, parameter_file=_absolute(options.parameters)) for node in nodes]


def _drivers(options: GraphOptions) -> list[NodeSpec]:
    """Return who drives when no person does: a policy, perhaps with its learner, or a recorded episode."""
    policy = _absolute(options.policy)
    if options.replay and options.policy:
        raise ConfigError(f"both policy {options.policy} and replay {options.replay} would drive: give one of them")
    if options.learn and not options.policy:
        raise ConfigError(f"learn is {options.learn}, but there is no policy to learn for: give a residual one")
    nodes: list[NodeSpec] = []
    if options.policy:
        nodes.append(_spec(options, "policies.policy_node", "policy", checkpoint=policy, execution=options.execution))
    if options.replay:
        nodes.append(_spec(options, "robot.ros.replay_node", "policy", path=_absolute(options.replay)))
    if options.learn:
        made = {"checkpoint": policy, "out": _absolute(options.learn), "preset": options.learn_preset, "vital": False}
        nodes.append(replace(_spec(options, "policies.learner_node", "learner", **made), required=False))
    return nodes


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else ""


def named_task(task: str, station: StationSpec) -> str:
    """Return the task's name; left out it is peg-insert in simulation, and nothing on hardware."""
    return task or (SIMULATED_TASK if station.is_simulated else "")


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


def _camera(options: GraphOptions, station: StationSpec, name: str) -> NodeSpec:
    """A real camera's process that ends is started again; until it is back the arm holds, as it is vital."""
    if station.camera(name).driver != SIMULATED:
        camera = _spec(options, "hardware.camera_node", name, camera=name)
        return replace(camera, required=False, respawn=True)
    if not station.is_simulated:
        raise ConfigError(
            f"camera {name} of {station.name} is simulated and the arm is not, so it has no scene to draw: "
            "give it a driver in the station file, or leave it out with --cameras"
        )
    return _spec(options, "sim.camera_node", name, camera=name)


def _spec(options: GraphOptions, module: str, name: str, **parameters: Parameter) -> NodeSpec:
    return NodeSpec(module, name, options.namespace, {**_common(options), "vital": True, **parameters})


def _common(options: GraphOptions) -> dict[str, Parameter]:
    station = options.station
    if station.endswith((".yaml", ".yml")):
        station = _absolute(station)
    return {
        "station": station,
        "task": options.task,
        "control_rate_hz": float(options.control_rate_hz),
        "step_mode": options.step_mode,
    }


def _arbiter(options: GraphOptions) -> NodeSpec:
    policy = "any" if options.policy or options.replay else "none"
    operator = "none" if options.operator == "none" and not options.device else "any"
    log = {"operator_log": f"{_absolute(options.record)}/operator"} if options.record else {}
    return _spec(options, "robot.ros.arbiter_node", "arbiter", policy=policy, operator=operator, **log)


def _page(options: GraphOptions) -> NodeSpec:
    """A page that fails is started again; until then the arm holds, as nobody can see it."""
    shown = {"store": options.record, "demonstrations": options.demonstrations, "runs": options.runs or options.learn}
    parameters = {
        **_common(options),
        "vital": True,
        "port": options.page_port,
        **{name: _absolute(folder) for name, folder in shown.items()},
    }
    return NodeSpec("robot.operator.page_node", "page", options.namespace, parameters, required=False, respawn=True)


def _health(options: GraphOptions, nodes: list[NodeSpec], *, auto_reset: bool) -> NodeSpec:
    """Watches the required nodes, and brings up those with a device: the cameras, then the arm."""
    required = ",".join(node.name for node in nodes if node.required)
    managed = ",".join(node.name for modules in (CAMERAS, ARMS) for node in nodes if node.module in modules)
    given = {"required": required, "managed": managed, "auto_reset": auto_reset}
    return _spec(options, "robot.ros.health_node", "health", **given)


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
