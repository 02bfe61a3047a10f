"""The data mix: who drives, labels at every tick, a recording that goes on where it stopped."""

from pathlib import Path

import numpy as np
import pytest

from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.images import encode_image
from robot.record import tick_from_outside
from robot.types import EndReason, Owner, Segment
from world_models.drivers import Belief, NearMiss, Wander
from world_models.recording import Mix, record_mix

LOW, HIGH, GRIPPER = np.zeros(4), np.ones(4), np.array([3])


def test_episodes_outlast_success_and_every_tick_is_labelled(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    mix = Mix(success=1.0, near_miss=0.0, clones=0.0)
    first = record_mix("tandem/reach", store, 1, views=("scene",), image_size=16, ticks=60, mix=mix, seed=3)
    later = record_mix("tandem/reach", store, 2, views=("scene",), image_size=16, ticks=60, mix=mix, seed=3)
    assert (first["recorded_now"], later["recorded_now"]) == (1, 1)
    infos = store.episodes()
    assert [info.steps for info in infos] == [60, 60]
    assert {info.end_reason for info in infos} == {EndReason.TIMEOUT}
    rewards = store.load(infos[0].episode_id).columns["reward_task"]
    assert set(rewards.tolist()) == {0.0, 1.0}
    assert len(infos[0].metadata["start_cell"]) == 2


def test_an_episode_that_was_cut_short_is_recorded_again(tmp_path: Path) -> None:
    store, mix = EpisodeStore(tmp_path), Mix(success=0.0, near_miss=0.0, clones=0.0)
    writer = store.open_episode({"station": "fr3_sim", "task": "reach", "number": 0})
    tick = tick_from_outside(0, {}, np.zeros(4), owner=Owner.POLICY, segment=Segment.ROLLOUT)
    writer.append(tick, {"scene": encode_image(np.zeros((16, 16, 3), np.uint8))})
    writer.close(EndReason.CRASH)
    for wanted in (1, 0):
        found = record_mix("tandem/reach", store, 1, views=("scene",), image_size=16, ticks=6, mix=mix)
        assert found["recorded_now"] == wanted
    assert sorted(info.steps for info in store.episodes()) == [1, 6]


def test_wandering_is_smooth_and_stays_in_its_box() -> None:
    wander, command, steps = Wander(LOW, HIGH, GRIPPER), np.full(4, 0.5), []
    wander.reset(1)
    for _ in range(200):
        action = wander.act({}, command)
        steps.append(action[:3] - command[:3])
        command = action
        assert (action >= LOW).all()
        assert (action <= HIGH).all()
    steps = np.array(steps)
    assert np.abs(steps).max() < 0.1
    assert np.corrcoef(steps[:-1].ravel(), steps[1:].ravel())[0, 1] > 0.6


def test_a_near_miss_aims_beside_or_above_the_thing_by_what_is_said() -> None:
    driver = NearMiss("tandem/lift", GRIPPER)
    shifts = []
    for seed in range(60):
        driver.reset(seed)
        shifts.append(driver.belief.shift)
    beside = [np.linalg.norm(shift) for shift in shifts if shift[:2].any()]
    above = [shift[2] for shift in shifts if shift[2]]
    assert 20 <= len(beside) <= 40
    assert 15 <= len(above) <= 35
    assert len(beside) + len(above) < 60
    assert 0.01 <= min(beside) <= max(beside) <= 0.035
    assert 0.025 <= min(above) <= max(above) <= 0.06


def test_who_closed_the_hand_on_nothing_believes_to_hold_the_thing_until_it_opens() -> None:
    belief, cube, tcp = (
        Belief(np.array([0.02, 0.0, 0.0]), GRIPPER),
        np.array([0.5, 0.0, 0.02]),
        np.array([0.52, 0, 0.02]),
    )
    lifted = tcp + np.array([0.0, 0.0, 0.1])
    for gripper, place, expected in (
        (0.04, tcp, 0.02),
        (0.0, tcp, 0.02),
        (0.0, lifted, 0.12),
        (0.04, tcp, 0.02),
    ):
        seen = belief.seen({"object_state": cube, "tcp_position": place})
        assert np.allclose(seen["object_state"], [0.52, 0.0, expected])
        belief.heed(seen, np.array([*place, gripper]))
    far = {"object_state": cube, "tcp_position": tcp + np.array([0.0, 0.0, 0.2])}
    belief.heed(belief.seen(far), np.array([*tcp, 0.0]))
    assert np.allclose(belief.seen(far)["object_state"], [0.52, 0.0, 0.02])  # closed far from it: nothing is held


def test_a_late_gripper_keeps_its_command_for_so_long() -> None:
    driver, seed = NearMiss("tandem/lift", GRIPPER), 0
    while not driver._delay.maxlen:
        driver.reset(seed := seed + 1)
    cube = np.array([0.5, 0.0, 0.02])
    seen = {"tcp_position": cube, "joint_position": np.full(8, 0.04), "object_state": cube}
    asked = [driver.act(seen, np.array([*cube, 0.04]))[3] for _ in range(driver._late + 2)]
    assert asked == [0.04] * driver._late + [0.0] * 2


def test_impossible_mixes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"at most 1 together, got \(0.5, 0.4, 0.3\)"):
        Mix(0.5, 0.4, 0.3)
