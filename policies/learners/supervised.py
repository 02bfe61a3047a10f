"""Supervised learning of a base policy: one learner for every family, and the training that leaves a checkpoint."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from policies.checkpoint import save_policy
from policies.data.chunks import ChunkBatch, ChunkDataset, ChunkSource
from policies.data.demonstrations import Demonstrations
from policies.network import polyak, seeded
from policies.normalization import ActionLimits, StateNormalizer
from policies.run import Run
from policies.steerable import BaseConfig, SteerablePolicy
from policies.training import Evaluate, LoopConfig, LoopState, train

LARGEST_DECAY = 0.9999  # of the moving average
SEEDS = 2**62
SomePolicy = TypeVar("SomePolicy", bound=SteerablePolicy)


class SupervisedLearner:
    """AdamW on the loss of the policy's network; where the config averages, the policy is the moving average.

    Everything random in an update is drawn from one seed, which this learner's generator gives: resuming repeats it.
    """

    def __init__(self, policy: SteerablePolicy, seed: int) -> None:
        self.policy, self.config = policy, policy.config
        averages = self.config.average_power > 0
        self.live: Any = deepcopy(policy.network) if averages else policy.network
        self.live.to(self.config.device)
        policy.network.to(self.config.device)
        self.averaged = list(policy.network.parameters()) if averages else []
        self.loss: Callable[[ChunkBatch], Tensor] = (
            torch.compile(self.live.loss) if self.config.compiled else self.live.loss
        )
        self.optimizer = torch.optim.AdamW(
            self.live.parameters(),
            lr=self.config.learning_rate,
            betas=(self.config.beta1, 0.999),
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0

    def update(self, batch: ChunkBatch) -> dict[str, Tensor]:
        self.live.train()
        batch = batch.to(self.config.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.updates)
        seed = int(torch.randint(SEEDS, (), generator=self.generator))
        is_short = self.config.precision == "bfloat16"
        with seeded(seed), torch.autocast(torch.device(self.config.device).type, torch.bfloat16, enabled=is_short):
            loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        if self.averaged:
            decay = min(1.0 - (1.0 + self.updates) ** -self.config.average_power, LARGEST_DECAY)
            polyak(self.averaged, list(self.live.parameters()), 1.0 - decay)
        return {"loss": loss.detach()}

    def state(self) -> dict[str, Any]:
        return {
            "live": self.live.state_dict(),
            "averaged": self.policy.network.state_dict() if self.averaged else {},
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "updates": self.updates,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.live.load_state_dict(state["live"])
        if self.averaged:
            self.policy.network.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(deepcopy(state["optimizer"]))  # it keeps the tensors it is given
        self.generator.set_state(state["generator"])
        self.updates = state["updates"]


def learning_rate(config: BaseConfig, update: int) -> float:
    """Return the rate of an update, counted from 0: a rise over `warmup_steps`, then constant or half a cosine."""
    if update < config.warmup_steps:
        return config.learning_rate * (update + 1) / config.warmup_steps
    if not config.cosine:
        return config.learning_rate
    share = (update - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))


def build(
    policy_class: type[SomePolicy], demonstrations: Demonstrations, config: BaseConfig, seed: int = 0
) -> SomePolicy:
    """Fit the normalisers on the demonstrations and return an untrained policy, its weights drawn from `seed`."""
    spec = demonstrations.spec(
        config.action_horizon,
        config.execution_horizon,
        execution=config.execution,
        obs_horizon=config.obs_horizon,
    )
    states = StateNormalizer.fit(demonstrations.states, config.state_std_floor)
    floor = demonstrations.half_range_floor(config.half_range_floor)
    with seeded(seed):
        return policy_class(spec, config, states, ActionLimits.fit(demonstrations.actions, floor))


def train_policy(
    policy_class: type[SomePolicy],
    demonstrations: Demonstrations,
    config: BaseConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    stop_after: int | None = None,
) -> tuple[SomePolicy, LoopState]:
    """Fit a policy to demonstrations and leave it at `run.policy_path`; continues a training state held by `run`.

    Args:
        policy_class: the family.
        demonstrations: what to imitate; its observation fields are what the policy reads.
        config: settings of the family.
        run: folder of the run.
        seed: of weights, batches and noise.
        evaluate: as in `policies.training.train`, every `evaluate_every` gradient steps.
        stop_after: save and return after this many gradient steps, as an interruption would.
    """
    policy = build(policy_class, demonstrations, config, seed)
    learner = SupervisedLearner(policy, seed)
    dataset = ChunkDataset.cut(demonstrations.trajectories, config.action_horizon, config.obs_horizon)
    source = ChunkSource(dataset, policy.states, policy.actions, batch_size=config.batch_size, seed=seed)
    sha256 = demonstrations.sha256
    state = train(
        source,
        learner,
        LoopConfig.of_base(config.steps, evaluate_every),
        run,
        write_policy=lambda path, step: save_policy(path, policy, demonstrations_sha256=sha256, gradient_steps=step),
        evaluate=evaluate,
        stop_after=stop_after,
        title=policy_class.__doc__ or policy_class.kind,
    )
    network: nn.Module = policy.network
    network.to("cpu").eval()
    return policy, state
