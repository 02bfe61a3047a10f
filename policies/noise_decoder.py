"""A frozen steerable base as a map from features and chosen noise to the chunk that will be executed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from policies.choosing_policy import steerable
from policies.data.demonstrations import Demonstrations, Env
from policies.noise_space import NoiseSpace
from policies.observations import flatten, images_of
from policies.steerable import SteerablePolicy
from robot.errors import CheckpointMismatch
from robot.policy import Policy


class NoiseDecoder:
    """Features (batch, features) and coordinates (batch, size) to executed chunks, normalised and flat.

    `decodes` counts the rows that were decoded. Equal arguments give equal chunks; the base stays in evaluation mode.
    """

    def __init__(self, base: SteerablePolicy, space: NoiseSpace) -> None:
        self.base, self.space, self.decodes = base, space, 0
        self.steps, self.width = base.spec.execution_horizon, len(base.spec.action_names)

    @torch.no_grad()
    def __call__(self, features: Tensor, coordinates: Tensor) -> Tensor:
        """Return chunks, shape (batch, execution_horizon * action), clipped as the base's own are."""
        self.decodes += len(features)
        chunks = self.base.decode(features, self.space.noise(coordinates))
        return chunks[:, : self.steps].clamp(-1.0, 1.0).flatten(1)

    @torch.no_grad()
    def encode(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the features of one observation, shape (features,), float32: what is learned from and stored."""
        shapes = self.base.spec.observation_shapes
        images = {name: image[None] for name, image in images_of(observation, shapes).items()}
        return self.base.encode(flatten(observation, shapes)[None], images)[0].numpy()

    @torch.no_grad()
    def encode_all(self, demonstrations: Demonstrations, rows: int = 256) -> Demonstrations:
        """Return the demonstrations with features in the place of their states and images."""
        trajectories = []
        for one in demonstrations.trajectories:
            parts = [slice(start, start + rows) for start in range(0, len(one.states), rows)]
            features = [
                self.base.encode(one.states[part], {name: images[part] for name, images in one.images.items()}).numpy()
                for part in parts
            ]
            trajectories.append(replace(one, states=np.concatenate(features), images={}))
        shapes = {"features": (trajectories[0].states.shape[1],)}
        return replace(demonstrations, observation_shapes=shapes, trajectories=trajectories)


class FeatureWorld(gymnasium.ObservationWrapper[Any, Any, Any]):
    """A world that is seen through the frozen base's encoder: the observation is its features, images or not.

    So a replay keeps features in the place of images, and nothing is encoded a second time for an update.
    """

    def __init__(self, env: Env, decoder: NoiseDecoder) -> None:
        super().__init__(env)
        self.decoder = decoder

    def observation(self, observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"features": self.decoder.encode(observation)}


def steered_by_noise(base: Policy) -> SteerablePolicy:
    """Return the base as one whose noise can be chosen; CheckpointMismatch where it has none."""
    own = steerable(base, "dsrl")
    if own.noise_spec is None:
        raise CheckpointMismatch(
            f"dsrl steers a base by its noise, and this {own.kind} policy decodes none (noise_spec is None): give a "
            "diffusion, flow or act policy, or improve this one with resfit"
        )
    return own
