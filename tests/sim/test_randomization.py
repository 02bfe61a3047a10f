"""Domain randomisation: each aspect changes what it should and nothing else, follows from the seed, and is recorded."""

from typing import Any

import mujoco
import numpy as np
import pytest

from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.lockstep_recording import record_lockstep
from robot.worlds import make_env, make_expert, make_operator, split_id
from sim.randomization import ASPECTS

TASK = "tandem/place-in-bin"
SEEN = {"light": True, "colour": True, "camera": True, "dynamics": False, "latency": False}  # in the first image
DERIVED = {  # by MuJoCo from the masses; the last two are of cameras and lights that follow a body, and there are none
    *("body_subtreemass", "body_invweight0", "dof_M0", "dof_invweight0", "actuator_acc0"),
    *("cam_poscom0", "light_poscom0"),
}
FIELDS = {
    "light": {"light_pos", "light_diffuse"},
    "colour": {"geom_rgba"},
    "camera": {"cam_pos", "cam_quat"},
    "dynamics": {
        *("body_mass", "body_inertia", "geom_friction", "dof_damping", "actuator_gainprm", "actuator_biasprm"),
        *DERIVED,
    },
    "latency": set(),
}


def arrays(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    values = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    found = {name: value.copy() for name, value in values.items() if isinstance(value, np.ndarray)}
    return found | {"ambient": model.vis.headlight.ambient.copy()}


def play(env: Any, seed: int, steps: int = 25) -> np.ndarray:
    """Return the observed numbers of the start of an episode, under fixed actions."""
    observation, _ = env.reset(seed=seed)
    expert = make_expert(TASK)
    rows, plain = [observation], make_env(TASK)
    guide, _ = plain.reset(seed=seed)  # the actions come from the plain world, so they are the same in every other
    for _ in range(steps):
        action = expert.act(guide)
        guide, *_ = plain.step(action)
        rows.append(env.step(action)[0])
    return np.array([np.concatenate([row["joint_position"], row["object_state"]]) for row in rows])


@pytest.mark.parametrize("aspect", ASPECTS)
def test_an_aspect_changes_what_it_should_and_nothing_else(aspect):
    plain: Any = make_env(TASK, images=("scene",), image_size=48)
    other: Any = make_env(TASK, images=("scene",), image_size=48, randomize=(aspect,))
    before = arrays(other.loop.world.model)
    (at_plain, _), (at_other, _) = plain.reset(seed=3), other.reset(seed=3)
    after = arrays(other.loop.world.model)
    changed = {name for name in before if not np.allclose(before[name], after[name], rtol=1e-9, atol=1e-12)}
    assert changed - FIELDS[aspect] <= ({"ambient"} if aspect == "light" else set())
    assert FIELDS[aspect] - changed <= {
        "dof_M0",
        "dof_invweight0",
        "body_subtreemass",
        "actuator_acc0",
        "cam_poscom0",
        "light_poscom0",
    }
    image = "image/scene"
    for name in set(at_plain) - {image}:
        np.testing.assert_array_equal(at_plain[name], at_other[name], err_msg=f"the start of seed 3 has another {name}")
    assert (at_plain[image] != at_other[image]).any() == SEEN[aspect]
    moves_otherwise = not np.array_equal(play(plain, 3), play(other, 3))
    assert moves_otherwise == (aspect in ("dynamics", "latency"))
    assert {name.partition("/")[0] for name in other.loop.world.drawn} == {aspect}
    plain.close()
    other.close()


def test_the_switch_is_all_aspects_and_each_draws_the_same_as_alone():
    everything: Any = make_env(TASK, randomize=True)
    everything.reset(seed=5)
    drawn = dict(everything.loop.world.drawn)
    assert {name.partition("/")[0] for name in drawn} == set(ASPECTS)
    for aspect in ASPECTS:
        alone: Any = make_env(TASK, randomize=aspect)
        alone.reset(seed=5)
        assert dict(alone.loop.world.drawn).items() <= drawn.items()
    with pytest.raises(ConfigError, match="did you mean 'colour'"):
        make_env(TASK, randomize=("color",))


def test_draws_follow_from_the_seed_differ_between_episodes_and_start_from_the_nominal_values():
    env: Any = make_env(TASK, randomize=True)
    world = env.loop.world
    first = play(env, 7)
    drawn, model = dict(world.drawn), arrays(world.model)
    for seed in range(5):
        env.reset(seed=seed)
        assert dict(world.drawn) != drawn
    again = play(env, 7)
    np.testing.assert_array_equal(first, again)
    assert dict(world.drawn) == drawn == dict(world.draw_of(7))
    for name, value in arrays(world.model).items():
        np.testing.assert_allclose(value, model[name], rtol=1e-12, atol=1e-15, err_msg=f"{name} drifts")
    env.reset()
    assert dict(world.drawn) != drawn, "resets without a seed go on drawing"


def test_latency_delays_the_arm_by_what_was_drawn():
    env: Any = make_env("tandem/reach", randomize=("latency",))
    late = {}
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        target = np.append(observation["tcp_position"] + [0.0, 0.0, 0.01], 0.04)
        moved = [env.step(target)[0]["tcp_position"][2] - observation["tcp_position"][2]]
        late[env.loop.world.drawn["latency/command_s"][0]] = moved[0]
    delays = np.array(sorted(late))
    heights = np.array([late[delay] for delay in delays])
    assert delays.min() >= 0.0
    assert delays.max() <= 0.04
    assert heights[delays < 0.008].min() > 2 * heights[delays > 0.032].max()


@pytest.mark.parametrize("task", ["place-in-bin", "tidy-drawer"])
def test_the_expert_still_solves_a_randomised_task(task):
    env, expert = make_env(f"tandem/{task}?randomize=true"), make_expert(f"tandem/{task}?randomize=true")
    solved = 0
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        expert.reset(seed)
        ended = False
        while not ended:
            observation, _, terminated, truncated, _ = env.step(expert.act(observation))
            ended = terminated or truncated
        solved += terminated
    assert solved >= 9


def test_what_was_drawn_is_in_the_episodes_metadata(tmp_path):
    store, env_id = EpisodeStore(tmp_path), "tandem/reach?randomize=true"
    operator = make_operator(env_id, demonstrate=True)
    recorded = record_lockstep(env_id, store, iter([4]), operator=operator)
    info = next(recorded)
    recorded.close()
    env: Any = make_env(env_id)
    env.reset(seed=4)
    assert info.metadata["randomize"] == list(ASPECTS)
    assert info.metadata["drawn"] == dict(env.loop.world.drawn)
    assert info.metadata["task"] == "reach"
    plain = record_lockstep("tandem/reach", store, iter([4]), operator=operator)
    assert "drawn" not in next(plain).metadata
    plain.close()


def test_an_environment_id_carries_options():
    assert split_id("tandem/lift?station=fr3_sim&randomize=true&max_steps=7") == (
        "tandem/lift",
        {"station": "fr3_sim", "randomize": True, "max_steps": 7},
    )
    env: Any = make_env("tandem/lift?randomize&max_steps=7")
    assert env.loop.world.aspects == ASPECTS
    assert env.interface.max_steps == 7
    with pytest.raises(ConfigError, match="option of task lift"):
        make_env("tandem/lift?steps=7")
