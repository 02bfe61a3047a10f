"""Policies made on the spot: small networks with seeded random weights around the middle of a task's workspace."""

from pathlib import Path

import numpy as np
import torch

from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig
from policies.checkpoint import save_policy
from policies.network import initialize
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import state_size
from policies.residual_policy import ResidualActor, ResidualConfig, ResidualPolicy
from robot.policy import PolicySpec
from robot.specs import load_station
from sim.task import make_task
from sim.world import SimWorld

TASK = "peg-insert"
STATION = load_station("fr3_sim")
SHAPES = dict(SimWorld(STATION, make_task(TASK)).observation_shapes)
SIZE = state_size(SHAPES)
MIDDLE, REACH = np.array([0.5, 0.0, 0.2, 0.01]), np.array([0.15, 0.15, 0.08, 0.01])
STATES = StateNormalizer(np.zeros(SIZE), np.full(SIZE, 0.3))


def make_clone(seed: int = 0) -> BehaviorCloning:
    config = BehaviorCloningConfig(action_horizon=8, execution_horizon=5, hidden=(16, 16))
    spec = PolicySpec(SHAPES, STATION.action_names, STATION.control_rate_hz, 8, 5)
    policy = BehaviorCloning(spec, config, STATES, ActionLimits(MIDDLE, REACH))
    initialize(policy.network, torch.Generator().manual_seed(seed))
    return policy


def make_residual(seed: int = 0) -> ResidualPolicy:
    config = ResidualConfig(scale=0.2, hidden=(16, 16))
    actor = ResidualActor(SIZE, 4, config)
    actor.initialize(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return ResidualPolicy(make_clone(seed), actor, STATES, ActionLimits(MIDDLE, REACH), config)


MAKERS = {"clone": make_clone, "residual": make_residual}


def save_made(kind: str, folder: Path, seed: int = 0) -> Path:
    """Write a made policy and return its file."""
    torch.set_num_threads(1)
    path = folder / f"{kind}_{seed}.safetensors"
    save_policy(path, MAKERS[kind](seed))
    return path
