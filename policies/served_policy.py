"""A policy whose weights can be exchanged while it is served: verified in the background, taken over between chunks."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from policies.checkpoint import load_policy
from robot.chunk_runner import ask_after
from robot.errors import CheckpointMismatch
from robot.observation_history import repeated
from robot.policy import ActionChunk, Policy, PolicySpec
from robot.types import Array

LATENCY_STEPS = 2
AGE_GROUP = "learner/parameter_age_s"


@dataclass(frozen=True, slots=True)
class Weights:
    """One announcement of a learner. `sha256` is of the file's bytes; `time_ns` is when the weights were made."""

    path: str
    sha256: str
    version: int
    step: int = 0
    time_ns: int = 0


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_verified(weights: Weights, spec: PolicySpec) -> Policy:
    """Load announced weights; CheckpointMismatch unless the file is the announced one and its policy is alike."""
    path = Path(weights.path)
    if not path.is_file():
        raise CheckpointMismatch(f"weights version {weights.version}: no file at {path}")
    found = file_hash(path)
    if found != weights.sha256:
        raise CheckpointMismatch(
            f"weights version {weights.version} at {path}: sha256 expected {weights.sha256[:12]}, "
            f"found {found[:12]}; the policy keeps its weights"
        )
    policy = load_policy(path)
    if policy.spec != spec:
        raise CheckpointMismatch(f"weights version {weights.version}: spec expected {spec}, found {policy.spec}")
    return policy


def in_real_time(spec: PolicySpec) -> PolicySpec:
    """Return the spec with an execution horizon that leaves time for the next answer before the chunk runs out.

    Replanning takes a step of latency, and the ticks that follow the plan lie up to a step after it.
    """
    return replace(spec, execution_horizon=max(1, min(spec.execution_horizon, spec.action_horizon - LATENCY_STEPS)))


class ServedPolicy:
    """Behind the policy contract, with `spec` instead of its own where one is given.

    `offer` may be called from another thread; `act` and `reset` from one.
    """

    def __init__(
        self, policy: Policy, now_ns: Callable[[], int], spec: PolicySpec | None = None, version: int = 0
    ) -> None:
        self.spec = spec or policy.spec
        self.version = version
        self._policy = policy
        self._now_ns = now_ns
        self._offer: tuple[Policy, Weights] | None = None
        self._made_ns: int | None = None

    def offer(self, policy: Policy, weights: Weights) -> None:
        """Hold a policy ready for the next chunk."""
        self._offer = (policy, weights)

    def reset(self) -> None:
        self._policy.reset()

    def warm_up(self) -> None:
        """Answer once for nothing: the first inference of a process takes far longer than all others."""
        nothing = {name: np.zeros(shape) for name, shape in self.spec.observation_shapes.items()}
        self._policy.act(repeated(nothing, self.spec.obs_horizon))
        self._policy.reset()

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        """Answer with one set of weights from first to last point."""
        self._take_offer()
        return self._signed(self._policy.act(observation))

    def act_after(self, observation: Mapping[str, np.ndarray], planned: Array, frozen: int) -> ActionChunk:
        """Answer with what is planned handed on where the policy can continue it."""
        self._take_offer()
        return self._signed(ask_after(self._policy, observation, planned, frozen))

    def _take_offer(self) -> None:
        offer, self._offer = self._offer, None
        if offer is not None:
            self._policy, weights = offer
            self._policy.reset()
            self.version, self._made_ns = weights.version, weights.time_ns

    def _signed(self, answer: ActionChunk) -> ActionChunk:
        chunk = replace(answer, policy_version=self.version)
        if self._made_ns is None:
            return chunk
        age_s = np.float64((self._now_ns() - self._made_ns) / 1e9)
        return replace(chunk, groups={**chunk.groups, AGE_GROUP: age_s})
