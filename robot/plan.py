"""The plan: the newest accepted action chunk, sampled at absolute times.

Point i of a chunk is due at `observation_time_ns + (i + 1) * dt_s`, so the part that inference latency has
already consumed is skipped without guessing a clock (robot_graph spec, section 4).
"""

import numpy as np

from robot.policy import ActionChunk
from robot.record import Clip
from robot.types import NS_PER_S, Array, facts

EXPIRY_S = 0.2  # a plan may be followed for its own length and this long more
FUTURE_S = 0.5  # a chunk stamped further ahead than this comes from a broken clock


@facts
class PlanSample:
    """What the plan says for one time, and the chunk that says it."""

    chunk: ActionChunk
    action: Array
    base_action: Array
    offset: int  # index of the point at or before the time
    is_starved: bool  # past the last point, which is held


@facts
class Plan:
    """At most one chunk; `accept` and `cleared` return new plans."""

    chunk: ActionChunk | None = None

    def accept(self, chunk: ActionChunk, *, now_ns: int, generation: int, not_before_ns: int) -> tuple["Plan", Clip]:
        """Take over the chunk, or keep this plan and say why it was refused.

        Args:
            chunk: the newcomer.
            now_ns: the tick's time.
            generation: the ownership generation; chunks of earlier ones are stale.
            not_before_ns: observations at or before this time (the hand-back) are stale.
        """
        refused = refusal(chunk, now_ns=now_ns, generation=generation, not_before_ns=not_before_ns)
        if not refused and self.chunk is not None and chunk.observation_time_ns < self.chunk.observation_time_ns:
            refused = Clip.STALE
        return (self, refused) if refused else (Plan(chunk), Clip.NONE)

    def cleared(self) -> "Plan":
        return Plan()

    def sample(self, time_ns: int) -> PlanSample | None:
        """Return the plan at a time, linear between points, or None without a plan that may be followed."""
        chunk = self.chunk
        if chunk is None:
            return None
        elapsed_s = (time_ns - chunk.observation_time_ns) / NS_PER_S
        horizon = len(chunk.actions)
        if elapsed_s > horizon * chunk.dt_s + EXPIRY_S:
            return None
        position = min(max(elapsed_s / chunk.dt_s - 1.0, 0.0), horizon - 1.0)
        index = round(position)
        if abs(position - index) < 1e-6:  # on a point: the point's own numbers, untouched
            action, base = chunk.actions[index], chunk.base[index]
        else:
            index = int(position)
            action = _between(chunk.actions, index, position - index)
            base = _between(chunk.base, index, position - index)
        return PlanSample(chunk, action, base, index, elapsed_s > horizon * chunk.dt_s + 1e-6)


def refusal(chunk: ActionChunk, *, now_ns: int, generation: int, not_before_ns: int) -> Clip:
    """Return why a chunk may not be followed, or Clip.NONE."""
    for points in (chunk.actions,) if chunk.base_actions is None else (chunk.actions, chunk.base_actions):
        if points.ndim != 2 or points.shape != chunk.actions.shape or not len(points):
            return Clip.INCOMPLETE
        if not np.isfinite(points).all():
            return Clip.NOT_FINITE
    age_s = (now_ns - chunk.observation_time_ns) / NS_PER_S
    if age_s < -FUTURE_S or age_s > len(chunk.actions) * chunk.dt_s + EXPIRY_S:
        return Clip.STALE
    if chunk.generation != generation or chunk.observation_time_ns <= not_before_ns:
        return Clip.STALE
    return Clip.NONE


def _between(points: Array, index: int, fraction: float) -> Array:
    return (1.0 - fraction) * points[index] + fraction * points[index + 1]
