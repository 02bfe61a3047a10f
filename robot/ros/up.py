"""Start a robot's graph: its nodes as processes, until Ctrl-C or until one of them fails."""

import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from robot.operator.door import PORT
from robot.operator_devices import read_options
from robot.preflight import examine_file
from robot.ros.description import GraphOptions, describe
from robot.ros.processes import POLL_S, GraphFailed
from robot.ros.running_graph import RunningGraph, running_graph
from robot.specs import StationSpec, load_station
from robot.verb import Verb


@dataclass(frozen=True)
class UpConfig:
    """What to start; the station's own values hold where a flag is left out."""

    station: str = "fr3_sim"
    task: str = ""
    """Scene of a simulated station, peg-insert by default; on hardware the name that episodes are stored under."""
    policy: Path | None = None
    """Checkpoint file or run folder; without one nobody drives but a person."""
    execution: str = ""
    """How its chunks are executed: receding[:STEPS], ensemble[:DECAY] or async[:STEPS]; its own way by default."""
    operator: Literal["scripted", "page", "none"] = "page"
    device: str = ""
    """An operator device with a process of its own: spacemouse, gamepad, leader."""
    option: tuple[str, ...] = ()
    """Of the device, as controls.frame=tool."""
    record: Path | None = None
    """Folder of the episode store."""
    bag: Path | None = None
    """Folder for a bag (MCAP) of every topic, one per run."""
    cameras: tuple[str, ...] | None = None
    """Cameras to start; all of the station by default."""
    randomize: str = ""
    """What every episode draws anew: `all`, or some of light, colour, camera, dynamics, latency with commas between."""
    control_rate_hz: float = 0.0
    namespace: str = ""
    domain_id: int | None = None
    """ROS_DOMAIN_ID; the environment's by default."""
    page_port: int = PORT
    demonstrations: Path | None = None
    """Episode store whose gripper places the page shows as familiar; that of --record by default."""
    runs: Path | None = None
    """Folder of runs whose learning curves the page shows; that of --learn by default."""
    replay: Path | None = None
    """Folder of a sealed episode whose actions drive in the policy's place; start an episode to begin."""
    learn: Path | None = None
    """Folder of the weights that a learner makes of what it hears, for a residual policy."""
    learn_preset: str = "cpu"
    parameters: Path | None = None
    """ROS parameter file, with a section per node."""
    log_dir: Path | None = None
    """Folder for one log file per node."""


def run_up(config: UpConfig) -> dict[str, Any]:
    """Run the graph until SIGINT or SIGTERM."""
    if config.policy is not None:
        examine_file(config.policy, _station(config), cameras=config.cameras, execution=config.execution)
    nodes = describe(_options(config))
    if config.domain_id is not None:
        os.environ["ROS_DOMAIN_ID"] = str(config.domain_id)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    print(f"starting {len(nodes)} nodes of {config.station}: {', '.join(node.name for node in nodes)}", flush=True)
    started_s, failure = time.monotonic(), ""
    graph: RunningGraph | None = None
    try:
        with running_graph(
            nodes, domain_id=config.domain_id, log_dir=config.log_dir, echo=_print_line, stopping=stopping
        ) as graph:
            if not stopping.is_set():
                _greet(graph, config, time.monotonic() - started_s)
            while not stopping.wait(POLL_S):
                graph.check()
    except GraphFailed as error:
        failure = str(error)
        print(f"stopped: {failure}", flush=True)
    codes = {name: node.exit_code() for name, node in graph.processes.nodes.items()} if graph else {}
    result: dict[str, Any] = {"ok": not failure, "nodes": codes, "wall_s": time.monotonic() - started_s}
    return {**result, "failure": failure} if failure else result


def _station(config: UpConfig) -> StationSpec:
    station = load_station(config.station)
    return station.with_rate(config.control_rate_hz) if config.control_rate_hz else station


def _options(config: UpConfig) -> GraphOptions:
    return GraphOptions(
        station=config.station,
        task=config.task,
        policy=str(config.policy or ""),
        execution=config.execution,
        operator=config.operator,
        device=config.device,
        device_options=json.dumps(read_options(config.option)),
        record=str(config.record or ""),
        bag=str(config.bag or ""),
        cameras=config.cameras,
        randomize=config.randomize,
        control_rate_hz=config.control_rate_hz,
        namespace=config.namespace,
        page_port=config.page_port,
        demonstrations=str(config.demonstrations or ""),
        runs=str(config.runs or ""),
        replay=str(config.replay or ""),
        learn=str(config.learn or ""),
        learn_preset=config.learn_preset,
        parameters=str(config.parameters or ""),
    )


def _print_line(name: str, line: str) -> None:
    print(f"[{name}] {line}", flush=True)


def _greet(graph: RunningGraph, config: UpConfig, took_s: float) -> None:
    print(f"up after {took_s:.1f} s; stop with Ctrl-C", flush=True)
    if graph.page_address:
        print(f"open {graph.page_address} to watch and to take over", flush=True)
    print(f"next: tandem record --store {config.record or 'runs/episodes'} to run episodes", flush=True)


VERB = Verb(UpConfig, run_up, "Start a robot's graph and keep it running.")
