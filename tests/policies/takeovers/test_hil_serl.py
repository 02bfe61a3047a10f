"""HIL-SERL's parts: rounding, grasp penalty, the gripper's target, routing, frames, the classifier and its gate."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.data.demonstrations import Demonstrations, collect_from
from policies.learners.sac import Transitions
from policies.normalization import StateNormalizer
from policies.recipes.hil_serl import PRESETS, HILSERLSource
from policies.takeovers import frames
from policies.takeovers.believed_control import BelievedControl
from policies.takeovers.gripper import CLOSE, OPEN, STAY, GripperCritic, decisions_of, grasp_penalties
from policies.takeovers.shared_control import Onlooker, Watched, make_control
from policies.takeovers.success import BelievedSuccess, Geometry, SuccessClassifier
from robot import geometry
from robot.errors import ConfigError
from robot.types import EndReason
from sim.people.judges import RandomJudge
from sim.people.scripted import Faults, FaultyHand, ScriptedPerson
from tests.gates.blocked_peg import BlockedPeg, BlockedPegExpert
from tests.gates.three_gates import HORIZON, ThreeGates, ThreeGatesExpert, recovering_person
from tests.gates.two_rooms import TwoRooms, TwoRoomsExpert, bad_operator


def test_commands_are_rounded_not_cut_off() -> None:
    assert decisions_of(np.array([0.9, -0.9, 0.95, 0.3, -0.3, 0.0])).tolist() == [OPEN, CLOSE, OPEN, STAY, STAY, STAY]


def test_only_changes_of_the_gripper_cost() -> None:
    commands = np.array([1.0, 1.0, 0.0, -1.0, -1.0, 0.2, 0.95])
    assert grasp_penalties(commands, -0.02).tolist() == [0, 0, 0, -0.02, 0, 0, -0.02]
    assert not grasp_penalties(np.array([-1.0, 0.0, -1.0]), -0.02).any(), "the first command finds it as it is"


def test_the_penalty_is_in_the_grippers_target_alone() -> None:
    critic = GripperCritic(2, (8,), 1e-3, torch.Generator().manual_seed(0))
    state = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    zeros = torch.zeros(4)
    batch = Transitions(state, torch.zeros(4, 3), zeros, torch.tensor([0.9, 0.9, 0.0, 0.0]), state)
    goal = critic.goal(batch, torch.tensor([-0.02, 0.0, -0.02, 0.0]))
    best = critic.target(state).gather(1, critic.live(state).argmax(dim=1, keepdim=True))[:, 0]
    assert torch.allclose(goal, batch.discount * best + torch.tensor([-0.02, 0.0, -0.02, 0.0]))


def test_a_gripper_learns_when_to_close() -> None:
    generator = torch.Generator().manual_seed(0)
    critic = GripperCritic(1, (16,), 1e-2, generator)
    state = torch.rand(256, 1, generator=generator) * 2 - 1
    decision = torch.randint(3, (256, 1), generator=generator) - 1.0
    reward = ((decision[:, 0] == CLOSE) == (state[:, 0] > 0)).float()
    batch = Transitions(state, decision, reward, torch.zeros(256), state)
    for _ in range(150):
        critic.update(batch, torch.zeros(256), 0.01)
    assert (critic.decide(torch.tensor([[0.7], [0.4]])) == CLOSE).all()
    assert (critic.decide(torch.tensor([[-0.7], [-0.4]])) != CLOSE).all()


def test_a_persons_ticks_lie_in_both_replays_and_half_a_batch_is_demonstrated(demonstrations: Demonstrations) -> None:
    hand = FaultyHand(BlockedPegExpert(), Faults(), -np.ones(3), np.ones(3))
    world = Watched(BlockedPeg(), ScriptedPerson(hand, RandomJudge(0.3)))
    source = HILSERLSource(world, demonstrations, PRESETS["debug"], seed=0)
    before = len(source.demos)
    for _ in range(150):
        source.step()
    human = world.person.driven_ticks
    assert 30 < human < 150
    assert len(source.online) == 150, "everything that was executed"
    assert len(source.demos) - before == human, "and a person's ticks once more"
    source.online.rows[:, -1], source.demos.rows[:, -1] = 1.0, 2.0
    drawn = source.sample(32, 0.5)
    assert drawn.penalty.tolist() == [2.0, 1.0] * 16


def test_frames_go_there_and_back_with_the_pose_of_the_tick() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        before = geometry.pose(rng.normal(size=3), geometry.from_rotation_vector(rng.normal(size=3)))
        after = geometry.pose(rng.normal(size=3), geometry.from_rotation_vector(rng.normal(size=3)))
        action = rng.normal(size=6)
        there = frames.to_base(action, before)
        assert np.abs(frames.to_tcp(there, before) - action).max() < 1e-6
        assert np.abs(frames.to_tcp(there, after) - action).max() > 1e-3, "the refreshed pose is another one"
        assert np.allclose(before @ frames.from_start(after, before), after)


def test_a_classifier_is_not_believed_without_the_geometry() -> None:
    rng = np.random.default_rng(0)
    positives = rng.normal([1.0, 0.0], 0.1, (200, 2))
    negatives = rng.normal([-0.2, 0.0], 0.3, (600, 2))
    classifier = SuccessClassifier(StateNormalizer.fit(np.concatenate([positives, negatives]), 0.01), (32,))
    classifier.fit(positives, negatives, rate=3e-3)
    assert (classifier.probability(positives) > 0.5).mean() > 0.95
    assert (classifier.probability(negatives) < 0.5).mean() > 0.95
    fooled = np.array([1.3, 0.6])  # beyond all that it was shown
    assert classifier.probability(fooled[None])[0] > 0.8
    believed = BelievedSuccess(classifier, Geometry({}, {"height": np.array([0.5])}), in_a_row=2)
    assert [believed({"height": fooled[1:]}, fooled) for _ in range(4)] == [False] * 4
    true = np.array([1.0, 0.0])
    assert [believed({"height": true[1:]}, true) for _ in range(3)] == [False, True, True]


def test_a_classifier_of_how_demonstrations_end_pays_at_the_goal_and_nowhere_else() -> None:
    shown = collect_from(TwoRooms(), TwoRoomsExpert(), "gates/two-rooms", 12, 0)
    world = TwoRooms(success_ends=False)
    config = replace(PRESETS["debug"], reward="classifier")
    source = HILSERLSource(Watched(world, Onlooker(bad_operator())), shown, config, seed=0)
    control = source.collector.control
    ends = []
    for aim in (np.zeros(2), np.array([-0.3, 0.5])):
        driver = TwoRoomsExpert(aim)
        for seed in range(8):
            seen, is_over = control.reset(500 + seed), False
            while not is_over:
                seen, record = control.step(driver.act(seen))
                is_over = record.terminated or record.truncated
                assert record.reward_task == record.terminated == (record.end_reason is EndReason.SUCCESS)
            ends.append(record.terminated)
    assert sum(ends[:8]) >= 6, "who goes to the goal is believed"
    assert not any(ends[8:]), "who goes elsewhere is not"
    with pytest.raises(ConfigError, match="allowed: world, classifier"):
        replace(config, reward="hope")


@pytest.mark.parametrize("touch_ends", [True, False])
def test_of_what_the_world_says_failures_stay_and_successes_are_cut_off(touch_ends: bool) -> None:
    world = ThreeGates(touch_ends=touch_ends)
    hand = ThreeGatesExpert(world)
    nothing = Geometry({"position": np.full(2, np.inf)}, {})
    normalizer = StateNormalizer(np.zeros(3, np.float32), np.ones(3, np.float32))
    believed = BelievedSuccess(SuccessClassifier(normalizer), nothing)
    plain = make_control(Watched(world, Onlooker(recovering_person(world))))
    control = BelievedControl(plain, believed, world.interface.observation_shapes)
    seen, is_over = control.reset(0), False
    while not is_over:
        forward = np.array([1.0, 0.0])  # into a wall
        seen, record = control.step(forward if touch_ends else hand.act(seen))
        is_over = record.terminated or record.truncated
        assert record.reward_task == 0.0
    ends = (record.terminated, record.truncated, record.end_reason)
    assert ends == ((True, False, EndReason.FAILURE) if touch_ends else (False, True, EndReason.OPERATOR_ABORT))
    assert world.steps < HORIZON
