"""Run episodes on a simulated robot's graph and record them: demonstrations, or a policy with a person beside it."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from robot.episode import EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.lockstep_recording import record_lockstep
from robot.operator_devices import make_operator_device, read_options
from robot.preflight import examine_file
from robot.ros.description import GraphOptions, Parameter, describe, named_task
from robot.ros.device_recording import DeviceRecording, record_by_device
from robot.ros.running_graph import RunningGraph, choose_domain, running_graph
from robot.specs import load_station
from robot.types import EndReason
from robot.verb import Verb, progress
from robot.worlds import make_operator

NEVER_S = 1e9
LOCKSTEP_GAIN = 0.85  # a person answered within the tick may ask for nearly all of the way at once


@dataclass(frozen=True)
class RecordConfig:
    """Without a policy the scripted person drives every episode from the start, which gives demonstrations."""

    station: str = "fr3_sim"
    task: str = ""
    """Scene of a simulated station, peg-insert by default; on hardware the name that episodes are stored under."""
    episodes: int = 10
    store: Path = Path("runs/episodes")
    """Folder of the episode store; what it holds is kept."""
    bag: Path | None = None
    """Folder for a bag (MCAP) of every topic beside the store."""
    lockstep: bool = False
    """Without the graph: the same tick, in one process, as fast as it goes; demonstrations only, no images."""
    randomize: bool = False
    """Draw every episode's light, colours, camera poses, dynamics and latency anew."""
    operator: Literal["scripted", "page"] = "scripted"
    """`page`: a person in a browser, who also starts and ends the episodes."""
    teleop: str = ""
    """An operator device that drives, as spacemouse, gamepad, keyboard, leader+keyboard; the page is open beside it."""
    option: tuple[str, ...] = ()
    """Of that device, as controls.frame=tool."""
    policy: Path | None = None
    """Checkpoint file or run folder that drives between takeovers."""
    execution: str = ""
    """How its chunks are executed: receding[:STEPS], ensemble[:DECAY] or async[:STEPS]; its own way by default."""
    takeovers: str = ""
    """Of the scripted person, beside a policy: `start+steps` in control steps, as `20+30,80+10`."""
    seed: int = 0
    """Of the first episode's scene; the following ones count on from it."""
    cameras: tuple[str, ...] | None = None
    """Cameras to record; all of the station by default, none for an empty list."""
    domain_id: int | None = None
    """ROS_DOMAIN_ID; the environment's by default, else one by chance."""
    episode_limit_s: float = 120.0


def run_record(config: RecordConfig) -> dict[str, Any]:
    """Record, stop the graph, and tell what lies in the store."""
    if config.episodes < 1:
        raise ConfigError(f"episodes is {config.episodes}, allowed: 1 and more")
    station = load_station(config.station)
    config = replace(config, task=named_task(config.task, station))
    if config.teleop:
        make_operator_device(config.teleop, station, read_options(config.option))  # before anything starts
    if config.lockstep:
        return _record_lockstep(config)
    if config.policy is not None:
        examine_file(config.policy, load_station(config.station), cameras=config.cameras, execution=config.execution)
    nodes = describe(_options(config))
    print(f"recording {config.episodes} episodes of {config.task} on {config.station} into {config.store}", flush=True)
    begun_s = time.monotonic()
    with running_graph(nodes, domain_id=choose_domain(config.domain_id), echo=_print_policy) as graph:
        ids = list(_episodes(graph, config))
    store = EpisodeStore(config.store)  # seals what the recorder had no time for
    infos = [info for info in store.episodes() if info.episode_id in ids]
    successes = sum(info.end_reason is EndReason.SUCCESS for info in infos)
    print(f"{len(infos)} episodes, {successes} successes, in {config.store}", flush=True)
    print(f"next: tandem replay {ids[-1]} --store {config.store}", flush=True)
    return {
        "ok": len(infos) == len(ids),
        "store": config.store,
        "success": successes / max(len(infos), 1),
        "episodes": [_facts(info, store) for info in infos],
        "wall_s": time.monotonic() - begun_s,
    }


def _episodes(graph: RunningGraph, config: RecordConfig) -> Iterator[str]:
    """Yield the ids of the episodes as they end, by whoever starts them."""
    if config.teleop:
        return record_by_device(graph, _device_recording(config))
    return _by_hand(graph, config) if config.operator == "page" else _by_script(graph, config)


