"""Random ownership schedules through the ownership machine, as ticks: what labels are held against."""

import numpy as np

from policies.takeovers.ticks import Ticks
from robot import ownership
from robot.ownership import Mode, Ownership, OwnershipRules
from robot.types import Mark, OperatorInput, OwnerRequest

REQUESTS = (OwnerRequest.NONE, OwnerRequest.TAKE_OVER, OwnerRequest.HAND_BACK, OwnerRequest.FREEZE)


def random_ticks(seed: int, length: int = 30) -> Ticks:
    """Return one episode's ticks under a random operator, recovery first, holds and gaps in the record included."""
    rng = np.random.default_rng(seed)
    rules = OwnershipRules(first_segment=Mode.HUMAN_RECOVERY, min_policy_ticks=int(rng.integers(1, 3)))
    state = ownership.begin(Ownership(), 0, autonomous=bool(rng.random() < 0.8))
    rows, step, engaged = [], 0, False
    for tick in range(length):
        if rng.random() < 0.3:
            engaged = not engaged
        request = REQUESTS[rng.choice(4, p=[0.5, 0.25, 0.2, 0.05])]
        mark = Mark.CORRECTION if rng.random() < 0.2 else Mark.NONE
        packet = OperatorInput(tick, tick, "random", engaged, request, mark)
        state = ownership.advance(rules, state, time_ns=tick, operator=packet, operator_age_s=0.0, fault=False)
        weight = float(rng.choice([0.5, 1.0], p=[0.2, 0.8])) if state.mode is not Mode.HOLD else 1.0
        rows.append((step, state.owner, state.segment, state.intervention_id, weight, False, False))
        if state.mode is Mode.AUTO:
            state = ownership.count_policy_tick(state)
        step += 1 if rng.random() < 0.98 else 2  # a tick without an observation leaves no record
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    columns[5][-1] = rng.random() < 0.5
    columns[6][-1] = not columns[5][-1]
    return Ticks(*columns)
