"""Ticks cut out of free-running streams: joints and setpoints interpolated at the station's rate, newest images."""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.images import encode_for_store
from robot.motion import Kinematics, make_action_space, make_kinematics
from robot.observation import StreamLimits
from robot.record import tick_from_outside
from robot.ros import topics
from robot.ros.bag import BagReader
from robot.ros.image_message import from_image
from robot.ros.messages import from_joint_state
from robot.specs import StationSpec
from robot.types import NS_PER_S, Array, EndReason, Owner, Segment


@dataclass
class _Samples:
    """Stamps and values of one stream."""

    times_ns: list[int] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def add(self, time_ns: int, value: Array) -> None:
        if not self.times_ns or time_ns > self.times_ns[-1]:
            self.times_ns.append(time_ns)
            self.values.append(value)

    def at(self, times_ns: np.ndarray) -> Array:
        """Interpolate linearly, shape (ticks, width)."""
        begin, table = self.times_ns[0], np.array(self.values)
        stamps, wanted = np.array(self.times_ns) - begin, times_ns - begin  # small enough for a float to be exact
        return np.stack([np.interp(wanted, stamps, column) for column in table.T], axis=1)

    def is_covered(self, times_ns: np.ndarray, max_gap_ns: int) -> np.ndarray:
        """Say at which times the samples around it are close enough together."""
        stamps = np.array(self.times_ns)
        after = np.clip(np.searchsorted(stamps, times_ns), 1, len(stamps) - 1)
        inside = (times_ns >= stamps[0]) & (times_ns <= stamps[-1])
        return inside & (stamps[after] - stamps[after - 1] <= max_gap_ns)


@dataclass
class _Streams:
    joints: _Samples = field(default_factory=_Samples)  # position, then velocity
    applied: _Samples = field(default_factory=_Samples)
    images: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)  # encoded


def cameras_of(station: StationSpec, names: Mapping[str, str]) -> list[str]:
    """Return the station's cameras whose images are among the topics."""
    return [camera.name for camera in station.cameras if topics.COLOR_IMAGE.of(camera.name).name in names]


def resample(path: Path, store: EpisodeStore, station: StationSpec, names: Mapping[str, str]) -> str:
    """Write the whole bag as one episode and return its id.

    A tick is left out, and its number with it, where a stream is older than an observation allows; so training does
    not cross it. Such a bag does not say who drove nor how it ended: recorded are the policy and a time-out, and
    `resampled` in the metadata. Images are held in memory, encoded.

    Raises:
        ConfigError: the streams do not overlap for two ticks.
    """
    streams = _read(path, station, names)
    joints, applied = streams.joints, streams.applied
    if min(len(joints.times_ns), len(applied.times_ns)) < 2:
        raise ConfigError(f"{path}: {len(joints.times_ns)} joint states, {len(applied.times_ns)} setpoints: too few")
    period = station.period_ns
    begin = max([joints.times_ns[0], applied.times_ns[0], *(images[0][0] for images in streams.images.values())])
    end = min(joints.times_ns[-1], applied.times_ns[-1] - period)
    grid = np.arange(begin, end + 1, period)
    if len(grid) < 2:
        raise ConfigError(f"{path}: its streams overlap for {(end - begin) / 1e9:.3f} s, less than two ticks")
    kept = _covered(streams, grid, period)
    if not kept:
        raise ConfigError(f"{path}: at none of {len(grid)} ticks was every stream fresh; see its rates")
    measured, setpoints = joints.at(grid), applied.at(grid + period)
    kinematics = make_kinematics(station)
    space = make_action_space(station, kinematics)
    name = re.sub(r"[^A-Za-z0-9_-]", "-", path.stem)
    facts = {
        "station": station.name,
        "task": "",
        "control_rate_hz": station.control_rate_hz,
        "imported_from": path.name,
    }
    writer = store.open_episode({**facts, "resampled": True}, episode_id=f"{name}-resampled")
    sent = dict.fromkeys(streams.images, -1)
    for step in kept:
        time_ns = int(grid[step])
        times, blobs = {}, {}
        for camera, images in streams.images.items():
            newest = _newest(images, time_ns)
            times[f"image/{camera}"] = images[newest][0]
            if newest != sent[camera]:
                sent[camera], blobs[camera] = newest, images[newest][1]
        reason = EndReason.TIMEOUT if step == kept[-1] else EndReason.OPEN
        record = tick_from_outside(
            step,
            _observed(station, kinematics, measured[step]),
            space.from_joints(setpoints[step]),
            tick_time_ns=time_ns,
            observation_time_ns=time_ns,
            stream_times_ns=times,
            joint_command=setpoints[step],
            owner=Owner.POLICY,
            segment=Segment.ROLLOUT,
            truncated=reason is not EndReason.OPEN,
            end_reason=reason,
        )
        writer.append(record, blobs)
    return writer.close(EndReason.TIMEOUT).episode_id


def _observed(station: StationSpec, kinematics: Kinematics, joints: Array) -> dict[str, Array]:
    """Return the station's fields of joint positions and velocities, side by side."""
    position, velocity = np.split(joints, 2)
    values = {
        "joint_position": position,
        "joint_velocity": velocity,
        "tcp_position": kinematics.tcp_position(position),
    }
    return {key: value for key, value in values.items() if key in station.observation}


def _covered(streams: _Streams, grid: np.ndarray, period_ns: int) -> list[int]:
    """Return the ticks at which every stream is as fresh as an observation has to be."""
    limits = StreamLimits()
    gap_ns = round(2 * limits.joint_age_s * NS_PER_S)
    covered = streams.joints.is_covered(grid, gap_ns) & streams.applied.is_covered(grid + period_ns, gap_ns)
    for images in streams.images.values():
        ages_ns = np.array([time_ns - images[_newest(images, time_ns)][0] for time_ns in grid.tolist()])
        covered &= ages_ns <= limits.camera_age_s * NS_PER_S
    return np.flatnonzero(covered).tolist()


def _newest(images: list[tuple[int, bytes]], time_ns: int) -> int:
    return bisect_right(images, time_ns, key=lambda item: item[0]) - 1


def _read(path: Path, station: StationSpec, names: Mapping[str, str]) -> _Streams:
    streams = _Streams()
    cameras = {names[topics.COLOR_IMAGE.of(name).name]: name for name in cameras_of(station, names)}
    for message in BagReader(path).messages():
        if message.topic == names[topics.JOINT_STATES.name]:
            state = from_joint_state(message.read(topics.JOINT_STATES.type), station.joint_names)
            streams.joints.add(state.time_ns, np.concatenate([state.position, state.velocity]))
        elif message.topic == names[topics.APPLIED_COMMAND.name]:
            state = from_joint_state(message.read(topics.APPLIED_COMMAND.type), station.joint_names)
            streams.applied.add(state.time_ns, state.position)
        elif message.topic in cameras:
            time_ns, image = from_image(message.read(topics.IMAGE))
            images = streams.images.setdefault(cameras[message.topic], [])
            if not images or time_ns > images[-1][0]:
                images.append((time_ns, encode_for_store(image, station.images)))
    return streams
