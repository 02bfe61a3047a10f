"""Episodes of other formats on their way into a store: checked once, in one place, then recorded like our own."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from policies.data.contract import DataContract, station_contract
from robot.episode import EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.images import encode_for_store
from robot.record import Clip, TickRecord
from robot.specs import StationSpec
from robot.types import NS_PER_S, EndReason, Owner, Segment

Outcome = Literal["success", "failure", "timeout"]


@dataclass(frozen=True)
class ForeignEpisode:
    """One episode of T steps as its source has it. `images` gives per camera the image of a step, uint8 HWC RGB."""

    name: str  # of the source's episode, used in messages and for the id
    observation: Mapping[str, np.ndarray]  # (T, ...) each, finite
    action: np.ndarray  # (T, action)
    rate_hz: float
    task: str
    action_names: tuple[str, ...] = ()  # empty: the source gives none
    reward: np.ndarray | None = None  # (T,)
    is_success: bool | None = None  # None: the source does not say
    images: Mapping[str, Callable[[int], np.ndarray]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)  # JSON values kept in the metadata

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True)
class ImportRules:
    """What an imported episode must fit, and what is assumed where its source says nothing."""

    station: StationSpec | None = None
    outcome: Outcome = "success"
    source: str = ""

    def check(self, episode: ForeignEpisode) -> DataContract:
        """Return the episode's contract; ConfigError names the field that does not fit."""
        where = f"{self.source}, {episode.name}"
        if episode.action.ndim != 2 or not len(episode) or not episode.action.shape[1]:
            raise ConfigError(
                f"{where}: action has shape {episode.action.shape}; expected (steps >= 1, dimensions >= 1)"
            )
        if not np.isfinite(episode.rate_hz) or episode.rate_hz <= 0:
            raise ConfigError(f"{where}: rate is {episode.rate_hz} Hz; it must be positive (--rate-hz)")
        columns = {"action": episode.action, **episode.observation}
        if episode.reward is not None:
            columns["reward"] = episode.reward
        for name, column in columns.items():
            check_column(column, name, len(episode), where)
        return self._fit_station(episode, where)

    def _fit_station(self, episode: ForeignEpisode, where: str) -> DataContract:
        width = episode.action.shape[1]
        own = DataContract(
            observation=tuple(episode.observation),
            action_names=episode.action_names or tuple(f"action_{i}" for i in range(width)),
            action_low=episode.action.min(axis=0),
            action_high=episode.action.max(axis=0),
            rate_hz=episode.rate_hz,
        )
        if len(own.action_names) != width:
            raise ConfigError(f"{where}: action has {width} dimensions, but names for {len(own.action_names)}")
        if self.station is None:
            return own
        wanted = station_contract(self.station)
        if abs(episode.rate_hz - wanted.rate_hz) > 1e-6 * wanted.rate_hz:
            raise ConfigError(
                f"{where}: rate is {episode.rate_hz:g} Hz, station {self.station.name} runs at {wanted.rate_hz:g} Hz; "
                "import without --station or give a station file of that rate"
            )
        if width != len(wanted.action_names) or (episode.action_names and episode.action_names != wanted.action_names):
            raise ConfigError(
                f"{where}: action is {', '.join(own.action_names)}; station {self.station.name} has "
                f"{', '.join(wanted.action_names)}, in this order"
            )
        lacking = [camera.name for camera in self.station.cameras if camera.name not in episode.images]
        if lacking:
            raise ConfigError(
                f"{where}: no images of camera {', '.join(lacking)}, which station {self.station.name} has; given: "
                f"{', '.join(episode.images) or 'none'}"
            )
        return replace(wanted, observation=own.observation)


def check_column(column: np.ndarray, name: str, steps: int, where: str) -> None:
    """Refuse a column of another length or type, or with a value that is not finite."""
    if column.dtype.kind not in "biuf":
        raise ConfigError(f"{where}: {name} is {column.dtype}; expected numbers")
    if len(column) != steps:
        raise ConfigError(
            f"{where}: {name} has {len(column)} rows, action has {steps}; the episode is cut off or damaged"
        )
    bad = np.flatnonzero(~np.isfinite(column.reshape(steps, -1)).all(axis=1))
    if len(bad):
        raise ConfigError(f"{where}: {name} is not finite at step {bad[0]} ({len(bad)} of {steps} steps)")


