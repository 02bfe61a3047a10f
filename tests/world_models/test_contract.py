"""The contract: commands to actions and back, histories that roll on, and what is refused, expected against found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from robot.errors import CheckpointMismatch
from world_models.contract import (
    History,
    WorldModelSpec,
    check_actions,
    check_history,
    check_step,
    check_views,
    check_world,
)

SPEC = WorldModelSpec(
    station="fr3_sim",
    task="lift",
    views=("scene", "wrist"),
    image_size=16,
    action_names=("x", "gripper"),
    action_units=("m", "m"),
    is_relative=(True, False),
    control_rate_hz=20.0,
    ticks_per_frame=4,
    chunk=2,
    memory=3,
    latent_shape=(4, 2, 2),
)


def cold(count: int = 2) -> History:
    return History.start(SPEC, torch.randn(count, *SPEC.frame_shape), torch.tensor([[0.5, 0.04]] * count))


def test_commands_become_actions_and_come_back() -> None:
    before = torch.tensor([[0.5, 0.04]])
    commands = torch.tensor([[[0.52, 0.04], [0.51, 0.0]]])
    actions = SPEC.frame_actions(commands, before)
    assert torch.allclose(actions, torch.tensor([[[0.02, 0.04], [-0.01, 0.0]]]))
    assert torch.allclose(SPEC.commands_after(actions, before), commands)
    assert torch.equal(SPEC.null_actions(before, 2), torch.tensor([[[0.0, 0.04], [0.0, 0.04]]]))


def test_a_frame_has_the_last_command_of_its_ticks() -> None:
    ticks = torch.arange(8.0)[None, :, None].expand(-1, -1, 2)
    assert SPEC.last_of_frames(ticks)[0, :, 0].tolist() == [3.0, 7.0]
    with pytest.raises(CheckpointMismatch, match="multiple of 4 ticks, found 7"):
        SPEC.last_of_frames(ticks[:, :7])


def test_a_history_rolls_on_and_keeps_its_anchor() -> None:
    history = cold()
    assert history.is_null.all()
    actions = torch.tensor([[[0.01, 0.04], [0.02, 0.0]]]).expand(2, -1, -1)
    commands = SPEC.commands_after(actions, history.commands[:, -1])
    frames = torch.randn(2, 2, *SPEC.frame_shape)
    later = history.after(frames, actions, commands)
    check_history(SPEC, later)
    assert torch.equal(later.anchor, history.anchor)
    assert torch.equal(later.memory[:, 1:], frames)
    assert later.is_null.tolist() == [[True, False, False]] * 2
    assert torch.equal(later.commands[:, 0], history.commands[:, 0])
    assert torch.equal(later.commands[:, -2:], commands)


def test_a_history_survives_being_stored_and_taken_apart() -> None:
    history = cold(3)
    again = History.from_state(history.state())
    parts = History.stack([again.select([2]), again.select([0, 1])]).select([1, 2, 0])
    for name, value in history.state().items():
        found = getattr(parts, name)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


def test_the_spec_survives_json() -> None:
    assert WorldModelSpec.from_json(SPEC.to_json()) == SPEC
    with pytest.raises(CheckpointMismatch, match=r"expected .*found"):
        WorldModelSpec.from_json({"views": ["scene"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchor": torch.zeros(2, 1, 4, 2, 2)}, r"history.anchor: expected \(2, 2, 4, 2, 2\), found \(2, 1"),
        ({"actions": torch.zeros(2, 0, 2)}, r"history.actions: expected \(2, 3, 2\), found \(2, 0, 2\)"),
        ({"memory": torch.zeros(2, 1, 2, 4, 2, 2)}, r"history.memory: expected \(2, 3, .*found \(2, 1"),
        ({"step_s": 0.1}, r"expected 0.2 s, found 0.1 s"),
    ],
)
def test_a_history_that_does_not_fit_is_refused(change: dict, message: str) -> None:
    with pytest.raises(CheckpointMismatch, match=message):
        check_history(SPEC, replace(cold(), **change))


def test_a_keyframe_without_its_actions_or_anchor_is_refused() -> None:
    for name in ("anchor", "actions"):
        state = cold().state()
        del state[name]
        with pytest.raises(CheckpointMismatch, match=r"expected .*found"):
            History.from_state(state)


def test_other_views_worlds_rates_and_actions_are_refused() -> None:
    frames = {view: np.zeros((1, 1, 16, 16, 3), np.uint8) for view in SPEC.views}
    check_views(SPEC, frames)
    with pytest.raises(CheckpointMismatch, match=r"views: expected .*found"):
        check_views(SPEC, {"scene": frames["scene"]})
    with pytest.raises(CheckpointMismatch, match=r"images of 'wrist': expected .*16.*found .*8"):
        check_views(SPEC, frames | {"wrist": frames["wrist"][:, :, :8]})
    with pytest.raises(CheckpointMismatch, match=r"expected 20.0, found 10.0"):
        check_world(SPEC, "fr3_sim", SPEC.action_names, 10.0)
    with pytest.raises(CheckpointMismatch, match=r"actions: expected .*found"):
        check_world(SPEC, "fr3_sim", ("q1", "q2"), 20.0)
    with pytest.raises(CheckpointMismatch, match=r"expected 0.2 s, found 0.25 s"):
        check_step(SPEC, 0.25)
    for wrong in (torch.zeros(2, 3, 2), torch.zeros(2, 2, 7), torch.zeros(1, 2, 2), torch.full((2, 2, 2), torch.nan)):
        with pytest.raises(CheckpointMismatch, match=r"actions: expected .*found"):
            check_actions(SPEC, cold(), wrong, [0, 1])
    with pytest.raises(CheckpointMismatch, match="seeds: expected 2, found 1"):
        check_actions(SPEC, cold(), torch.zeros(2, 2, 2), [0])
