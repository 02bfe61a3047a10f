"""The handover: who does what, when it counts, and that neither arm can do it alone."""

from typing import Any

import mujoco
import numpy as np
import pytest

from robot.worlds import make_env, make_expert, make_operator
from sim.tasks.handover import GIVER, TAKER, Handover

BAR = Handover().bar


def episode(env: Any, expert: Any, seed: int) -> tuple[bool, list[dict[str, np.ndarray]]]:
    observation, _ = env.reset(seed=seed)
    expert.reset(seed)
    seen, ended = [observation], False
    while not ended:
        observation, _, terminated, truncated, _ = env.step(expert.act(observation))
        seen.append(observation)
        ended = terminated or truncated
    return terminated, seen


@pytest.mark.slow
def test_the_expert_hands_over_from_a_hundred_starts() -> None:
    env, expert = make_env("tandem/handover"), make_expert("tandem/handover")
    assert sum(episode(env, expert, seed)[0] for seed in range(100)) >= 95


def test_left_lifts_both_hold_in_the_air_then_right_lays_down() -> None:
    env, expert = make_env("tandem/handover"), make_expert("tandem/handover")
    solved, seen = episode(env, expert, 0)
    assert solved
    travel = np.array([observation["joint_position"][[7, 15]] for observation in seen])
    ends = np.array([observation["object_state"][:6].reshape(2, 3) for observation in seen])
    tcps = np.array([observation["tcp_position"].reshape(2, 3) for observation in seen])
    holds = (np.linalg.norm(tcps - ends, axis=2) < 0.012) & (travel < BAR.half_m[1] + 0.003)
    both = np.flatnonzero(holds.all(axis=1))
    assert len(both) and ends[both, :, 2].min() > 0.2, "it changes hands in the air"
    first = {side: int(np.flatnonzero(holds[:, side])[0]) for side in (GIVER, TAKER)}
    last = {side: int(np.flatnonzero(holds[:, side])[-1]) for side in (GIVER, TAKER)}
    assert first[GIVER] < first[TAKER] <= last[GIVER] < last[TAKER]
    middle = ends[-1].mean(axis=0)
    np.testing.assert_allclose(middle[:2], seen[-1]["object_state"][6:8], atol=Handover.tolerance_m)


def test_it_counts_only_where_both_hands_are_open_and_the_bar_lies_at_the_goal() -> None:
    env: Any = make_env("tandem/handover")
    env.reset(seed=0)
    world = env.loop.world
    task, data = world.task, world.data

    def place(offset: tuple[float, float, float]) -> bool:
        goal = task.goal.position(data)
        task.bar.place(data, goal[:2] + offset[:2], 0.0)
        data.qpos[task.bar._address + 2] += offset[2]
        mujoco.mj_forward(world.model, data)
        return task.success(data)

    assert place((0.0, 0.0, 0.0))
    assert not place((0.03, 0.0, 0.0))
    assert not place((0.0, 0.0, 0.05)), "in the air"
    for finger in task._fingers:
        data.qpos[finger] = 0.012
        assert not place((0.0, 0.0, 0.0)), "still in a hand"
        data.qpos[finger] = 0.04


def test_neither_arm_reaches_both_the_bar_and_the_goal() -> None:
    env: Any = make_env("tandem/handover")
    station, task = env.loop.world.station, env.loop.world.task
    giver, taker = (space.action for space in station.sides)
    assert task.bar_high_m[0] + BAR.half_m[0] < taker.low[0] + 0.01, "the taker's box ends where the bar may begin"
    assert task.goal_low_m[0] - BAR.grip_m > giver.high[0], "the giver cannot lay it down there"


def test_a_dropped_bar_is_picked_up_again() -> None:
    env = make_env("tandem/handover")
    plain, drops = make_expert("tandem/handover"), make_expert("tandem/handover", drop_probability=1.0)
    for seed in range(3):
        (solved, seen), (solved_again, longer) = episode(env, plain, seed), episode(env, drops, seed)
        assert solved and solved_again
        assert len(longer) > len(seen) + 5


def test_a_person_who_moves_one_arm_at_a_time_hands_over_too() -> None:
    env: Any = make_env("tandem/handover")
    operator = make_operator("tandem/handover", demonstrate=True)
    records = [record for _, record in env.loop.run_episode(None, 0, operator)]
    assert records[-1].terminated
    wanted = np.array([record.human_action for record in records[1:]]).reshape(-1, 2, 4)
    commanded = np.array([record.executed_action for record in records[:-1]]).reshape(-1, 2, 4)
    moves = (wanted != commanded).any(axis=2)
    assert not moves.all(axis=1).any(), "never both at once"
    assert moves.any(axis=0).all(), "each of them at some time"
