"""A shared world whose reward is a classifier's word: for cells in which nothing else knows of success (HIL-SERL).

The classifier and the gate around it come from the demonstrations: how they end is success, what came before is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from policies.data.demonstrations import Demonstrations
from policies.normalization import StateNormalizer
from policies.observations import Shapes, flatten, unflatten
from policies.takeovers.shared_control import Seen, SharedControl
from policies.takeovers.success import BelievedSuccess, Geometry, SuccessClassifier
from robot.errors import ConfigError
from robot.record import TickRecord
from robot.types import Array, EndReason


@dataclass(frozen=True)
class BeliefConfig:
    """When a success is believed."""

    threshold: float = 0.8
    in_a_row: int = 2
    last_ticks: int = 1  # of a demonstration show success
    margin: float = 0.02  # of the box around all shown successes, as a share of what was demonstrated
    steps: int = 500  # of training
    learning_rate: float = 1e-3


def believe_demonstrations(
    demonstrations: Demonstrations, states: StateNormalizer, config: BeliefConfig, *, seed: int
) -> BelievedSuccess:
    """Train a classifier on demonstrations, gated by the box of their ends; ConfigError where none succeeds."""
    shown = [trajectory for trajectory in demonstrations.trajectories if trajectory.is_success]
    if not shown:
        raise ConfigError(
            f"none of {len(demonstrations.trajectories)} demonstrations ends in success: a classifier needs some, or "
            "take the world's own reward"
        )
    ends = np.concatenate([trajectory.states[-config.last_ticks :] for trajectory in shown])
    before = np.concatenate([trajectory.states[: -config.last_ticks] for trajectory in shown])
    classifier = SuccessClassifier(states, seed=seed)
    classifier.fit(ends, before, steps=config.steps, rate=config.learning_rate)
    room = config.margin * np.ptp(demonstrations.states, axis=0)
    shapes = demonstrations.observation_shapes
    box = Geometry(unflatten(ends.min(axis=0) - room, shapes), unflatten(ends.max(axis=0) + room, shapes))
    return BelievedSuccess(classifier, box, threshold=config.threshold, in_a_row=config.in_a_row)


class BelievedControl:
    """Wraps a control: a success that is believed pays 1 and ends the episode.

    The world's own success pays nothing, and is no end that a learner may count on: cut off there. Its failures stay.
    """

    def __init__(self, control: SharedControl, believed: BelievedSuccess, shapes: Shapes) -> None:
        self.control, self.believed, self.shapes = control, believed, shapes
        self.believed.reset()

    def reset(self, seed: int) -> Seen:
        self.believed.reset()
        return self.control.reset(seed)

    def step(self, command: Array) -> tuple[Mapping[str, np.ndarray], TickRecord]:
        seen, record = self.control.step(command)
        if self.believed(seen, flatten(seen, self.shapes)):
            pays = {"reward_task": 1.0, "terminated": True, "truncated": False, "end_reason": EndReason.SUCCESS}
            return seen, replace(record, **pays)
        if record.end_reason is not EndReason.SUCCESS:
            return seen, replace(record, reward_task=0.0)
        cut_off = {"terminated": False, "truncated": True, "end_reason": EndReason.OPERATOR_ABORT}
        return seen, replace(record, reward_task=0.0, **cut_off)
