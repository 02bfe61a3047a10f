"""What the critics of a residual run are worth, for its log: of demonstrations and of the latest online steps apart.

Beside the values of what was executed stand those of the base's own action and of the base with the present residual:
where all three are one, the critics do not tell actions apart, and the actor follows their errors (residual spec,
section 9; off_policy spec, section 6). Nothing here is drawn at random: the run is the same without it.
"""

import numpy as np
import torch

from policies.learners.residual import ResidualLearner
from policies.replay import Replay
from policies.residual_policy import compose

ROWS = 1024  # the latest of each source


@torch.no_grad()
def residual_metrics(name: str, learner: ResidualLearner, replay: Replay) -> dict[str, float]:
    """Return means over the latest rows of a replay; nothing where it is empty.

    `value`, `base_value` and `corrected_value`: the mean of all heads at the executed, the base's and the corrected
    action. `spread`: between heads, at the executed one. `td_error`: how far that mean lies from the target, taken
    without noise and with the mean of all target heads.

    Args:
        name: of the rows, in the keys.
        learner: its live networks are asked, and its targets for the error.
        replay: rows of `policies.collection.replay_layout`.
    """
    count = min(len(replay), ROWS)
    if count == 0:
        return {}
    latest = np.arange(replay.added - count, replay.added) % len(replay.rows)
    rows = replay.split(torch.from_numpy(replay.rows[latest]))
    state, base, next_base, scale = rows["state"], rows["base"], rows["next_base"], learner.residual.scale
    values = learner.critic(state, rows["action"])
    corrected = compose(base, learner.actor(state, base), scale)
    ahead = compose(next_base, learner.target_actor(rows["next_state"], next_base), scale)
    expected = learner.target_critic(rows["next_state"], ahead).mean(dim=0)
    error = values.mean(dim=0) - torch.addcmul(rows["reward"], rows["discount"], expected)
    found = {
        "value": values.mean(),
        "base_value": learner.critic(state, compose(base, torch.zeros_like(base), scale)).mean(),
        "corrected_value": learner.critic(state, corrected).mean(),
        "spread": values.std(dim=0, correction=0).mean(),
        "td_error": error.abs().mean(),
    }
    return {f"critic/{name}_{what}": float(value) for what, value in found.items()}
