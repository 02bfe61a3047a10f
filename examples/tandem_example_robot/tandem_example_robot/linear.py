"""Ridge regression from the state to a chunk of actions: a small base policy that obeys the whole contract."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.checkpoint import PolicyContent, check_tensors, save_policy
from policies.data.chunks import ChunkBatch, ChunkDataset, ChunkSource
from policies.data.demonstrations import Demonstrations
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import flatten, state_size
from policies.run import Run
from policies.training import Evaluate, LoopConfig, LoopState, train
from robot.policy import ActionChunk, PolicySpec

KIND = "example-linear"


@dataclass(frozen=True)
class LinearConfig:
    """Settings of the regression, and how many batches it sums up."""

    action_horizon: int = 8
    execution_horizon: int = 4
    steps: int = 200
    batch_size: int = 64
    ridge: float = 1e-3
    execution: str = "receding"


PRESETS = {"cpu": LinearConfig(), "debug": LinearConfig(steps=50)}


class Linear:
    """`chunk = [state, 1] @ weights`, states and chunks normalised."""

    noise_spec = None

    def __init__(self, spec: PolicySpec, config: LinearConfig, states: StateNormalizer, actions: ActionLimits) -> None:
        self.spec, self.config, self.states, self.actions = spec, config, states, actions
        size = state_size(spec.observation_shapes)
        self.weights = torch.zeros(size + 1, config.action_horizon * len(spec.action_names))

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        state = self.states.normalize(flatten(observation, self.spec.observation_shapes))
        chunk = (np.append(state, 1.0) @ self.weights.numpy()).reshape(self.config.action_horizon, -1)
        return ActionChunk(self.actions.denormalize(chunk.clip(-1.0, 1.0)), 1.0 / self.spec.rate_hz)

    def content(self) -> PolicyContent:
        return PolicyContent(
            kind=KIND,
            config=asdict(self.config),
            spec=self.spec,
            tensors={"weights": self.weights},
            statistics={"states": self.states.statistics(), "actions": self.actions.statistics()},
        )


def restore(content: PolicyContent) -> Linear:
    """Build the policy of a checkpoint."""
    policy = Linear(
        content.spec,
        LinearConfig(**content.config),
        StateNormalizer.from_statistics(content.statistics.get("states", {})),
        ActionLimits.from_statistics(content.statistics.get("actions", {})),
    )
    check_tensors({"weights": policy.weights}, content.tensors, "linear policy")
    policy.weights = content.tensors["weights"]
    return policy


class LinearLearner:
    """Sums up the normal equations batch by batch and solves them anew each time; padded steps count as given."""

    def __init__(self, policy: Linear) -> None:
        self.policy = policy
        inputs, outputs = policy.weights.shape
        self.square, self.cross = torch.zeros(inputs, inputs), torch.zeros(inputs, outputs)

    def update(self, batch: ChunkBatch) -> dict[str, Tensor]:
        inputs = torch.cat([batch.states, torch.ones(len(batch.states), 1)], dim=1)
        targets = batch.chunks.flatten(1)
        loss = (inputs @ self.policy.weights - targets).abs().mean()
        self.square += inputs.T @ inputs / len(inputs)
        self.cross += inputs.T @ targets / len(inputs)
        ridge = self.policy.config.ridge * torch.eye(len(self.square))
        self.policy.weights = torch.linalg.solve(self.square + ridge, self.cross)
        return {"loss": loss}

    def state(self) -> dict[str, Any]:
        return {"square": self.square, "cross": self.cross, "weights": self.policy.weights}

    def restore(self, state: dict[str, Any]) -> None:
        self.square, self.cross = state["square"].clone(), state["cross"].clone()
        self.policy.weights = state["weights"]


def train_base(
    demonstrations: Demonstrations,
    config: LinearConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    stop_after: int | None = None,
) -> tuple[Linear, LoopState]:
    """Fit the demonstrations and leave the policy at `run.policy_path`; continues a training state held by `run`."""
    sha256, floor = demonstrations.sha256, demonstrations.half_range_floor(0.05)
    states = StateNormalizer.fit(demonstrations.states, 0.01)
    spec = demonstrations.spec(config.action_horizon, config.execution_horizon, execution=config.execution)
    policy = Linear(spec, config, states, ActionLimits.fit(demonstrations.actions, floor))
    dataset = ChunkDataset.cut(demonstrations.trajectories, config.action_horizon)
    state = train(
        ChunkSource(dataset, policy.states, policy.actions, batch_size=config.batch_size, seed=seed),
        LinearLearner(policy),
        LoopConfig.of_base(config.steps, evaluate_every),
        run,
        write_policy=lambda path, step: save_policy(path, policy, demonstrations_sha256=sha256, gradient_steps=step),
        evaluate=evaluate,
        stop_after=stop_after,
        title="linear policy",
    )
    return policy, state