def _device_recording(config: RecordConfig) -> DeviceRecording:
    return DeviceRecording(
        station=load_station(config.station),
        device=config.teleop,
        options=read_options(config.option),
        episodes=config.episodes,
        seed=config.seed,
        is_autonomous=config.policy is not None,
        limit_s=config.episode_limit_s,
        store=config.store,
    )


def _print_policy(name: str, line: str) -> None:
    """Show what the policy says, its first chunk above all."""
    if name == "policy":
        print(f"[{name}] {line}", flush=True)


def _record_lockstep(config: RecordConfig) -> dict[str, Any]:
    """Record successful demonstrations of the scripted person without the graph."""
    if config.policy is not None or config.operator != "scripted" or config.teleop:
        raise ConfigError(
            "--lockstep records the scripted person's demonstrations: leave out --policy, --operator and --teleop"
        )
    env_id = f"tandem/{config.task}?station={config.station}&randomize={str(config.randomize).lower()}"
    begun_s = time.monotonic()
    print(f"recording {config.episodes} episodes of {env_id} in lock-step into {config.store}", flush=True)
    operator = make_operator(env_id, demonstrate=True, gain=LOCKSTEP_GAIN)
    store, infos = EpisodeStore(config.store), []
    recorded = record_lockstep(env_id, store, itertools.count(config.seed), operator=operator, keep=_is_success)
    for info in recorded:
        infos += [] if info.is_discarded else [info]
        if len(infos) == config.episodes:
            break
    recorded.close()
    print(f"{len(infos)} successful episodes in {config.store}", flush=True)
    wall_s = time.monotonic() - begun_s
    return {
        "store": config.store,
        "episodes": [_facts(info, store) for info in infos],
        "store_sha256": store.content_hash(),
        "wall_s": wall_s,
    }


def _is_success(reason: EndReason) -> bool:
    return reason is EndReason.SUCCESS


def _options(config: RecordConfig) -> GraphOptions:
    script: dict[str, Parameter] = {"script": "watch", "takeovers": config.takeovers}
    if config.policy is None:
        script = {"script": "demonstrate"}
    return GraphOptions(
        station=config.station,
        task=config.task,
        policy=str(config.policy or ""),
        execution=config.execution,
        operator="page" if config.teleop else config.operator,
        record=str(config.store),
        bag=str(config.bag or ""),
        cameras=config.cameras,
        randomize="all" if config.randomize else "",
        script=script,
    )


def _by_script(graph: RunningGraph, config: RecordConfig) -> Iterator[str]:
    """Start every episode here and yield its id once it has ended."""
    for index in progress(range(config.episodes), "episodes", config.episodes):
        running = graph.client.start_episode(config.seed + index, autonomous=config.policy is not None)
        _wait_for_end(graph, running.id, config.episode_limit_s)
        yield running.id


def _by_hand(graph: RunningGraph, config: RecordConfig) -> Iterator[str]:
    """Yield the episodes that a person runs from the page; those thrown away do not count."""
    print(f"open {graph.page_address}: take over, and start and end the episodes there", flush=True)
    ids: set[str] = set()
    while len(ids) < config.episodes:
        ended = _wait_for_end(graph, "", NEVER_S, ignored=ids)
        ids.add(ended)
        print(f"{len(ids)} of {config.episodes}: {ended}", flush=True)
        yield ended


def _wait_for_end(graph: RunningGraph, episode_id: str, timeout_s: float, ignored: set[str] | None = None) -> str:
    def ended() -> str:
        graph.check()
        for state in graph.client.episodes:
            wanted = state.id == episode_id if episode_id else state.id not in (ignored or set())
            if state.phase == "ended" and wanted and state.end_reason != EndReason.DISCARD.name.lower():
                return state.id
        return ""

    return graph.client.wait(ended, timeout_s, f"the end of episode {episode_id}")


def _facts(info: EpisodeInfo, store: EpisodeStore) -> dict[str, Any]:
    """Return what is told of an episode; `missing_steps` were decided but never reached the store."""
    steps = store.load(info.episode_id).columns.get("step", [])
    return {
        "id": info.episode_id,
        "seed": info.metadata.get("seed"),
        "steps": info.steps,
        "missing_steps": int(steps[-1]) + 1 - info.steps if len(steps) else 0,
        "end_reason": info.end_reason,
        "cameras": info.cameras,
    }


VERB = Verb(RecordConfig, run_record, "Record episodes on a simulated robot's graph.")
