"""Image encoders: what they see, what they are cropped to, and that policies learn through them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from policies.base.act import ActConfig, ActNetwork
from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig
from policies.checkpoint import load_policy, save_policy
from policies.data.demonstrations import Demonstrations
from policies.data.trajectories import Trajectory
from policies.encoders import ObservationEncoder, crop, export_encoder, spatial_softmax
from policies.learners.supervised import build
from policies.network import seeded, sinusoidal_plane
from policies.resnet import resnet18
from policies.steerable import SteerablePolicy
from robot.errors import CheckpointMismatch, ConfigError
from tests.policies.families import FAMILIES, fit

SIZE = 24
CONFIG = BehaviorCloningConfig(
    action_horizon=2, execution_horizon=2, hidden=(32,), batch_size=16, learning_rate=3e-3, image_features=16
)


def blobs(episodes: int, *, in_depth: bool = False) -> Demonstrations:
    """Return episodes whose action is the place of a blob, in the colour image or only in the depth image."""
    rng = np.random.default_rng(0)
    trajectories = []
    for _ in range(episodes):
        places = rng.integers(4, SIZE - 4, (9, 2))
        colour, depth = np.full((9, SIZE, SIZE, 3), 90, np.uint8), np.full((9, SIZE, SIZE), 1500, np.uint16)
        for step, (y, x) in enumerate(places):
            if in_depth:
                depth[step, y - 2 : y + 3, x - 2 : x + 3] = 400
            else:
                colour[step, y - 2 : y + 3, x - 2 : x + 3] = 255
        actions = 2.0 * places[:-1] / SIZE - 1.0
        images = {"image/scene": colour} | ({"depth/scene": depth} if in_depth else {})
        trajectories.append(Trajectory(np.zeros((9, 1)), actions, np.ones(8), True, False, images=images))
    shapes = {"x": (1,)} | {name: seen.shape[1:] for name, seen in trajectories[0].images.items()}
    box = -np.ones(2), np.ones(2)
    return Demonstrations("made/blobs", shapes, ("y", "x"), *box, 10.0, trajectories, episodes)


def error(policy: SteerablePolicy, demonstrations: Demonstrations) -> float:
    """Return the mean error of the first action over all observations."""
    errors = []
    for trajectory in demonstrations.trajectories:
        images = {name: seen[:-1] for name, seen in trajectory.images.items()}
        noise = None if policy.noise_spec is None else torch.zeros(8, *policy.noise_spec[0])
        answers = policy.act_states(trajectory.states[:-1], images, noise)[:, 0]
        errors.append(np.abs(answers - trajectory.actions).mean())
    return float(np.mean(errors))


@pytest.mark.parametrize("in_depth", [False, True])
def test_a_policy_finds_what_only_the_image_or_only_its_depth_tells(in_depth: bool) -> None:
    demonstrations, held_out = blobs(40, in_depth=in_depth), blobs(50, in_depth=in_depth)
    held_out = replace(held_out, trajectories=held_out.trajectories[40:])
    policy = build(BehaviorCloning, demonstrations, CONFIG)
    assert error(policy, held_out) > 0.25
    fit(policy, demonstrations, 200)
    assert error(policy, held_out) < 0.15
    blind = {name: np.zeros_like(seen) for name, seen in held_out.trajectories[0].images.items()}
    spoiled = replace(held_out, trajectories=[replace(held_out.trajectories[0], images=blind)])
    assert error(policy, spoiled) > 0.25, "the images are what it goes by"


@pytest.mark.parametrize("name", ["act", "diffusion", "flow"])
def test_every_family_trains_through_images_and_loads_again(name: str, tmp_path: Path) -> None:
    demonstrations = blobs(6)
    policy_class, config = FAMILIES[name]
    changes: dict[str, Any] = {"action_horizon": 2, "execution_horizon": 2, "image_features": 16, "batch_size": 16}
    policy = build(policy_class, demonstrations, replace(config, **changes))
    losses = fit(policy, demonstrations, 60)
    assert np.mean(losses[-10:]) < np.mean(losses[:5])
    save_policy(tmp_path / "policy.safetensors", policy)
    loaded = load_policy(tmp_path)
    trajectory = demonstrations.trajectories[0]
    observation = {"x": np.zeros(1), "image/scene": trajectory.images["image/scene"][0]}
    policy.reset()
    first = policy.act(observation)
    assert np.array_equal(loaded.act(observation).actions, first.actions)
    brighter = observation | {"image/scene": observation["image/scene"] + 60}
    assert not np.array_equal(policy.act(brighter).actions, first.actions)
    with pytest.raises(CheckpointMismatch, match="'image/scene' is missing"):
        policy.act({"x": np.zeros(1)})


def test_a_frozen_encoder_travels_in_the_checkpoint_and_is_not_trained(tmp_path: Path) -> None:
    with seeded(0):
        network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
    export_encoder(network, 32, tmp_path / "encoder.pt2")
    demonstrations = blobs(6)
    config = replace(CONFIG, encoder="frozen", encoder_path=str(tmp_path / "encoder.pt2"))
    policy = build(BehaviorCloning, demonstrations, config)
    assert not any("archive" in name for name, _ in policy.network.named_parameters())
    losses = fit(policy, demonstrations, 60)
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    pixels = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(policy.network.encoder._frozen[0](pixels), network(pixels))
    save_policy(tmp_path / "policy.safetensors", policy)
    (tmp_path / "encoder.pt2").unlink()
    observation = {"x": np.zeros(1), "image/scene": demonstrations.trajectories[0].images["image/scene"][0]}
    assert np.array_equal(load_policy(tmp_path).act(observation).actions, policy.act(observation).actions)
    with pytest.raises(ConfigError, match="encoder_path is"):
        build(BehaviorCloning, demonstrations, config)


def test_the_crop_is_random_in_training_and_the_middle_otherwise() -> None:
    rows, columns = torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="ij")
    pixels = torch.stack([rows, columns]).expand(200, -1, -1, -1)
    middle = crop(pixels, 6, at_random=False)
    assert middle[0, 0, 0, 0] == middle[0, 1, 0, 0] == 2
    with seeded(0):
        cut = crop(pixels, 6, at_random=True)
    assert cut.shape == (200, 2, 6, 6)
    corners = cut[:, :, 0, 0]
    assert sorted(set(corners[:, 0].tolist())) == sorted(set(corners[:, 1].tolist())) == [0, 1, 2, 3, 4]
    torch.testing.assert_close(cut[:, 0] - corners[:, 0, None, None], rows[:6, :6].expand(200, -1, -1))
    torch.testing.assert_close(cut[:, 1] - corners[:, 1, None, None], columns[:6, :6].expand(200, -1, -1))
    policy = build(BehaviorCloning, blobs(2), CONFIG)
    image = torch.arange(SIZE * SIZE * 3, dtype=torch.uint8).view(1, SIZE, SIZE, 3)
    encoder = policy.network.encoder
    assert torch.equal(encoder.pixels("scene", {"image/scene": image}), encoder.pixels("scene", {"image/scene": image}))
    encoder.train()
    seen = {encoder.pixels("scene", {"image/scene": image})[0, 0, 0, 0].item() for _ in range(20)}
    assert len(seen) > 2


def test_a_spatial_softmax_says_where_a_map_peaks() -> None:
    maps = torch.zeros(1, 2, 5, 9)
    maps[0, 0, 4, 0], maps[0, 1, 2, 4] = 50.0, 50.0
    torch.testing.assert_close(spatial_softmax(maps), torch.tensor([[[1.0, -1.0], [0.0, 0.0]]]), atol=1e-4, rtol=0)


def test_resnet18_has_the_published_size_and_no_batch_statistics() -> None:
    network, channels = resnet18(3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_176_512
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    pixels = torch.randn(2, 3, 64, 64)
    network.train()
    with torch.no_grad():
        together = network(pixels)
        assert together.shape == (2, channels, 2, 2)
        torch.testing.assert_close(network(pixels[:1]), together[:1], atol=1e-4, rtol=1e-4)
    encoder = ObservationEncoder({"image/a": (48, 48, 3), "depth/a": (48, 48)}, replace(CONFIG, encoder="resnet18"))
    images = {"image/a": torch.zeros(2, 48, 48, 3, dtype=torch.uint8), "depth/a": torch.ones(2, 48, 48).short()}
    assert encoder(torch.zeros(2, 0), images).shape == (2, 16)


def test_fields_that_cannot_be_encoded_are_refused() -> None:
    with pytest.raises(ConfigError, match="depth without colour"):
        ObservationEncoder({"x": (1,), "depth/a": (48, 48)}, CONFIG)
    with pytest.raises(ConfigError, match="reads nothing"):
        ObservationEncoder({}, CONFIG)
    demonstrations = blobs(2)
    with pytest.raises(ConfigError, match="unknown observation field 'y'"):
        demonstrations.select(["y"])
    with pytest.raises(ConfigError, match="image/wrist"):
        demonstrations.select(images=["image/wrist"])
    assert list(demonstrations.select().observation_shapes) == ["x"]
    assert not demonstrations.select().trajectories[0].images


@pytest.mark.parametrize("obs_horizon", [1, 2])
def test_act_sees_every_place_of_a_feature_map_as_a_token_with_its_position(obs_horizon: int) -> None:
    """Two cameras of two sizes; moving a blob from place to place must change the answer, swapping cameras too."""
    shapes = {"state": (3,), "image/a": (32, 32, 3), "image/b": (64, 64, 3)}
    config = ActConfig(
        action_horizon=4, execution_horizon=4, encoder="small", image_features=8, width=16, attention_heads=2,
        feedforward=16, encoder_layers=1, latent=2, crop_share=1.0, obs_horizon=obs_horizon,
    )  # fmt: skip
    with seeded(0):
        network = ActNetwork(shapes, 2, config).eval()
    assert network.encoder.grids == {"a": (4, 4), "b": (8, 8)}
    assert network.plane.shape == (obs_horizon * (16 + 64), 16)
    time = (obs_horizon,) if obs_horizon > 1 else ()
    states = torch.zeros(1, *time, 3)
    images = {name: torch.zeros(1, *time, *shape, dtype=torch.uint8) for name, shape in shapes.items() if "/" in name}
    with torch.inference_mode():
        features = network.encode(states, images)
        assert features.shape == (1, obs_horizon * (3 + (16 + 64) * 8))
        latent = torch.zeros(1, 2)
        tokens = features[:, 3 * obs_horizon :].unflatten(1, (-1, 8))
        marked = []
        for place in (0, 5, 16 * obs_horizon):
            moved = tokens.clone()
            moved[:, place] += 3.0
            marked.append(network.decode(torch.cat([features[:, : 3 * obs_horizon], moved.flatten(1)], dim=1), latent))
    assert min((a - b).abs().max() for i, a in enumerate(marked) for b in marked[:i]) > 1e-5


def test_positions_in_a_plane_differ_everywhere_and_keep_rows_and_columns_apart() -> None:
    plane = sinusoidal_plane(3, 5, 16)
    assert plane.shape == (15, 16)
    assert torch.cdist(plane, plane).add(torch.eye(15)).min() > 0.05
    rows, columns = plane[:, :8].unflatten(0, (3, 5)), plane[:, 8:].unflatten(0, (3, 5))
    assert torch.equal(rows[:, 0], rows[:, 4])
    assert torch.equal(columns[0], columns[2])
    with pytest.raises(ConfigError, match="multiple of 4"):
        sinusoidal_plane(2, 2, 6)
