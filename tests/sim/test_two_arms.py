"""Two arms in one simulated cell: joints by name, the tick that keeps the arms apart, and what a wrong task gets."""

from typing import Any

import mujoco
import numpy as np
import pytest

from robot.control_loop import ControlLoop
from robot.errors import ConfigError
from robot.kinematics.multi_arm import ArmClearance
from robot.policy import ActionChunk
from robot.record import Clip, TickRecord
from robot.specs import load_station
from robot.types import Array
from robot.worlds import make_env, make_expert
from sim.randomization import ASPECTS
from sim.task import make_task
from sim.world import SimWorld

STATION = load_station("fr3_pair_sim")
MARGINS = STATION.spacing.link_margin_m, STATION.spacing.hand_margin_m  # type: ignore[attr-defined]


class Cellmates:
    """The lock-step loop of two arms without anything between them."""

    def __init__(self, seed: int = 0) -> None:
        self.world = SimWorld(STATION, make_task("handover"))
        self.loop = ControlLoop(self.world)
        self.loop.reset(seed)
        self.clearance = ArmClearance(STATION, 0.0, 0.0)
        bar = self.world.model.body("bar").id
        self.world.model.geom_contype[self.world.model.body_geomadr[bar]] = 0
        self.world.model.geom_conaffinity[self.world.model.body_geomadr[bar]] = 0
        roots = self.world.model.body_rootid[self.world.model.geom_bodyid]
        self.arms = [self.world.model.body(f"{name}_base_link").id for name in STATION.side_names]
        self.arm_of = {geom: root for geom, root in enumerate(roots) if root in self.arms}

    def step(self, action: Array) -> TickRecord:
        observation, state = self.loop.observation, self.loop.state
        assert observation is not None and state is not None
        chunk = ActionChunk(action[None], STATION.period_s, observation.time_ns, state.ownership.generation)
        return self.loop.step(chunk)[1]

    def go(self, action: Array, steps: int) -> list[TickRecord]:
        """Step towards an action, and hold in every one that no contact joins the arms."""
        records = []
        for _ in range(steps):
            records.append(self.step(action))
            assert not self.are_touching()
        return records

    def are_touching(self) -> bool:
        found = self.world.data.contact.geom[: self.world.data.ncon]
        touched = [{self.arm_of.get(int(geom), -1) for geom in pair} for pair in found]
        return any(len(pair) == 2 and -1 not in pair for pair in touched)

    @property
    def gap_m(self) -> float:
        return self.clearance.clearance(self.world.robot_state().position)

    @property
    def tcps(self) -> Array:
        return self.world.observe().values["tcp_position"].reshape(2, 3)


def meeting(x: float, y: float = 0.0, z: float = 0.3) -> Array:
    return np.array([x, y, z, 0.04, x, y, z, 0.04])


def test_observations_and_commands_go_by_name() -> None:
    world = SimWorld(STATION, make_task("handover"))
    observation = world.reset(0)
    q, model = observation.robot.position, world.model
    assert [model.joint(int(model.actuator_trnid[i, 0])).name for i in range(model.nu)] == list(STATION.joint_names)
    for i, name in enumerate(STATION.joint_names):
        assert world.data.qpos[model.joint(name).qposadr[0]] == q[i]
        mirror = f"{name}_mirror"
        if "finger" in name:
            assert world.data.qpos[model.joint(mirror).qposadr[0]] == pytest.approx(q[i], abs=1e-4)
    tcps = [world.data.site(f"{name}_tcp").xpos for name in ("left", "right")]
    np.testing.assert_array_equal(observation.values["tcp_position"], np.concatenate(tcps))
    assert world.observation_shapes["tcp_position"] == (6,)
    assert world.observation_shapes["joint_position"] == (16,)


