"""What RLIF learns from: with or without the ticks of which nobody could say that they went wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.data.demonstrations import Demonstrations, demonstrate
from policies.recipes.rlif import PRESETS, finetune
from policies.run import Run
from policies.takeovers.labels import goes_to_replay, is_judged
from policies.takeovers.rewards import InterventionReward
from policies.takeovers.shared_control import Watched
from policies.takeovers.source import TakeoverSource, Uses
from tests.gates.two_rooms import HORIZON, STEP, TwoRooms, bad_hand, bad_operator

TICKS = 3 * HORIZON  # whole episodes: every tick has its label


def demonstrated(env: TwoRooms) -> Demonstrations:
    """Return one episode of the bad operator."""
    box, episode = np.ones(2), demonstrate(env, bad_hand(), 0)
    return Demonstrations("two-rooms", {"position": (2,)}, ("x", "y"), -box, box, 10.0, [episode], 1)


@pytest.mark.parametrize("learns_unjudged", [True, False])
def test_the_replay_holds_the_ticks_that_it_should_and_every_blame(learns_unjudged: bool) -> None:
    env, person = TwoRooms(success_ends=False), bad_operator()
    shown = demonstrated(env)
    uses = (
        Uses(InterventionReward(), prior="replay")
        if learns_unjudged
        else Uses(InterventionReward(), keeps=is_judged, prior="nowhere")
    )
    assert (uses.keeps is goes_to_replay) == learns_unjudged
    source = TakeoverSource(Watched(env, person), shown, PRESETS["debug"], uses, rows=16, seed=0)
    finished = []
    for _ in range(TICKS):
        source.step()
        finished += [] if source.collector.finished is None else [source.collector.finished]
    rewards = source.online.split(torch.from_numpy(source.online.rows[: len(source.online)]))["reward"]
    driven = person.driven_ticks
    assert TICKS / 4 < driven < TICKS
    assert len(rewards) == (TICKS + HORIZON if learns_unjudged else TICKS - driven)
    assert -rewards.sum() == source.collector.takeovers > 0
    assert [len(episode) for episode in finished] == [HORIZON] * (TICKS // HORIZON)
    assert all(episode.truncated and len(episode.states) == HORIZON + 1 for episode in finished)
    assert -sum(episode.rewards.sum() for episode in finished) == source.collector.takeovers
    for episode in finished:  # what moved the point is what it says was executed
        moved = np.linalg.norm(np.diff(episode.states, axis=0), axis=1)
        assert (moved <= STEP * np.linalg.norm(episode.actions, axis=1) + 1e-9).all()


def test_a_run_tells_what_its_critics_think_of_the_latest_episodes(tmp_path: Path) -> None:
    """None of them has a known return: they end by their time limit, and every value of theirs is bootstrapped."""
    env = TwoRooms(success_ends=False)
    run = Run(tmp_path, tensorboard=False)
    finetune(Watched(env, bad_operator()), None, demonstrated(env), PRESETS["debug"], run, seed=0)
    last = json.loads((tmp_path / Run.METRICS).read_text().splitlines()[-1])
    assert last["critic/fresh_value"] <= last["critic/fresh_value_max"]
    assert "critic/fresh_rank" not in last
