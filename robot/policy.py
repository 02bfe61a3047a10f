"""The numpy policy contract and the action chunk that every policy answers with.

Horizons (one definition, here): `obs_horizon` observations seen, `action_horizon` actions predicted,
`execution_horizon` actions executed before the policy is asked again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from robot.errors import CheckpointMismatch
from robot.types import Array, facts


@facts
class ActionChunk:
    """Actions of the next `action_horizon` control steps, in station units.

    Point i is due at `observation_time_ns + (i + 1) * dt_s`. `generation` is the ownership generation in
    which the policy was asked: a chunk of an earlier generation is stale and is never executed.
    """

    actions: Array  # (action_horizon, action_dim)
    dt_s: float
    observation_time_ns: int = 0
    generation: int = 0
    chunk_id: int = 0
    policy_version: int = 0
    base_actions: Array | None = None  # the base policy's part, same shape; None: the same as `actions`
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)  # optional record groups, e.g. noise

    @property
    def base(self) -> Array:
        return self.actions if self.base_actions is None else self.base_actions


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What a policy needs and answers; compared with the station before anything moves (`robot.preflight`).

    With `obs_horizon` > 1 every field it is given has a leading axis of so many control steps, oldest first
    (`robot.observation_history`); `observation_shapes` are those of one step. `joint_names` is the order of the joints
    in its fields, `units` those of its fields and of `action`, as `robot.units` writes them; both may be left
    undeclared. `execution` is how its chunks are executed (`robot.chunk_runner.Execution.parse`).
    """

    observation_shapes: Mapping[str, tuple[int, ...]]
    action_names: tuple[str, ...]
    rate_hz: float
    action_horizon: int
    execution_horizon: int
    obs_horizon: int = 1
    joint_names: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    execution: str = "receding"

    def __post_init__(self) -> None:
        if not 1 <= self.execution_horizon <= self.action_horizon:
            raise CheckpointMismatch(
                f"execution_horizon {self.execution_horizon} must lie in 1..action_horizon ({self.action_horizon})"
            )
        if self.obs_horizon < 1:
            raise CheckpointMismatch(f"obs_horizon is {self.obs_horizon}, it must be 1 or more")


@runtime_checkable
class Policy(Protocol):
    """Anything that turns an observation into a chunk; numpy in, numpy out, no queue inside."""

    spec: PolicySpec

    def reset(self) -> None:
        """Forget everything of the episode so far."""
        ...

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        """Return the chunk for one observation: arrays without a batch axis, with one of time if obs_horizon > 1."""
        ...
