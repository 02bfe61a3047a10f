"""Random search over one constant correction of a base's actions, an episode at a time, on the one training loop."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.checkpoint import PolicyContent, SavablePolicy, restore_policy, save_policy
from policies.data.demonstrations import Demonstrations, Env
from policies.evaluation import roll_out
from policies.run import Run
from policies.starts import start_seed
from policies.training import Evaluate, LoopConfig, LoopState, train
from robot.policy import ActionChunk

KIND = "example-offset"


@dataclass(frozen=True)
class OffsetConfig:
    """One step of the search is one episode here, and counts as one environment step of the budget."""

    env_steps: int = 60
    scale: float = 0.01  # of a proposal, as a share of the world's action box
    evaluate_every: int = 20


PRESETS = {"cpu": OffsetConfig(), "debug": OffsetConfig(env_steps=6, evaluate_every=3)}


class Offset:
    """A base whose every action is moved by the same amount, in station units."""

    def __init__(self, base: SavablePolicy, offset: np.ndarray, config: OffsetConfig) -> None:
        self.base, self.offset, self.config, self.spec = base, offset, config, base.spec

    def reset(self) -> None:
        self.base.reset()

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        base = self.base.act(observation).actions
        return ActionChunk(base + self.offset, 1.0 / self.spec.rate_hz, base_actions=base)

    def content(self) -> PolicyContent:
        return PolicyContent(
            kind=KIND,
            config=asdict(self.config),
            spec=self.spec,
            tensors={"offset": torch.from_numpy(self.offset)},
            statistics={},
            parts={"base": self.base.content()},
        )


def restore(content: PolicyContent) -> Offset:
    """Build the policy of a checkpoint, its base included."""
    base: Any = restore_policy(content.parts["base"])
    return Offset(base, content.tensors["offset"].numpy(), OffsetConfig(**content.config))


@dataclass(frozen=True)
class Episode:
    """What one episode with one offset came to."""

    offset: np.ndarray
    score: float


class Episodes:
    """The source: each batch is one episode with the best offset so far plus a random step."""

    def __init__(self, env: Env, base: SavablePolicy, scale: np.ndarray, config: OffsetConfig, seed: int) -> None:
        self.env, self.base, self.config, self.seed = env, base, config, seed
        self.scale, self.best, self.progress = scale, np.zeros(len(scale)), 0
        self.rng = np.random.default_rng(seed)

    def next(self) -> Episode:
        offset = self.best + self.scale * self.rng.normal(size=len(self.scale))
        start = start_seed("training", self.seed, self.progress)
        result = roll_out(self.env, Offset(self.base, offset, self.config), start)
        self.progress += 1
        return Episode(offset, float(result.is_success) + 1.0 / (1.0 + result.steps))

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "rng": self.rng.bit_generator.state, "progress": self.progress}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.progress = state["best"], state["progress"]
        self.rng.bit_generator.state = state["rng"]


class Search:
    """The learner: keep the offset whose episode was at least as good as the best one's."""

    def __init__(self, episodes: Episodes) -> None:
        self.episodes, self.score = episodes, -1.0

    def update(self, batch: Episode) -> dict[str, float]:
        if batch.score >= self.score:
            self.score, self.episodes.best = batch.score, batch.offset
        return {"score": batch.score, "best_score": self.score}

    def state(self) -> dict[str, Any]:
        return {"score": self.score}

    def restore(self, state: dict[str, Any]) -> None:
        self.score = state["score"]


def finetune(
    env: Env,
    base: SavablePolicy,
    demonstrations: Demonstrations,
    config: OffsetConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Evaluate | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Search, and leave the policy at `run.policy_path`; continues where `run` holds a training state."""
    scale = config.scale * (demonstrations.action_high - demonstrations.action_low)
    source = Episodes(env, base, scale, config, seed)

    def write_policy(path: Path, step: int) -> None:
        save_policy(path, Offset(base, source.best, config), env_steps=step)

    loop = LoopConfig(config.env_steps, log_every=1, evaluate_every=config.evaluate_every)
    return train(
        source, Search(source), loop, run,
        write_policy=write_policy, evaluate=evaluate, stop_after=stop_after, title="offset search",
    )  # fmt: skip
