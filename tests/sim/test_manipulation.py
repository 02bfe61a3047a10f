"""What counts as solved in the tasks that move things, and that each failure on the way can be undone."""

from typing import Any

import mujoco
import numpy as np
import pytest

from robot.worlds import make_env, make_expert
from sim.grasping import OPEN_M


class Bench:
    """A task's world whose objects a test places by hand, without any motion."""

    def __init__(self, task: str) -> None:
        self.env: Any = make_env(f"tandem/{task}")
        self.observation, _ = self.env.reset(seed=0)
        self.world = self.env.loop.world
        self.task, self.data = self.world.task, self.world.data

    def put(self, thing: Any, position: np.ndarray | tuple[float, ...]) -> None:
        self.data.qpos[thing._address : thing._address + 3] = position
        self.data.qvel[:] = 0.0
        mujoco.mj_forward(self.world.model, self.data)

    def settle(self, steps: int = 10) -> bool:
        """Let everything fall while the arm stands, hand open; say whether the task counts as solved."""
        action = np.append(self.world.observe().values["tcp_position"], OPEN_M)
        for _ in range(steps):
            *_, info = self.env.step(action)
            if info["success"]:
                return True
        return False


def test_a_cube_counts_in_the_bin_only_when_it_lies_there():
    bench = Bench("place-in-bin")
    opening, task = bench.task.bin.position(bench.data), bench.task
    bench.put(task.cube, opening + np.array([0.0, 0.0, 0.05]))
    assert not task.success(bench.data), "over the rim is not inside"
    assert bench.settle(), "it falls in"
    beside = Bench("place-in-bin")
    beside.put(beside.task.cube, opening + np.array([0.0, -0.12, 0.0]))
    assert not beside.settle()


def test_a_cube_counts_as_stacked_only_when_the_hand_has_let_go():
    bench = Bench("stack")
    task, finger = bench.task, bench.task._finger
    top = task.base.position(bench.data) + np.array([0.0, 0.0, task.base.half_m + task.cube.half_m])
    bench.put(task.cube, top)
    assert task.success(bench.data)
    bench.data.qpos[finger] = task.cube.half_m
    assert not task.success(bench.data), "still in the fingers"
    bench.data.qpos[finger] = OPEN_M
    bench.put(task.cube, top + np.array([0.03, 0.0, 0.0]))
    assert not task.success(bench.data), "beside its middle"


def test_the_stages_of_the_drawer_follow_from_the_scene_and_each_can_be_lost_again():
    bench = Bench("tidy-drawer")
    task, data, cabinet = bench.task, bench.data, bench.task.cabinet

    def stage(opening_m: float, cube: np.ndarray) -> int:
        data.qpos[cabinet._joint] = opening_m
        bench.put(task.cube, cube)
        return task.stage(task.object_state(data))

    table = task.cube.position(data)
    front = data.mocap_pos[0] - (0.14, 0.0, 0.0)
    inside = front + np.array([0.06, 0.0, 0.04])
    assert stage(0.0, table) == 0, "a closed drawer with nothing in it is no success"
    assert stage(0.14, table) == 1
    assert stage(0.14, inside) == 2
    assert stage(0.005, inside + np.array([0.135, 0.0, 0.0])) == 3
    assert stage(0.005, table) == 0, "taken out again"


@pytest.mark.parametrize("task", ["place-in-bin", "stack", "tidy-drawer"])
def test_a_dropped_cube_is_picked_up_again(task):
    for seed in range(3):
        env, lengths = make_env(f"tandem/{task}"), []
        for drops in (0.0, 1.0):
            expert = make_expert(f"tandem/{task}", drop_probability=drops)
            observation, _ = env.reset(seed=seed)
            expert.reset(seed)
            terminated, steps, info = False, 0, {}
            while not terminated:
                observation, _, terminated, truncated, info = env.step(expert.act(observation))
                steps += 1
                assert not truncated
            assert info["success"]
            lengths.append(steps)
        assert lengths[1] > lengths[0] + 5, "the drop has to be made good"


def test_a_drawer_pushed_shut_is_opened_again():
    env: Any = make_env("tandem/tidy-drawer")
    expert = make_expert("tandem/tidy-drawer")
    observation, _ = env.reset(seed=0)
    expert.reset(0)
    task, data = env.loop.world.task, env.loop.world.data
    pushed, stages, info = False, [], {}
    for _ in range(task.max_steps):
        observation, _, terminated, truncated, info = env.step(expert.act(observation))
        stages.append(task.stage(observation["object_state"]))
        if not pushed and stages[-1] == 1 and observation["object_state"][2] > 0.05:  # the cube is on its way
            data.qpos[task.cabinet._joint], pushed = 0.0, True
        if terminated or truncated:
            break
    assert pushed
    assert info["success"]
    changes = [stage for stage, before in zip(stages[1:], stages) if stage != before]
    assert changes == [1, 0, 1, 2, 3]
