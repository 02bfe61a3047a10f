"""The facts of one tick: the columns every episode has, in every world.

Write-once. What a method derives (rewards of a method, routing, weights, bootstrap mask, ticks to takeover) is a
function of these columns inside its recipe, never a column.
"""

import inspect
from collections.abc import Mapping
from dataclasses import field
from enum import IntFlag
from typing import Any

import numpy as np

from robot.errors import ConfigError
from robot.types import Array, EndReason, Owner, Segment, facts

SCHEMA_VERSION = 1


class Clip(IntFlag):
    """What the safety filter did in a tick."""

    NONE = 0
    NOT_FINITE = 1
    INCOMPLETE = 2
    POSITION = 4
    JUMP = 8
    VELOCITY = 16
    ACCELERATION = 32
    WORKSPACE = 64
    TCP_SPEED = 128
    TRACKING = 256
    SELF_COLLISION = 512
    STALE = 1024
    ARMS_NEAR = 2048  # two arms would have come nearer than their margin


@facts
class TickRecord:
    """One tick. Column names in the store are these field names; `observation` and `groups` are flattened to
    `observation/<field>` and `<group>/<name>`; images are stored by reference as `image/<camera>` blobs."""

    step: int
    tick_time_ns: int
    observation_time_ns: int
    stream_times_ns: Mapping[str, int]  # capture time of each stream the observation was made of
    observation: Mapping[str, np.ndarray]  # the fields a policy saw, images excluded
    base_action: Array  # nan where no policy was asked
    residual_action: Array  # policy_action - base_action
    policy_action: Array
    human_action: Array  # nan while no person drives
    executed_action: Array  # after blend, clip and the safety filter; same space and frame as policy_action
    joint_command: Array
    blend_weight: float  # 1: the owner's action alone; < 1 while blending from the last owner
    owner: Owner
    segment: Segment
    intervention_id: int  # -1: none
    safety_clips: Clip
    chunk_id: int  # -1: none
    chunk_offset: int
    generation: int
    policy_version: int
    reward_task: float = 0.0  # from the world
    reward_operator: float = 0.0  # 1 where the operator pressed success
    terminated: bool = False
    truncated: bool = False
    end_reason: EndReason = EndReason.OPEN
    deadline_miss: bool = False
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)

    def columns(self) -> dict[str, np.ndarray]:
        """Flatten to arrays, one per column of the store."""
        flat: dict[str, np.ndarray] = {}
        for name in COLUMNS:
            value = getattr(self, name)
            if name == "observation":
                flat.update({f"observation/{key}": np.asarray(item) for key, item in value.items()})
            elif name == "stream_times_ns":
                flat.update({f"time_ns/{key}": np.asarray(item, np.int64) for key, item in value.items()})
            elif name == "groups":
                flat.update({key: np.asarray(item) for key, item in value.items()})
            else:
                flat[name] = np.asarray(value)
        return flat

    @classmethod
    def from_columns(cls, row: Mapping[str, np.ndarray]) -> "TickRecord":
        """Return the tick that `columns` flattened; ConfigError names the core columns that are absent."""
        core = {name: row[name] for name in COLUMNS if name in row}
        missing = [name for name in COLUMNS if name not in core and name not in _NESTED]
        if missing:
            raise ConfigError(f"a tick lacks the columns {', '.join(missing)}")
        values: dict[str, Any] = {name: _ENUMS[name](int(core[name])) for name in _ENUMS}
        values |= {name: item if item.ndim else item.item() for name, item in core.items() if name not in _ENUMS}
        prefixed = ("observation/", "time_ns/")
        extra = {name: item for name, item in row.items() if name not in core and not name.startswith(prefixed)}
        return cls(
            **values,
            observation=_under("observation/", row),
            stream_times_ns={name: int(item) for name, item in _under("time_ns/", row).items()},
            groups=extra,
        )


COLUMNS = tuple(inspect.signature(TickRecord).parameters)
_ENUMS = {"owner": Owner, "segment": Segment, "safety_clips": Clip, "end_reason": EndReason}
_NESTED = ("observation", "stream_times_ns", "groups")


def _under(prefix: str, row: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): item for name, item in row.items() if name.startswith(prefix)}
