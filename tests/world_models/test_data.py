"""Frames, the commands that led to them, and their labels: a window shows what its actions did."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robot.errors import ConfigError
from tests.world_models.conftest import CONFIG, SIZE
from world_models.batches import draw_windows
from world_models.data import WorldData, cold_places, read_world_data, warm_places, window_actions, windows_at
from world_models.latent_cache import LatentCache, change_weight


def where_is_the_square(image: np.ndarray) -> np.ndarray:
    """Return its place as `conftest.picture` draws it, from the pixels."""
    rows, columns = np.nonzero(image[..., 0] > 150)
    return np.array([columns.min(), rows.min()]) / (SIZE - 8)


def test_a_frame_shows_what_its_command_led_to(square_data: WorldData) -> None:
    data = square_data
    table = data.table
    places = np.arange(0, len(table), 37)
    shown = np.stack([where_is_the_square(image) for image in data.read("front", places)])
    assert np.abs(shown - table.commands[places, :2].numpy()).max() < 1.5 / (SIZE - 8)
    assert torch.equal(table.success, (table.commands[:, 0] > 0.6).float())
    assert data.spec.is_relative == (True, True, False)
    assert data.spec.step_s == pytest.approx(0.2)


def test_a_window_has_the_action_that_produced_each_frame(square_data: WorldData) -> None:
    data = square_data
    places = warm_places(data.table, data.spec, 4, validation=False)[::53]
    windows = windows_at(data.table, data.spec, places, np.zeros(len(places), bool), 4)
    actions, commands = window_actions(data.table, data.spec, windows)
    shown = np.stack([[where_is_the_square(image) for image in data.read("front", row)] for row in windows.places])
    moved = np.diff(shown[:, 3:], axis=1)  # from the present frame on
    assert np.abs(moved - actions[:, 3:, :2].numpy()).max() < 2.5 / (SIZE - 8)
    late = np.abs(moved[:, :-1] - actions[:, 4:, :2].numpy()).mean()
    assert np.abs(moved - actions[:, 3:, :2].numpy()).mean() < 0.5 * late  # an action of the next frame fits worse
    assert torch.allclose(data.spec.commands_after(actions[:, 3:], commands[:, 3]), commands[:, 4:], atol=1e-6)


def test_a_cold_window_copies_its_anchor_and_holds_still(square_data: WorldData) -> None:
    data = square_data
    places = cold_places(data.table, data.spec, 4, validation=False)[:3]
    windows = windows_at(data.table, data.spec, places, np.ones(3, bool), 4)
    actions, _ = window_actions(data.table, data.spec, windows)
    assert (windows.places[:, :4] == places[:, None]).all()
    assert windows.is_null.all()
    assert torch.equal(actions[:, :3, :2], torch.zeros(3, 3, 2))


def test_windows_never_cross_episodes_nor_the_split(square_data: WorldData) -> None:
    data = square_data
    table = data.table
    for validation in (False, True):
        places = warm_places(table, data.spec, 4, validation=validation)
        windows = windows_at(table, data.spec, places, np.zeros(len(places), bool), 4)
        assert (table.episodes[windows.places] == table.episodes[places][:, None]).all()
        assert (table.is_validation[windows.places] == validation).all()
    cells = {int(episode) // 2 for episode in np.unique(table.episodes[table.is_validation])}
    assert {int(episode) for episode in np.unique(table.episodes[table.is_validation])} == {
        episode for cell in cells for episode in (2 * cell, 2 * cell + 1)
    }


def test_change_is_weighed_where_the_picture_changes() -> None:
    before, after = torch.zeros(1, 16, 16, 3, dtype=torch.uint8), torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    after[0, 12:15, 12:15] = 200
    weight = change_weight(after, before)
    assert weight.shape == (1, 2, 2)
    assert weight[0, 1, 1] == 5.0
    assert weight[0, 0, 0] < 2.0
    assert torch.equal(change_weight(after, after), torch.ones(1, 2, 2))


def test_episodes_that_are_too_short_are_refused(square_store: Path, tmp_path: Path) -> None:
    data = read_world_data(square_store, replace(CONFIG, ticks_per_frame=20), tmp_path)
    cache = LatentCache.__new__(LatentCache)  # never read
    with pytest.raises(ConfigError, match=r"no stretch .* has 80 ticks .*the longest: 31"):
        draw_windows(data, cache, 4, 4, 0.1)
