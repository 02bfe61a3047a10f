"""What the data of a store mean: names, limits and rate, from the station or, for imported data, from the episodes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from robot.episode import EpisodeInfo
from robot.errors import ConfigError
from robot.specs import StationSpec, load_station
from robot.types import Array


@dataclass(frozen=True)
class DataContract:
    """Observation fields in order, action dimensions and their limits in station units, and the rate of the ticks."""

    observation: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: Array
    action_high: Array
    rate_hz: float

    def to_json(self) -> dict[str, Any]:
        """Return what an imported episode carries in its metadata as `contract`."""
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(self).items()}


def contract_of(info: EpisodeInfo) -> DataContract:
    """Return an episode's contract: its own where it was imported without a station, else that of its station."""
    carried = info.metadata.get("contract")
    return _from_json(carried, info.episode_id) if carried else station_contract(load_station(info.station))


def station_contract(station: StationSpec) -> DataContract:
    return DataContract(
        station.observation, station.action_names, station.action_low, station.action_high, station.control_rate_hz
    )


def _from_json(carried: Mapping[str, Any], episode_id: str) -> DataContract:
    try:
        return DataContract(
            observation=tuple(carried["observation"]),
            action_names=tuple(carried["action_names"]),
            action_low=np.array(carried["action_low"], np.float64),
            action_high=np.array(carried["action_high"], np.float64),
            rate_hz=float(carried["rate_hz"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"episode {episode_id}: its metadata 'contract' is damaged ({error!r}); import it again") from None