@pytest.mark.parametrize("x", [0.62, 0.675, 0.73])
def test_arms_driven_at_each_other_stop_before_they_touch_and_may_leave(x: float) -> None:
    cell = Cellmates()
    before = cell.tcps
    records = cell.go(meeting(x), 120)
    assert any(record.safety_clips & Clip.ARMS_NEAR for record in records)
    assert np.linalg.norm(cell.tcps[0] - cell.tcps[1]) < np.linalg.norm(before[0] - before[1]), "they do approach"
    assert cell.gap_m > 0.8 * min(MARGINS)
    stood, records = cell.tcps, cell.go(meeting(x), 20)
    np.testing.assert_allclose(cell.tcps, stood, atol=2e-3)
    away = np.array([0.35, 0.1, 0.3, 0.04, 1.0, -0.1, 0.3, 0.04])
    records = cell.go(away, 60)
    assert not any(record.safety_clips & Clip.ARMS_NEAR for record in records)
    np.testing.assert_allclose(cell.tcps, away.reshape(2, 4)[:, :3], atol=5e-3)


@pytest.mark.parametrize("stays", [0, 1])
def test_one_arm_gives_way_while_the_other_leaves(stays: int) -> None:
    cell = Cellmates()
    cell.go(meeting(0.675), 120)
    wanted = meeting(0.675).reshape(2, 4)
    leaver = 1 - stays
    wanted[leaver, 0] = (0.35, 1.0)[leaver]
    start_m = cell.tcps[leaver].copy()
    cell.go(wanted.ravel(), 10)
    assert np.linalg.norm(cell.tcps[leaver] - start_m) > 0.08, "at its full speed: 12.5 mm a tick"
    cell.go(wanted.ravel(), 60)
    np.testing.assert_allclose(cell.tcps[stays], wanted[stays, :3], atol=5e-3)


@pytest.mark.parametrize("seed", range(4))
def test_no_actions_bring_the_arms_in_contact(seed: int) -> None:
    cell, rng = Cellmates(seed), np.random.default_rng(seed)
    near = 0
    for _ in range(25):
        x, y, z = rng.uniform((0.55, -0.15, 0.08), (0.8, 0.15, 0.4))
        wanted = np.array([x, y, z, 0.04, *(np.array([x, y, z]) + rng.normal(0.0, 0.05, 3)), 0.04])
        near += sum(bool(record.safety_clips & Clip.ARMS_NEAR) for record in cell.go(wanted, 20))
    assert near > 20, "the test must bring them near"


def test_a_task_for_another_number_of_arms_is_refused_in_one_line() -> None:
    for env_id in ("tandem/lift?station=fr3_pair_sim", "tandem/handover?station=fr3_sim"):
        for make in (make_env, make_expert):
            with pytest.raises(ConfigError, match="needs a station of") as refusal:
                make(env_id)
            assert "\n" not in str(refusal.value)


def test_the_domain_is_drawn_for_two_arms_too() -> None:
    plain: Any = make_env("tandem/handover")
    drawn: Any = make_env("tandem/handover", randomize=True)
    arms = [plain.loop.world.model.body(f"{name}_hand").id for name in STATION.side_names]
    for seed in (1, 2):
        first, second = plain.reset(seed=seed)[0], drawn.reset(seed=seed)[0]
        np.testing.assert_array_equal(first["object_state"], second["object_state"])
        worlds = plain.loop.world, drawn.loop.world
        assert {name.partition("/")[0] for name in worlds[1].drawn} == set(ASPECTS)
        np.testing.assert_array_equal(*(world.model.body_mass[arms] for world in worlds), "arms weigh what they weigh")
        bars = [world.model.body_mass[world.model.body("bar").id] for world in worlds]
        assert bars[0] != bars[1]


def test_every_camera_sees_its_place() -> None:
    world = SimWorld(STATION, make_task("handover"), images=("scene", "left_wrist", "right_wrist"), image_size=48)
    values = world.reset(0).values
    mujoco.mj_camlight(world.model, world.data)
    for name in ("left", "right"):
        hand, camera = world.data.body(f"{name}_hand").xpos, world.data.camera(f"{name}_wrist").xpos
        assert np.linalg.norm(hand - camera) < 0.1
    images = [values[f"image/{name}"] for name in ("scene", "left_wrist", "right_wrist")]
    assert all(image.std() > 5 for image in images)
    assert not np.array_equal(images[1], images[2])
    world.close()
