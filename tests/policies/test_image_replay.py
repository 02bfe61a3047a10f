"""Images once: transitions come back with the images of their own two states, whatever was overwritten since."""

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.image_replay import ImageReplay
from robot.errors import CheckpointMismatch, ConfigError

SHAPES = {"scene": (4, 4, 3), "wrist": (2, 2, 3)}


def picture(place: int) -> dict[str, np.ndarray]:
    return {name: np.full(shape, place % 256, np.uint8) for name, shape in SHAPES.items()}


def filled(steps: int, capacity: int = 20, ends: int = 3, n: int = 3, folder: Path | None = None) -> ImageReplay:
    """Episodes of 10 steps: transition (place t -> t + n), its field the place."""
    replay = ImageReplay({"place": 0}, SHAPES, capacity, ends=ends, folder=folder)
    episode: list[int] = []
    for _ in range(steps):
        episode.append(replay.see(picture(replay.seen)))
        if len(episode) > n:
            replay.add(episode[-1 - n], episode[-1], place=float(episode[-1 - n]))
        if len(episode) == 11:
            episode.clear()
    return replay


@pytest.mark.parametrize("steps", [5, 30, 500])
@pytest.mark.parametrize("mapped", [False, True])
def test_every_transition_has_the_images_of_its_own_states(steps: int, mapped: bool, tmp_path: Path) -> None:
    replay = filled(steps, folder=tmp_path if mapped else None)
    batch = replay.sample(400, torch.Generator().manual_seed(0))
    places = batch["place"]
    assert len(places.unique()) == len(replay) <= 20
    for name, shape in SHAPES.items():
        assert batch["images"][name].shape == (400, *shape)
        assert torch.equal(batch["images"][name].float().mean(dim=(1, 2, 3)), places % 256)
        assert torch.equal(batch["next_images"][name].float().mean(dim=(1, 2, 3)), (places + 3) % 256)


def test_with_too_little_room_for_ends_the_oldest_transitions_go_first() -> None:
    replay = filled(500, capacity=20, ends=0)
    assert 10 <= len(replay) < 20
    assert float(replay.sample(300, torch.Generator())["place"].min()) >= replay.seen - 20


def test_it_goes_on_as_it_was_after_it_was_saved() -> None:
    replay, copy = filled(77), ImageReplay({"place": 0}, SHAPES, 20, ends=3)
    copy.restore(replay.state())
    first, second = (each.sample(50, torch.Generator().manual_seed(1)) for each in (replay, copy))
    assert torch.equal(first["place"], second["place"])
    assert torch.equal(first["images"]["wrist"], second["images"]["wrist"])
    with pytest.raises(CheckpointMismatch, match="scene"):
        ImageReplay({"place": 0}, {"scene": (4, 4, 3)}, 20).restore(replay.state())


def test_an_image_that_is_gone_cannot_be_referred_to() -> None:
    replay = filled(100)
    with pytest.raises(ConfigError, match="only 77 to 99 are kept"):
        replay.add(70, 73, place=70.0)
    with pytest.raises(ConfigError, match="empty"):
        ImageReplay({"place": 0}, SHAPES, 5).sample(1, torch.Generator())
