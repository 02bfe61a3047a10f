"""Behaviour cloning: one MLP from the state to a chunk of actions, trained with an L1 loss.

The chunk is a deterministic function of the observation, so there is no noise to steer by (`noise_spec` is None).
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.checkpoint import PolicyContent, check_tensors, save_policy
from policies.data.chunks import ChunkBatch, ChunkDataset, ChunkSource
from policies.data.demonstrations import Demonstrations
from policies.network import initialize, mlp
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import flatten, flatten_batch, state_size
from policies.run import Run
from policies.training import Evaluate, LoopConfig, LoopState, train
from robot.errors import ConfigError
from robot.policy import ActionChunk, PolicySpec

KIND = "bc"


@dataclass(frozen=True)
class BehaviorCloningConfig:
    """Settings of the clone and of its training."""

    action_horizon: int = 16
    execution_horizon: int = 16
    hidden: tuple[int, ...] = (256, 256)
    steps: int = 4000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    state_std_floor: float = 0.01  # in the units of the state [m, rad, ...]
    half_range_floor: float = 0.05  # share of the world's action box
    execution: str = "receding"

    def __post_init__(self) -> None:
        if not 1 <= self.execution_horizon <= self.action_horizon:
            raise ConfigError(
                f"execution_horizon {self.execution_horizon} must lie in 1..action_horizon ({self.action_horizon})"
            )


PRESETS = {
    "default": BehaviorCloningConfig(),
    "cpu": BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=2500),
    "quick": BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=1000, hidden=(128, 128)),
    "debug": BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=100, hidden=(32, 32), batch_size=64),
}


class ChunkNetwork(nn.Module):
    """Trunk (encode) and linear head (decode), both in normalised units."""

    def __init__(self, state: int, action: int, config: BehaviorCloningConfig) -> None:
        super().__init__()
        self.shape = (config.action_horizon, action)
        self.trunk = nn.Sequential(mlp([state, *config.hidden]), nn.ReLU())
        self.head = nn.Linear(config.hidden[-1], config.action_horizon * action)

    def encode(self, states: Tensor) -> Tensor:
        return self.trunk(states)

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return chunks, shape (batch, action_horizon, action_dim). `noise` is accepted for the contract, unused."""
        return self.head(features).unflatten(-1, self.shape)


class BehaviorCloning:
    """The cloned policy: numpy at the door, torch inside."""

    noise_spec: tuple[tuple[int, ...], str] | None = None

    def __init__(
        self,
        spec: PolicySpec,
        config: BehaviorCloningConfig,
        states: StateNormalizer,
        actions: ActionLimits,
        network: ChunkNetwork | None = None,
    ) -> None:
        self.spec, self.config, self.states, self.actions = spec, config, states, actions
        sizes = state_size(spec.observation_shapes), len(spec.action_names)
        self.network = ChunkNetwork(*sizes, config) if network is None else network

    def reset(self) -> None:
        """Nothing to forget: the policy has no memory."""

    def encode(self, states: np.ndarray) -> Tensor:
        """Return features of flat states, shape (batch, features)."""
        return self.network.encode(torch.from_numpy(self.states.normalize(states)))

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return normalised chunks, shape (batch, action_horizon, action_dim)."""
        return self.network.decode(features, noise)

    def postprocess(self, chunks: Tensor) -> np.ndarray:
        """Clip to the demonstrated range and un-normalise; the one place that does."""
        return self.actions.denormalize(chunks.clamp(-1.0, 1.0).numpy().astype(np.float64))

    @torch.inference_mode()
    def act_states(self, states: np.ndarray) -> np.ndarray:
        """Return chunks in station units for flat states, shape (batch, action_horizon, action_dim)."""
        return self.postprocess(self.decode(self.encode(states)))

    def act_batch(self, observations: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return chunks for observations with a leading batch axis."""
        return self.act_states(flatten_batch(observations, self.spec.observation_shapes))

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        state = flatten(observation, self.spec.observation_shapes)
        return ActionChunk(self.act_states(state[None])[0], 1.0 / self.spec.rate_hz)

    def content(self) -> PolicyContent:
        return PolicyContent(
            kind=KIND,
            config=asdict(self.config),
            spec=self.spec,
            tensors=dict(self.network.state_dict()),
            statistics={"states": self.states.statistics(), "actions": self.actions.statistics()},
        )


def restore(content: PolicyContent) -> BehaviorCloning:
    """Build the policy of a checkpoint."""
    config = BehaviorCloningConfig(**{**content.config, "hidden": tuple(content.config["hidden"])})
    policy = BehaviorCloning(
        content.spec,
        config,
        StateNormalizer.from_statistics(content.statistics.get("states", {})),
        ActionLimits.from_statistics(content.statistics.get("actions", {})),
    )
    check_tensors(dict(policy.network.state_dict()), content.tensors, "behaviour cloning")
    policy.network.load_state_dict(content.tensors)
    return policy


class BehaviorCloningLearner:
    """L1 regression of normalised chunks; padded steps count nothing."""

    def __init__(self, policy: BehaviorCloning, seed: int) -> None:
        self.policy = policy
        network, config = policy.network, policy.config
        initialize(network, torch.Generator().manual_seed(seed))
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def update(self, batch: ChunkBatch) -> dict[str, Tensor]:
        error = (self.policy.network.decode(self.policy.network.encode(batch.states)) - batch.chunks).abs()
        loss = (error * batch.mask).sum() / (batch.mask.sum() * error.shape[-1])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def state(self) -> dict[str, Any]:
        return {"network": self.policy.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.policy.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(deepcopy(state["optimizer"]))  # it keeps the tensors it is given


def build(demonstrations: Demonstrations, config: BehaviorCloningConfig) -> BehaviorCloning:
    """Fit the normalisers on the demonstrations and return an untrained clone."""
    spec = demonstrations.spec(config.action_horizon, config.execution_horizon, execution=config.execution)
    states = StateNormalizer.fit(demonstrations.states, config.state_std_floor)
    floor = demonstrations.half_range_floor(config.half_range_floor)
    return BehaviorCloning(spec, config, states, ActionLimits.fit(demonstrations.actions, floor))


def train_base(
    demonstrations: Demonstrations,
    config: BehaviorCloningConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    stop_after: int | None = None,
) -> tuple[BehaviorCloning, LoopState]:
    """Clone the demonstrations and leave the policy at `run.policy_path`; continues a training state held by `run`.

    Args:
        evaluate: as in `policies.training.train`, every `evaluate_every` gradient steps.
        stop_after: save and return after this many gradient steps.
    """
    policy, sha256 = build(demonstrations, config), demonstrations.sha256
    learner = BehaviorCloningLearner(policy, seed)
    dataset = ChunkDataset.cut(demonstrations.trajectories, config.action_horizon)
    source = ChunkSource(dataset, policy.states, policy.actions, batch_size=config.batch_size, seed=seed)
    state = train(
        source,
        learner,
        LoopConfig.of_base(config.steps, evaluate_every),
        run,
        write_policy=lambda path, step: save_policy(path, policy, demonstrations_sha256=sha256, gradient_steps=step),
        evaluate=evaluate,
        stop_after=stop_after,
        title="behaviour cloning",
    )
    return policy, state
