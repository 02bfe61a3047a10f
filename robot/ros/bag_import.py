"""Episodes out of a bag: through the recorder's own scribe where the graph told of its ticks, else resampled.

A bag of our graph holds every tick's record; it is written as the recorder would have written it. A bag that has only
`joint_states`, `applied_command` and images is cut into ticks at the station's rate: joints interpolated, the newest
image that existed at each tick, and as executed action the setpoint applied one period later.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robot.applied_join import AppliedJoin
from robot.depth import stored_images
from robot.episode import Episode, EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, RobotError
from robot.motion import make_action_space
from robot.observation import StreamLimits
from robot.ros import topics
from robot.ros.bag import BagMessage, BagReader
from robot.ros.bag_resampling import cameras_of, resample
from robot.ros.scribe import Cameras, Scribe
from robot.ros.scribe_input import ScribeInput
from robot.ros.topics import Topic
from robot.specs import StationSpec, load_station
from robot.types import NS_PER_S, EndReason

IMAGES_KEPT_S = 0.7
DEFAULT_STATION = "fr3_sim"


@dataclass(frozen=True)
class Skew:
    """How long before the observation of its tick a camera's image was taken [ms], over the ticks of an episode."""

    camera: str
    median_ms: float
    worst_ms: float
    ticks_without: int


def import_bag(path: Path, store: EpisodeStore, *, station: StationSpec | None = None) -> Iterator[EpisodeInfo]:
    """Yield the episodes of a bag as they are sealed, and print each camera's skew.

    Args:
        path: an MCAP file, or the folder of a bag.
        store: where to.
        station: whose joints, cameras and rate; `fr3_sim` by default.

    Raises:
        ConfigError: no bag, a damaged one, or none with the topics that are needed; it names them.
    """
    station = station or load_station(DEFAULT_STATION)
    names = _names(path)
    if topics.TICK_RECORD.name in names:
        ids = _through_the_scribe(path, store, station, names)
    elif {topics.JOINT_STATES.name, topics.APPLIED_COMMAND.name} <= names.keys():
        ids = [resample(path, store, station, names)]
    else:
        raise ConfigError(
            f"{path} has neither {topics.TICK_RECORD.name}, nor {topics.JOINT_STATES.name} with "
            f"{topics.APPLIED_COMMAND.name}; it has: {', '.join(names.values()) or 'nothing'}"
        )
    for episode_id in ids:
        episode = store.load(episode_id)
        for skew in skews(episode):
            print(
                f"{episode_id}, {skew.camera}: images {skew.median_ms:.1f} ms before their tick in the median, "
                f"{skew.worst_ms:.1f} ms at worst; {skew.ticks_without} of {len(episode)} ticks without"
            )
        yield episode.info


def skews(episode: Episode) -> list[Skew]:
    """Return the skew of every camera that has image times."""
    found = []
    for camera in episode.info.cameras:
        stamps = episode.columns.get(f"time_ns/image/{camera}")
        if stamps is None:
            continue
        ages_ms = (episode.columns["observation_time_ns"] - stamps)[stamps > 0] / 1e6
        worst, median = (float(np.max(ages_ms)), float(np.median(ages_ms))) if len(ages_ms) else (np.nan, np.nan)
        found.append(Skew(camera, median, worst, int((stamps <= 0).sum())))
    return found


def _names(path: Path) -> dict[str, str]:
    """Return the bag's topics by their name in the graph's table, without the robot's namespace."""
    seen = dict.fromkeys(message.topic for message in BagReader(path).messages())
    anchors = (f"/{topics.TICK_RECORD.name}", f"/{topics.JOINT_STATES.name}")
    spaces = {name.removesuffix(anchor) for name in seen for anchor in anchors if name.endswith(anchor)}
    if len(spaces) > 1:
        raise ConfigError(f"{path} has several robots: {', '.join(sorted(spaces))}; record one per bag")
    space = next(iter(spaces), "")
    return {name.removeprefix(f"{space}/"): name for name in seen}


def _through_the_scribe(path: Path, store: EpisodeStore, station: StationSpec, names: Mapping[str, str]) -> list[str]:
    now_ns = 0
    cameras = cameras_of(station, names)
    kept = Cameras(dict.fromkeys(stored_images(station, cameras), StreamLimits().camera_age_s), IMAGES_KEPT_S)
    given = ScribeInput(station, kept, lambda: now_ns / NS_PER_S, lambda: now_ns)
    readers = {
        names[topic.name]: (topic, read) for topic, read in given.readers(cameras).items() if topic.name in names
    }
    ended: list[str] = []
    join = AppliedJoin(make_action_space(station).from_joints)
    scribe = Scribe(store, station, join, kept, ended.append)
    bag = BagReader(path)
    try:
        for message in bag.messages():
            now_ns = message.time_ns
            if message.topic in readers:
                topic, read = readers[message.topic]
                _take(scribe, message, topic, read)
            scribe.flush(now_ns / NS_PER_S)
    finally:
        scribe.finish(EndReason.CRASH, now_ns / NS_PER_S)  # an episode that was still open when the bag ends
        ids = [store.seal(episode_id).episode_id for episode_id in ended]
    if bag.broken_off:
        print(f"the bag breaks off: {bag.broken_off}")
    if not ids:
        raise ConfigError(f"{path} has no whole {topics.EPISODE_STATE.name} of a running episode: no episode in it")
    return ids


def _take(scribe: Scribe, message: BagMessage, topic: Topic, read: Any) -> None:
    try:
        work = read(message.read(topic.type))
        if work is not None:
            work(scribe)
    except RobotError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, struct.error) as error:
        raise ConfigError(f"a message of {message.topic} cannot be used: {error!r}") from error
