"""Relative frames: a step aside changes nothing, and whoever drives is mapped with the pose of the same tick."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.checkpoint import load_policy
from policies.data.demonstrations import Demonstrations, collect_from
from policies.observations import unflatten
from policies.recipes import hil_serl
from policies.run import Run
from policies.takeovers.relative import TCP, RelativeControl, RelativeFrames
from policies.takeovers.shared_control import SharedControl, Watched, make_control
from robot.errors import ConfigError
from robot.types import Owner
from robot.worlds import make_env, make_expert
from sim.people.scripted import make_person
from tests.gates.two_rooms import TwoRooms, TwoRoomsExpert

REACH = "tandem/reach"
PLACES = (TCP, "object_state")
AWAY = np.array([0.03, -0.02, 0.01])  # m


@pytest.fixture(scope="module")
def shown() -> Demonstrations:
    return collect_from(make_env(REACH), make_expert(REACH), REACH, 2, 0)


def watched() -> Watched:
    return Watched(make_env(REACH), make_person(REACH))


def test_demonstrations_begin_at_zero_and_their_actions_lead_to_the_same_places(shown: Demonstrations) -> None:
    frames = RelativeFrames(PLACES)
    moved = frames.demonstrations(shown)
    for was, now in zip(shown.trajectories, moved.trajectories, strict=True):
        tcp_was = np.array([_vectors(state, shown)[TCP] for state in was.states])
        tcp_now = np.array([_vectors(state, shown)[TCP] for state in now.states])
        assert np.allclose(tcp_now, tcp_was - tcp_was[0])
        assert np.allclose(frames.to_base(now.actions, tcp_was[:-1]), was.actions)
        assert np.abs(now.actions[:, :3]).max() < np.abs(was.actions[:, :3]).max(), "ways, not places"
        seen = frames.seen(_vectors(was.states[3], shown), tcp_was[0])
        assert np.allclose(np.concatenate([np.ravel(seen[name]) for name in shown.observation_shapes]), now.states[3])


def _vectors(state: np.ndarray, shown: Demonstrations) -> dict[str, np.ndarray]:
    return unflatten(state, shown.observation_shapes)


def test_a_persons_action_is_mapped_with_the_pose_before_it_was_executed() -> None:
    through = RelativeControl(make_control(watched()), RelativeFrames(PLACES))
    plain: SharedControl = make_control(watched())
    seen, base = through.reset(3), plain.reset(3)
    start, owners = base[TCP], []
    way = np.array([0.01, 0.0, 0.0, 0.0])  # away from where the expert goes, or not: a person takes over sometime
    for _ in range(40):
        before = base[TCP]
        seen, ours = through.step(way)
        base, theirs = plain.step(np.concatenate([before + way[:3], way[3:]]))
        assert np.allclose(seen[TCP], base[TCP] - start)
        assert np.allclose(ours.executed_action[:3] + before, theirs.executed_action[:3])
        owners.append(ours.owner is Owner.HUMAN)
        if owners[-1]:
            assert np.allclose(ours.human_action[:3] + before, theirs.human_action[:3])
        if theirs.terminated or theirs.truncated:
            break
    assert any(owners) and not all(owners)


def test_what_was_learned_in_relative_frames_acts_the_same_a_step_aside(shown: Demonstrations, tmp_path: Path) -> None:
    config = replace(hil_serl.PRESETS["debug"], places=PLACES)
    run = Run(tmp_path, tensorboard=False)
    hil_serl.finetune(watched(), None, shown, config, run, seed=0)
    policy = load_policy(run.policy_path)
    seen, _ = make_env(REACH).reset(seed=5)
    aside = {name: value + AWAY if name in PLACES else value for name, value in seen.items()}
    here = policy.act(seen).actions[0]
    policy.reset()
    there = policy.act(aside).actions[0]
    assert np.allclose(there[:3] - here[:3], AWAY, atol=1e-5)
    assert there[3] == here[3]
    back = policy.act(seen).actions[0]
    assert not np.allclose(back, here), "no reset: still seen from where the episode began"


def test_a_world_that_is_not_commanded_by_places_is_refused() -> None:
    shown = collect_from(TwoRooms(), TwoRoomsExpert(), "gates/two-rooms", 1, 0)
    with pytest.raises(ConfigError, match="relative frames need places"):
        RelativeFrames().demonstrations(shown)
