"""One imagined episode: its arm, its history, what has come of it so far. Its state survives a process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robot.errors import CheckpointMismatch
from robot.tick import Cell
from robot.types import Array
from world_models.commanded_arm import CommandedArm
from world_models.contract import History

_COUNTS = ("seed", "depth", "best", "disagreement_sum", "is_success", "is_cut")


@dataclass
class Member:
    """What one of the episodes of an `ImaginedEnv` remembers; `images` is the present frame, by view."""

    arm: CommandedArm
    history: History  # of one item
    images: dict[str, np.ndarray]
    seed: int
    depth: int = 0  # frames imagined since the last true one
    best: float = 0.0  # highest calibrated probability of success so far
    disagreement_sum: float = 0.0
    is_success: bool = False
    is_cut: bool = False
    pending: list[Array] = field(default_factory=list)  # executed since the last frame

    @property
    def is_live(self) -> bool:
        return not (self.is_success or self.is_cut)

    @property
    def disagreement(self) -> float:
        """Return the mean disagreement of the frames so far."""
        return self.disagreement_sum / max(self.depth, 1)

    def state(self) -> dict[str, Any]:
        """Return everything as a tree for `policies.state_file`."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        pending = np.array(self.pending) if self.pending else np.zeros((0, len(self.arm.cell.station.action_names)))
        whole = {"arm": self.arm.state(), "history": self.history.state(), "images": dict(self.images)}
        return whole | counts | {"pending": pending}

    @classmethod
    def from_state(cls, cell: Cell, state: Mapping[str, Any]) -> "Member":
        """Return an independent member that goes on as the one would that `state` was taken of."""
        known = {"arm", "history", "images", "pending", *_COUNTS}
        if state.keys() != known:
            raise CheckpointMismatch(f"an imagined state: expected {sorted(known)}, found {sorted(state)}")
        return cls(
            arm=CommandedArm.from_state(cell, state["arm"]),
            history=History.from_state(state["history"]),
            images={view: np.array(image) for view, image in state["images"].items()},
            pending=[np.array(action) for action in state["pending"]],
            **{name: state[name] for name in _COUNTS},
        )
