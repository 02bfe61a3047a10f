"""What RLIF learns from: with or without the ticks of which nobody could say that they went wrong."""

import numpy as np
import pytest
import torch

from policies.data.demonstrations import Demonstrations, demonstrate
from policies.recipes.rlif import PRESETS
from policies.takeovers.labels import goes_to_replay, is_judged
from policies.takeovers.rewards import InterventionReward
from policies.takeovers.shared_control import Watched
from policies.takeovers.source import TakeoverSource, Uses
from tests.gates.two_rooms import HORIZON, TwoRooms, bad_hand, bad_operator

TICKS = 3 * HORIZON  # whole episodes: every tick has its label


@pytest.mark.parametrize("learns_unjudged", [True, False])
def test_the_replay_holds_the_ticks_that_it_should_and_every_blame(learns_unjudged: bool) -> None:
    env, person, box = TwoRooms(success_ends=False), bad_operator(), np.ones(2)
    shown = Demonstrations(
        "two-rooms", {"position": (2,)}, ("x", "y"), -box, box, 10.0, [demonstrate(env, bad_hand(), 0)], 1
    )
    uses = (
        Uses(InterventionReward(), prior="replay")
        if learns_unjudged
        else Uses(InterventionReward(), keeps=is_judged, prior="nowhere")
    )
    assert (uses.keeps is goes_to_replay) == learns_unjudged
    source = TakeoverSource(Watched(env, person), shown, PRESETS["debug"], uses, rows=16, seed=0)
    for _ in range(TICKS):
        source.step()
    rewards = source.online.split(torch.from_numpy(source.online.rows[: len(source.online)]))["reward"]
    driven = person.driven_ticks
    assert TICKS / 4 < driven < TICKS
    assert len(rewards) == (TICKS + HORIZON if learns_unjudged else TICKS - driven)
    assert -rewards.sum() == source.collector.takeovers > 0