def import_episodes(
    store: EpisodeStore, episodes: Iterator[ForeignEpisode], rules: ImportRules
) -> Iterator[EpisodeInfo]:
    """Record foreign episodes one by one; one that does not fit is refused before anything of it is written."""
    for episode in episodes:
        yield _record(store, episode, rules, rules.check(episode))


def _record(store: EpisodeStore, episode: ForeignEpisode, rules: ImportRules, contract: DataContract) -> EpisodeInfo:
    told = episode.is_success is not None
    outcome = rules.outcome if not told else "success" if episode.is_success else "failure"
    reason = EndReason[outcome.upper()]
    metadata = {
        "station": rules.station.name if rules.station else "",
        "task": episode.task,
        "contract": contract.to_json(),
        "imported_from": rules.source,
        "outcome_from": "source" if told else "assumed",
        **episode.facts,
    }
    where = f"{rules.source}, {episode.name}"
    first = {camera: read_image(read, 0, f"{where}: {camera}") for camera, read in episode.images.items()}
    writer = store.open_episode(metadata, episode_id=re.sub(r"[^A-Za-z0-9_.-]", "-", episode.name).lstrip("."))
    is_whole = False
    try:
        for step in range(len(episode)):
            blobs = {}
            for camera, read in episode.images.items():
                view = read_image(read, step, f"{where}: {camera}") if step else first[camera]
                if view.shape != first[camera].shape:
                    raise ConfigError(f"{where}: {camera} is {view.shape} at step {step}, was {first[camera].shape}")
                blobs[camera] = encode_for_store(view)
            writer.append(_tick(episode, step, contract, reason), blobs)
        is_whole = True
    finally:
        if not is_whole:  # what was read so far stays in the store, out of the way of training
            writer.event(0, {"mark": "discard", "because": "the source could not be read to its end"})
            writer.close(EndReason.CRASH)
    return writer.close(reason)


def read_image(read: Callable[[int], np.ndarray], step: int, where: str) -> np.ndarray:
    """Return the image of a step; ConfigError where it cannot be read or stored."""
    try:
        image = read(step)
    except ConfigError:
        raise
    except Exception as error:  # whatever the library of the format raises on a damaged file
        text = " ".join(str(error).split())[:150]
        raise ConfigError(f"{where}: step {step} cannot be read: {type(error).__name__}: {text}") from error
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return image
    raise ConfigError(f"{where} is {image.dtype} {image.shape}; expected uint8 (height, width, 3) RGB")


def _tick(episode: ForeignEpisode, step: int, contract: DataContract, reason: EndReason) -> TickRecord:
    time_ns = round(step * NS_PER_S / contract.rate_hz)
    action = episode.action[step].astype(np.float64)
    nothing = np.full(len(action), np.nan)
    is_last = step == len(episode) - 1
    return TickRecord(
        step=step,
        tick_time_ns=time_ns,
        observation_time_ns=time_ns,
        stream_times_ns={f"image/{camera}": time_ns for camera in episode.images},
        observation={name: column[step] for name, column in episode.observation.items()},
        base_action=nothing,
        residual_action=nothing,
        policy_action=nothing,
        human_action=action,
        executed_action=action,
        joint_command=nothing,
        blend_weight=1.0,
        owner=Owner.HUMAN,
        segment=Segment.DEMO,
        intervention_id=-1,
        safety_clips=Clip.NONE,
        chunk_id=-1,
        chunk_offset=0,
        generation=0,
        policy_version=0,
        reward_task=float(is_last and reason is EndReason.SUCCESS)
        if episode.reward is None
        else float(episode.reward[step]),
        terminated=is_last and reason is not EndReason.TIMEOUT,
        truncated=is_last and reason is EndReason.TIMEOUT,
        end_reason=reason if is_last else EndReason.OPEN,
    )
