"""What the data of a store mean: names, limits and rate, from the station or, for imported data, from the episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from robot.episode import EpisodeInfo
from robot.errors import ConfigError
from robot.specs import StationSpec, load_station
from robot.types import Array
from robot.units import field_units


@dataclass(frozen=True)
class DataContract:
    """Observation fields in order, action dimensions and their limits in station units, and the rate of the ticks."""

    observation: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: Array
    action_high: Array
    rate_hz: float
    joint_names: tuple[str, ...] = ()  # empty where an import does not tell
    units: Mapping[str, str] = field(default_factory=dict)  # of the observation fields, as far as known

    def to_json(self) -> dict[str, Any]:
        """Return what an imported episode carries in its metadata as `contract`."""
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(self).items()}


def contract_of(infos: Sequence[EpisodeInfo]) -> DataContract:
    """Return the contract of episodes of one station and task.

    Where they were imported it is the one they carry, with limits that hold all of them; else that of the station.
    """
    if not any("contract" in info.metadata for info in infos):
        return station_contract(load_station(infos[0].station))
    carried = [_from_json(info.metadata.get("contract"), info.episode_id) for info in infos]
    first = carried[0]
    for info, other in zip(infos, carried, strict=True):
        for name in ("observation", "action_names", "rate_hz"):
            if getattr(other, name) != getattr(first, name):
                raise ConfigError(
                    f"episode {info.episode_id}: {name} is {getattr(other, name)}, in {infos[0].episode_id} it is "
                    f"{getattr(first, name)}; keep them in stores of their own (tandem data drop, merge)"
                )
    low = np.min([contract.action_low for contract in carried], axis=0)
    return replace(first, action_low=low, action_high=np.max([contract.action_high for contract in carried], axis=0))


def station_contract(station: StationSpec) -> DataContract:
    return DataContract(
        station.observation,
        station.action_names,
        station.action_low,
        station.action_high,
        station.control_rate_hz,
        station.joint_names,
        field_units(station),
    )


def _from_json(carried: Any, episode_id: str) -> DataContract:
    try:
        return DataContract(
            observation=tuple(carried["observation"]),
            action_names=tuple(carried["action_names"]),
            action_low=np.array(carried["action_low"], np.float64),
            action_high=np.array(carried["action_high"], np.float64),
            rate_hz=float(carried["rate_hz"]),
            joint_names=tuple(carried.get("joint_names", ())),
            units=dict(carried.get("units", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"episode {episode_id}: its metadata 'contract' is damaged ({error!r}); import it again"
        ) from None
