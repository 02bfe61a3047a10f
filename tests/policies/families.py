"""Small policies of every family, and data sets whose answer is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from policies.base.act import ActConfig, ActPolicy
from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig
from policies.base.diffusion import DiffusionConfig, DiffusionPolicy
from policies.base.flow import FlowConfig, FlowPolicy
from policies.data.chunks import ChunkDataset, ChunkSource
from policies.data.demonstrations import Demonstrations
from policies.data.trajectories import Trajectory
from policies.learners.supervised import SupervisedLearner, build
from policies.shortcut_flow import ShortcutFlowConfig, ShortcutFlowPolicy
from policies.steerable import SteerablePolicy

SMALL: dict[str, Any] = {
    "action_horizon": 8,
    "execution_horizon": 8,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "steps": 400,
    "warmup_steps": 20,
}
SOLVED: dict[str, Any] = {"hidden": (64, 64), "channels": (16, 32), "width": 32, "layers": 1, "time_features": 16}
DDIM: dict[str, Any] = {"train_steps": 20, "inference_steps": 5, "prediction": "v"}
EPSILON = {"prediction": "epsilon"}
ATTENTION: dict[str, Any] = {"width": 32, "feedforward": 32, "attention_heads": 2, "encoder_layers": 1, "latent": 4}
FAMILIES: dict[str, tuple[type[SteerablePolicy], Any]] = {
    "bc": (BehaviorCloning, BehaviorCloningConfig(**SMALL, hidden=(64, 64))),
    "gmm": (BehaviorCloning, BehaviorCloningConfig(**SMALL, hidden=(64, 64), head="gmm", modes=3)),
    "act": (ActPolicy, ActConfig(**SMALL, **ATTENTION, kl_weight=0.1, encoder="small")),
    "diffusion": (DiffusionPolicy, DiffusionConfig(**SMALL, **SOLVED, **DDIM, denoiser="mlp")),
    "diffusion-epsilon": (DiffusionPolicy, DiffusionConfig(**SMALL, **SOLVED, **DDIM | EPSILON, denoiser="mlp")),
    "diffusion-unet": (DiffusionPolicy, DiffusionConfig(**SMALL, **SOLVED, **DDIM, denoiser="unet")),
    "diffusion-transformer": (DiffusionPolicy, DiffusionConfig(**SMALL, **SOLVED, **DDIM, denoiser="transformer")),
    "flow": (FlowPolicy, FlowConfig(**SMALL, **SOLVED, denoiser="mlp", inference_steps=5)),
    "flow-unet": (FlowPolicy, FlowConfig(**SMALL, **SOLVED, denoiser="unet", inference_steps=5)),
    "shortcut-flow": (ShortcutFlowPolicy, ShortcutFlowConfig(**SMALL, **SOLVED, denoiser="mlp", inference_steps=1)),
}
STEERABLE = [name for name in FAMILIES if name != "bc"]


def make(name: str, demonstrations: Demonstrations, seed: int = 0, **changes: Any) -> SteerablePolicy:
    """Return an untrained policy of a family."""
    policy_class, config = FAMILIES[name]
    return build(policy_class, demonstrations, replace(config, **changes), seed)


def one_dimensional(values: list[float]) -> Demonstrations:
    """Return one-step episodes in one state, each with one of the actions; the action box is +-1."""
    episodes = [Trajectory(np.zeros((2, 1)), np.array([[value]]), np.ones(1), True, False) for value in values]
    limits = np.array([-1.0]), np.array([1.0])
    return Demonstrations("made/1d", {"x": (1,)}, ("a",), *limits, 10.0, episodes, len(episodes))


def fit(policy: SteerablePolicy, demonstrations: Demonstrations, steps: int) -> list[float]:
    """Train and return the losses."""
    learner = SupervisedLearner(policy, seed=0)
    dataset = ChunkDataset.cut(demonstrations.trajectories, policy.config.action_horizon, policy.config.obs_horizon)
    source = ChunkSource(dataset, policy.states, policy.actions, batch_size=policy.config.batch_size, seed=0)
    return [float(learner.update(source.next())["loss"]) for _ in range(steps)]


@torch.inference_mode()
def decode_prior(policy: SteerablePolicy, states: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return normalised chunks for noise from the prior, unclipped, shape (states, horizon, action)."""
    noise = None
    if policy.noise_spec is not None:
        noise = torch.randn(len(states), *policy.noise_spec[0], generator=torch.Generator().manual_seed(seed))
    return policy.decode(policy.encode(states), noise).numpy()
