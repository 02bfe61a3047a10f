"""What `episode/state` says: which episode, in which phase, since when."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from robot.errors import unknown_name
from robot.ros.messages import MessageRefused

PHASES = ("idle", "reset", "running", "ended")


@dataclass(frozen=True, slots=True)
class EpisodeState:
    """One state of the episode machine. `start_ns` is the time of the first observation of the scene after its reset;
    what was seen before belongs to another scene."""

    id: str = ""
    phase: str = "idle"
    task: str = ""
    seed: int | None = None
    autonomous: bool = True
    end_reason: str = "open"
    step: int = 0
    start_ns: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise unknown_name("episode phase", self.phase, PHASES)

    def is_running(self, time_ns: int) -> bool:
        """Say whether something seen at a time belongs to a running episode."""
        return self.phase == "running" and time_ns >= self.start_ns

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def episode_state_from(value: dict[str, Any]) -> EpisodeState:
    """Return the state of a JSON object; keys that a newer node added are left out."""
    known = {column.name for column in fields(EpisodeState)}
    try:
        return EpisodeState(**{key: item for key, item in value.items() if key in known})
    except (TypeError, ValueError) as error:
        raise MessageRefused("incomplete", f"episode state {str(value)[:120]} cannot be used: {error}") from None
