"""The video model, trained for seconds on a square that moves: it learns, follows actions, and keeps its contract."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from policies.run import Run
from policies.steerable import BaseConfig
from policies.training import LoopConfig, train
from policies.training_figures import read_metrics
from robot.errors import CheckpointMismatch
from tests.world_models.conftest import CONFIG
from world_models.batches import draw_windows
from world_models.bench import sample_plainly
from world_models.codec import Codec
from world_models.contract import History
from world_models.dynamics import two_hot
from world_models.learner import AveragedLearner, DrawSource
from world_models.loading import load_world_model
from world_models.losses import dynamics_loss
from world_models.settings import PRESETS
from world_models.training import Trained, train_world_model
from world_models.validation import film, first_look, held_out_windows, shuffle_ratio
from world_models.video_model import VideoWorldModel


@pytest.fixture(scope="module")
def trained(square_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_world_model(square_store, CONFIG, tmp_path_factory.mktemp("world"), tensorboard=False)


@pytest.fixture
def call(trained: Trained) -> tuple[VideoWorldModel, History, torch.Tensor]:
    batch = held_out_windows(trained, 3, CONFIG.chunk)
    return trained.model, batch.history(trained.model.spec.step_s), batch.actions[:, CONFIG.memory :]


def test_the_losses_fall(trained: Trained) -> None:
    for phase, share in (("codec", 0.5), ("dynamics", 0.8)):
        loss = [value for _, value in read_metrics(trained.path.parent / phase)["loss"]]
        assert sum(loss[-10:]) < share * sum(loss[:10]), phase


def test_actions_matter_where_only_they_tell(trained: Trained) -> None:
    assert shuffle_ratio(trained, held_out_windows(trained, 64, CONFIG.chunk)) > 1.05


def test_the_first_look_and_the_film(trained: Trained, tmp_path: Path) -> None:
    look = first_look(trained, count=4, frames=8)
    assert look["ceiling_whole_db_at_1"] > look["ceiling_moving_db_at_1"] > 10.0
    assert {"copy_moving_db_at_8", "model_moving_db_at_8"} < look.keys()
    (path,) = film(trained, tmp_path, count=1, frames=8)
    assert path.stat().st_size > 500


def test_a_model_that_was_saved_imagines_the_same(trained: Trained, call: tuple) -> None:
    model, history, actions = call
    again = load_world_model(trained.path.parent)
    ours, theirs = (one.imagine(history, actions, [1, 2, 3]) for one in (model, again))
    for name, value in vars(ours).items():
        assert torch.equal(value, getattr(theirs, name)), name


def test_an_item_depends_on_its_own_seed_alone(call: tuple) -> None:
    model, history, actions = call
    together = model.imagine(history, actions, [5, 6, 7])
    alone = model.imagine(history.select([1]), actions[1:2], [6])
    assert (together.latents[1] - alone.latents[0]).abs().max() < 1e-4
    assert torch.equal(together.latents, model.imagine(history, actions, [5, 6, 7]).latents)
    other = model.imagine(history, actions, [5, 8, 7]).latents
    assert torch.equal(other[0], together.latents[0])
    assert not torch.equal(other[1], together.latents[1])
    assert (together.uncertainty > 0).all()


def test_no_frame_knows_a_later_action(call: tuple) -> None:
    model, history, actions = call
    changed = actions.clone()
    changed[:, 2, :2] += 0.3
    one, two = (model.imagine(history, a, [1, 2, 3], with_uncertainty=False).latents for a in (actions, changed))
    assert torch.equal(one[:, :2], two[:, :2])
    assert (one[:, 2] - two[:, 2]).abs().max() > 1e-3


def test_a_code_is_the_share_of_the_two_nearest_bins() -> None:
    code = two_hot(torch.tensor([[-1.0, 0.25], [7.0, 0.0]]), 5)
    expected = [[1, 0, 0, 0, 0, 0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1, 0, 0, 1, 0, 0]]
    assert torch.equal(code, torch.tensor(expected))


@pytest.mark.parametrize("steps", [1, 3])
def test_kept_keys_and_values_give_what_a_plain_loop_gives(call: tuple, steps: int) -> None:
    model, history, actions = call
    commands = model.spec.commands_after(actions, history.commands[:, -1])
    noise = torch.randn(3, CONFIG.chunk, *model.spec.frame_shape)
    plain = sample_plainly(model, history, actions, commands, noise, steps)
    with torch.no_grad():
        kept = model.sample(history, actions, commands, noise[None], steps)[0]
    assert (plain - noise).abs().max() > 0.5
    assert torch.allclose(plain, kept, atol=1e-4)


def test_the_model_names_what_it_never_saw(trained: Trained) -> None:
    held_out = trained.model.metadata["held_out"]
    assert held_out == load_world_model(trained.path).metadata["held_out"]
    assert 1 <= len(held_out) <= 3


def test_frames_survive_the_codec(trained: Trained) -> None:
    places = torch.arange(6).numpy()
    frames = {view: trained.data.read(view, places)[None] for view in trained.model.spec.views}
    again = trained.model.decode(trained.model.encode(frames))
    for view, images in frames.items():
        assert again[view].shape == images.shape
        assert abs(again[view].astype(float) - images).mean() < 12.0


def test_rare_colours_count_more_and_all_pixels_once_on_average() -> None:
    codec = Codec(PRESETS["debug"], 2)
    images = torch.full((2, 3, 32, 32), 0.5)
    images[0, :, 3, 4] = torch.tensor([1.0, 0.0, 0.0])
    codec.look_at(images, torch.tensor([0, 1]))
    assert codec.rarity[1].max() == codec.rarity[1, 0b100100100] * 10  # a single colour has weight 1, absent ones 10
    rare, common = codec.rarity[0, 0b111000000], codec.rarity[0, 0b100100100]
    share = 1 / 32**2
    assert rare / common == pytest.approx(((0.99 * (1 - share) + 0.005) / (0.99 * share + 0.005)) ** 0.5, rel=1e-4)
    assert share * rare + (1 - share) * common == pytest.approx(1.0, rel=1e-4)


def test_what_does_not_fit_is_refused(trained: Trained, call: tuple, tmp_path: Path) -> None:
    model, history, actions = call
    for change, message in (
        ({"step_s": 0.1}, r"expected 0.2 s, found 0.1 s"),
        ({"actions": history.actions[:, :0]}, r"history.actions: expected .*, found \(3, 0, 3\)"),
        ({"anchor": history.anchor[:, :1]}, r"history.anchor: expected .*found"),
    ):
        with pytest.raises(CheckpointMismatch, match=message):
            model.imagine(replace(history, **change), actions, [1, 2, 3])
    with pytest.raises(CheckpointMismatch, match=r"actions: expected .*for x, y, gripper, found \(3, 4, 7\)"):
        model.imagine(history, torch.zeros(3, 4, 7), [1, 2, 3])
    with pytest.raises(CheckpointMismatch, match=r"expected a video_world_model, found another kind of checkpoint"):
        load_world_model(trained.path.parent / "codec" / "training_state.safetensors")
    with pytest.raises(CheckpointMismatch, match=r"expected a world model at .*found nothing"):
        load_world_model(tmp_path)


def test_interrupted_and_resumed_equals_uninterrupted(trained: Trained, tmp_path: Path) -> None:
    def run(folder: str, stops: tuple[int | None, ...]) -> dict:
        model = VideoWorldModel(trained.model.spec, CONFIG, trained.model.scale, seed=3)
        draw = draw_windows(trained.data, trained.cache, 4, CONFIG.chunk, 0.2)
        for stop in stops:
            learner = AveragedLearner(model.network, dynamics_loss(model), BaseConfig(steps=6), decay=0.9, seed=1)
            source = DrawSource(draw, 2)
            train(source, learner, LoopConfig(6), Run(tmp_path / folder, tensorboard=False), stop_after=stop)
        return dict(model.network.state_dict())

    whole, parts = run("whole", (None,)), run("parts", (3, None))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_the_deterministic_variant_knows_no_chance(trained: Trained, call: tuple) -> None:
    _, history, actions = call
    config = replace(CONFIG, deterministic=True, sample_steps=1)
    model = VideoWorldModel(trained.model.spec, config, trained.model.scale)
    _train_a_little(model, trained, 2)
    one, two = (model.imagine(history, actions, seeds) for seeds in ([1, 2, 3], [4, 5, 6]))
    assert torch.equal(one.latents, two.latents)
    assert torch.equal(one.uncertainty, torch.zeros(3, CONFIG.chunk))


def _train_a_little(model: VideoWorldModel, trained: Trained, updates: int) -> None:
    draw: Callable = draw_windows(trained.data, trained.cache, 4, CONFIG.chunk, 0.2)
    learner = AveragedLearner(model.network, dynamics_loss(model), BaseConfig(), decay=0.0, seed=0)
    source = DrawSource(draw, 0)
    for _ in range(updates):
        learner.update(source.next())
