"""What methods derive from the record of takeovers: pure functions, nothing of it is ever stored as a fact.

Sources: RLIF (Luo et al. 2024), HIL-SERL (Luo et al. 2024), RaC (Hu et al. 2025). Every function takes the ticks of one
episode and returns one value per tick, shape (T,).
"""

from collections.abc import Sequence

import numpy as np

from policies.takeovers.ticks import Ticks
from robot.errors import ConfigError
from robot.types import Segment

KNOWN_TICKS_AHEAD = 30  # how far before a takeover its distance is told


def before_takeover(ticks: Ticks) -> np.ndarray:
    """Say of which ticks the policy executed the action and a person took over in the very next one.

    One per takeover that has such a tick: none where a person drives from the first tick, none at a hand-back, none
    where a hold or a stop lies between.
    """
    begins = ticks.begins_intervention & ticks.follows
    return ticks.is_policy & np.concatenate([begins[1:], [False]])


def takeover_penalty(ticks: Ticks) -> np.ndarray:
    """Return RLIF's reward: -1 on the policy's last executed transition before each takeover, else 0."""
    return -before_takeover(ticks).astype(np.float64)


def soft_blame(ticks: Ticks, kernel: Sequence[float]) -> np.ndarray:
    """Return -1 for each takeover, spread over the policy's last ticks: a person needs time to react.

    Args:
        ticks: of one episode.
        kernel: weights of the last tick before the takeover, the one before it, ...; where the policy has driven for
            fewer ticks they share the whole blame. (1.0,) is RLIF's own reward.
    """
    weights = np.asarray(kernel, np.float64)
    if weights.ndim != 1 or not len(weights) or (weights < 0.0).any() or weights[0] <= 0.0:
        raise ConfigError(f"a kernel of blame has weights >= 0, the first above 0, got {list(kernel)}")
    blame = np.zeros(len(ticks))
    for last in np.flatnonzero(before_takeover(ticks)):
        reach = min(policy_run(ticks, int(last)), len(weights))
        blame[last - np.arange(reach)] -= weights[:reach] / weights[:reach].sum()
    return blame


def policy_run(ticks: Ticks, last: int) -> int:
    """Return for how many consecutive ticks, up to and with `last`, the policy has been driving."""
    length = 0
    while length <= last and ticks.is_policy[last - length]:
        length += 1
        if not ticks.follows[last - length + 1]:
            break
    return length


def ticks_to_takeover(ticks: Ticks, limit: int = KNOWN_TICKS_AHEAD) -> np.ndarray:
    """Return -k ... -1 on the policy's last k <= `limit` ticks before each takeover, and 0 elsewhere."""
    distance = np.zeros(len(ticks), np.int64)
    for last in np.flatnonzero(before_takeover(ticks)):
        reach = min(policy_run(ticks, int(last)), limit)
        distance[last - np.arange(reach)] = -1 - np.arange(reach)
    return distance


def bootstrap_mask(ticks: Ticks) -> np.ndarray:
    """Return 1 where the next state has a future: a time limit does not take it away, a true end does."""
    return 1.0 - ticks.terminated.astype(np.float64)


def goes_to_replay(ticks: Ticks) -> np.ndarray:
    """Say which ticks an off-policy learner keeps: whatever was executed, whoever decided it, blends included."""
    return ticks.is_driven


def is_judged(ticks: Ticks) -> np.ndarray:
    """Say which ticks an onlooker might have taken over from: the policy's. Of a person's own nobody says a thing."""
    return ticks.is_policy


def goes_to_demonstrations(ticks: Ticks, *, recovery: bool = False) -> np.ndarray:
    """Say which ticks HIL-SERL copies into its demonstrations: a person's, recoveries only where asked for."""
    return ticks.is_human & ((ticks.segment != Segment.RECOVERY) | recovery)


def is_clean_success(ticks: Ticks, *, succeeded: bool) -> bool:
    """Say whether an episode succeeded with nobody's help."""
    return succeeded and not ticks.is_human.any()


def goes_to_imitation(ticks: Ticks, *, succeeded: bool) -> np.ndarray:
    """Say which ticks are imitated: a person's, and a policy's only of a whole success without help (RaC's filter).

    Ticks that blend from one owner to the next are nobody's intention and are left out.
    """
    wanted = ticks.is_driven if is_clean_success(ticks, succeeded=succeeded) else ticks.is_human
    return wanted & (ticks.blend_weight >= 1.0)


def recovery_share(ticks: Ticks) -> float:
    """Return the share of a person's ticks that are recovery; nan where nobody took over."""
    human = ticks.is_human.sum()
    return float((ticks.is_human & (ticks.segment == Segment.RECOVERY)).sum() / human) if human else float("nan")


def breaks_recover_then_correct(ticks: Ticks) -> np.ndarray:
    """Return the ids of interventions that break RaC's first rule: one recovery, then one correction."""
    broken = []
    for intervention in np.unique(ticks.intervention_id[ticks.is_human]):
        mine = ticks.is_human & (ticks.intervention_id == intervention)
        segments = ticks.segment[mine]
        kinds = segments[np.concatenate([[True], np.diff(segments) != 0])].tolist()
        if kinds != [Segment.RECOVERY, Segment.CORRECTION]:
            broken.append(intervention)
    return np.array(broken, np.int64)


def breaks_terminate(ticks: Ticks) -> bool:
    """Say whether RaC's second rule is broken: after a person took over, the policy drives again."""
    human = np.flatnonzero(ticks.is_human)
    return bool(len(human)) and bool(ticks.is_policy[human[0] :].any())
