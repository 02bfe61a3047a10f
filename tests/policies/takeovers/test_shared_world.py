"""A person inside a world, and a person whose time runs out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.data.demonstrations import Demonstrations, demonstrate
from policies.recipes import rlif
from policies.run import Run
from policies.takeovers.budget import LimitedPerson
from policies.takeovers.shared_control import Watched
from policies.takeovers.shared_world import SharedWorld
from robot.errors import ConfigError
from sim.people.judges import RandomJudge
from sim.people.scripted import ScriptedPerson
from tests.gates.two_rooms import HORIZON, TwoRooms, bad_hand, bad_operator

BUDGET = 30


def clinging() -> ScriptedPerson:
    """A person who takes over whenever they may: four ticks of five."""
    return ScriptedPerson(bad_hand(), RandomJudge(1.0))


def episode(world: SharedWorld, seed: int) -> list[dict]:
    world.reset(seed=seed)
    told: list[dict] = []
    is_over = False
    while not is_over:
        seen, _, terminated, truncated, info = world.step(np.array([-1.0, 0.0]))
        told.append(info | {"x": float(seen["position"][0])})
        is_over = terminated or truncated
    return told


def test_what_a_shared_world_executed_is_the_persons_where_they_drove() -> None:
    person = clinging()
    world = SharedWorld(Watched(TwoRooms(success_ends=False), person))
    told = episode(world, 0)
    assert len(told) == HORIZON
    assert [info["is_human"] for info in told[:6]] == [False, True, True, True, True, False]
    for info in told:
        asked_for = np.array_equal(info["executed_action"], [-1.0, 0.0])
        assert asked_for != info["is_human"]
    assert person.driven_ticks == sum(info["is_human"] for info in told)
    assert told[-1]["x"] > 0.0, "the person brought it into the other room"
    again = episode(world, 0)
    assert [info["x"] for info in again] == [info["x"] for info in told], "a seed is a whole episode, person included"


def test_a_shared_world_wants_a_seed() -> None:
    with pytest.raises(ConfigError, match="seed"):
        SharedWorld(Watched(TwoRooms(), clinging())).reset()


def test_a_person_keeps_their_hands_off_once_their_time_is_over() -> None:
    person = LimitedPerson(clinging(), BUDGET)
    world = SharedWorld(Watched(TwoRooms(success_ends=False), person))
    humans = [info["is_human"] for seed in range(2) for info in episode(world, seed)]
    assert sum(humans) == person.driven_ticks == BUDGET
    assert not any(humans[HORIZON:])
    with pytest.raises(ConfigError, match="budget"):
        LimitedPerson(clinging(), 0)


def test_rlif_ends_with_the_persons_time(tmp_path: Path) -> None:
    env, person = TwoRooms(success_ends=False), bad_operator()
    shown = Demonstrations(
        "two-rooms", {"position": (2,)}, ("x", "y"), -np.ones(2), np.ones(2), 10.0, [demonstrate(env, bad_hand(), 0)], 1
    )
    config = replace(rlif.PRESETS["debug"], human_budget=BUDGET)
    state = rlif.finetune(Watched(env, person), None, shown, config, Run(tmp_path, tensorboard=False), seed=0)
    assert person.driven_ticks == BUDGET
    assert 0 < state.iterations < config.env_steps
