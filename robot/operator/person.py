"""The contract of a person who looks on in lock-step and takes over: in the world's own action space, any world."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robot.types import Array


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants of one tick. `action`, in station units, is theirs while they drive; None: hands off."""

    action: Array | None = None
    is_recovery: bool = False  # driving back to where the policy knows its way
    ends_episode: bool = False  # the correction is finished, and with it the episode (RaC's second rule)


HANDS_OFF = Wish()


class Person(Protocol):
    """Somebody who sees what happens and may take over. Everything random follows from the seed of the episode and
    from `session_ticks`, how long they have been looking on over all episodes."""

    session_ticks: int
    driven_ticks: int  # counted by whoever lets them drive

    def reset(self, seed: int) -> None: ...

    def look(self, observation: Mapping[str, np.ndarray], executed: Array | None, proposed: Array) -> Wish:
        """Return what is wanted of the tick that begins now.

        Args:
            observation: what is seen now.
            executed: the action of the tick before, None at the beginning of an episode.
            proposed: what the policy would do now; a person cannot see it, and only baselines look at it.
        """
        ...

    def advise(self, observation: Mapping[str, np.ndarray]) -> Array:
        """Return what the person would do here, whoever drives: what DAgger asks for afterwards."""
        ...
