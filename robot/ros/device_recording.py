"""Record episodes with an operator device in hand: the scene is reset, the person drives, labels, and does it again.

Success, failure and the time limit end an episode that counts. A discarded one does not count, and one to be recorded
anew does not either: it begins again from the same start. Simulated scenes reset themselves. Real ones are reset by the
person, who is told how far the arm is from where earlier episodes began, and whose next takeover starts the episode.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robot.episode_store import EpisodeStore
from robot.specs import StationSpec
from robot.types import Array, EndReason, Mark

if TYPE_CHECKING:
    from robot.ros.running_graph import RunningGraph
    from robot.ros.teleoperation import Teleoperation

STARTS = 50  # earlier episodes that are looked at
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class DeviceRecording:
    """What is to be recorded, and with which device."""

    station: StationSpec
    device: str
    options: Mapping[str, Any]
    episodes: int
    seed: int
    is_autonomous: bool  # a policy drives between takeovers
    limit_s: float
    store: Path


def record_by_device(graph: "RunningGraph", wanted: DeviceRecording) -> Iterator[str]:
    """Yield the ids of the episodes that count, as they end."""
    from robot.ros.teleoperation import teleoperation

    starts = start_joints(EpisodeStore(wanted.store), wanted.station.name)
    if graph.page_address:
        print(f"open {graph.page_address} to see the cameras", flush=True)
    if not wanted.station.is_simulated:
        print("the arm is latched until a person releases it: reset on the page", flush=True)
    with teleoperation(graph.client, wanted.station, wanted.device, wanted.options) as hand:
        seed, count = wanted.seed, 0
        while count < wanted.episodes:
            print(f"episode {count + 1} of {wanted.episodes}: {_reset_hint(hand, wanted, starts)}", flush=True)
            if not wanted.station.is_simulated:
                _await_hand(graph, hand)
            hand.take_label()
            running = graph.client.start_episode(seed, autonomous=wanted.is_autonomous)
            hand.demonstrate(not wanted.is_autonomous)
            ended = _await_end(graph, running.id, wanted.limit_s)
            hand.demonstrate(False)
            is_discarded = ended == EndReason.DISCARD.name.lower()
            is_again = is_discarded and hand.take_label() is Mark.RERECORD
            if not is_discarded:
                count += 1
                print(f"{count} of {wanted.episodes}: {running.id} ended as {ended}", flush=True)
                yield running.id
            if not is_again:
                seed += 1


def start_joints(store: EpisodeStore, station: str) -> Array:
    """Return where the arm stood at the first tick of the newest episodes, shape (episodes, n_joints) [rad, m]."""
    infos = [info for info in store.episodes() if info.station == station and not info.is_discarded][-STARTS:]
    columns = [store.load(info.episode_id).columns for info in infos]
    name = "observation/joint_position"
    return np.array([found[name][0] for found in columns if len(found.get(name, ()))])


def start_offset(joints: Array, starts: Array) -> tuple[int, float]:
    """Return which joint is furthest from the middle of earlier starts, and by how much [rad, m]."""
    off = joints - np.median(starts, axis=0)
    worst = int(np.abs(off).argmax())
    return worst, float(off[worst])


def _reset_hint(hand: "Teleoperation", wanted: DeviceRecording, starts: Array) -> str:
    if wanted.station.is_simulated:
        return "the scene resets itself; take over and drive"
    if hand.robot is None or not len(starts):
        return "reset the scene, then take over: that starts the episode"
    worst, off = start_offset(hand.robot.position, starts)
    name = wanted.station.joint_names[worst]
    return f"reset the scene ({name} is {off:+.3f} from where earlier episodes began), then take over to start"


def _await_hand(graph: "RunningGraph", hand: "Teleoperation") -> None:
    """Wait until the person lets go and then takes over."""
    for wanted in (False, True):
        while hand.is_engaged is not wanted:
            graph.check()
            time.sleep(POLL_S)


def _await_end(graph: "RunningGraph", episode_id: str, limit_s: float) -> str:
    """Return how an episode ended; beyond the limit it is stopped."""
    deadline_s = time.monotonic() + limit_s
    is_stopped = False
    while True:
        graph.check()
        for state in graph.client.episodes:
            if state.id == episode_id and state.phase == "ended":
                return state.end_reason
        if time.monotonic() > deadline_s and not is_stopped:
            graph.client.command("stop")
            is_stopped = True
        time.sleep(POLL_S)
