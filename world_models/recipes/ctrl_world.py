"""Filtered imitation in imagination: Ctrl-World's loop (arXiv 2510.10125), with a calibrated judge in place of people.

As it is run here:
1. Imagine `rollouts` episodes of the base from plain starts and keyframes, its actions disturbed a little so that they
   differ; the executed action is what is kept.
2. Keep those whose calibrated success reaches `keep_success` and whose disagreement is among the lowest share.
3. Fine-tune the base by imitation on the demonstrations and on what was kept, `imagined_share` of each batch.

Judged in the true world alone. Controls: the same with a model whose actions are shuffled (`world_models.broken`), and
the same number of steps on the demonstrations only (`rollouts` 0).
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from policies.checkpoint import save_policy
from policies.data.chunks import ChunkBatch, ChunkDataset, ChunkSource, cut_chunks
from policies.data.demonstrations import Demonstrations
from policies.learners.supervised import SupervisedLearner
from policies.observations import flatten, images_of
from policies.run import Run
from policies.starts import start_seed
from policies.steerable import SteerablePolicy
from policies.training import LoopConfig, LoopState, train
from robot.errors import ConfigError
from robot.types import Array
from world_models.imagined_env import ImaginedEnv, Observations


@dataclass(frozen=True)
class CtrlWorldConfig:
    """Amounts of the loop; the defaults are the spec's for a CPU."""

    rollouts: int = 400
    action_noise: float = 0.02  # standard deviation of one shift per episode, share of the action box's half range
    keep_success: float = 0.8  # least calibrated probability
    keep_disagreement: float = 0.5  # of the successes, the share with the lowest disagreement
    imagined_share: float = 0.5  # of a batch
    steps: int = 1000  # of imitation

    def __post_init__(self) -> None:
        shares = (self.keep_success, self.keep_disagreement, self.imagined_share)
        if self.rollouts < 0 or self.steps < 1 or not all(0.0 < share <= 1.0 for share in shares):
            raise ConfigError(
                f"rollouts {self.rollouts} must be >= 0, steps {self.steps} >= 1, and keep_success, keep_disagreement "
                f"and imagined_share in (0, 1], got {shares}"
            )


PRESETS = {"default": CtrlWorldConfig(), "debug": CtrlWorldConfig(rollouts=8, steps=20)}


@dataclass(frozen=True)
class ImaginedEpisode:
    """One imagined episode, a row per decision: what was seen, and the executed actions from there on."""

    states: Array  # (D, state)
    images: dict[str, np.ndarray]  # (D, H, W, 3) by field
    actions: Array  # (ticks, A), up to the frame that ended it
    decision_ticks: int
    probability: float  # calibrated, the highest of its frames
    disagreement: float
    is_success: bool


@dataclass(frozen=True)
class Kept:
    """What the filter left."""

    episodes: tuple[ImaginedEpisode, ...]
    imagined: int
    imagined_success: float  # share of all

    def facts(self) -> dict[str, Any]:
        return {"imagined": self.imagined, "imagined_success": self.imagined_success, "kept": len(self.episodes)}


def improve(
    env: ImaginedEnv,
    base: SteerablePolicy,
    demonstrations: Demonstrations,
    config: CtrlWorldConfig,
    run: Run,
    *,
    seed: int,
) -> tuple[SteerablePolicy, Kept, LoopState]:
    """Run the loop once and leave the policy at `run.policy_path`.

    Args:
        env: where to imagine; its members are imagined at a time.
        base: a policy whose fields the model gives, one observation at a time.
        demonstrations: of the base, with the fields it reads.
        config: amounts.
        run: folder of the run.
        seed: of starts, disturbances and batches.
    """
    _check(env, base)
    kept = select(imagine_episodes(env, base, config, seed=seed), config)
    print(f"imagined {kept.imagined}, success {100 * kept.imagined_success:.0f} %, kept {len(kept.episodes)}")
    policy = deepcopy(base)
    sources = [_source(policy, _demonstrated(policy, demonstrations), seed)]
    if kept.episodes:
        sources.append(_source(policy, _chunks_of(policy, kept.episodes), seed + 1))
    source = MixedSource(sources, config.imagined_share)
    state = train(
        source,
        SupervisedLearner(policy, seed),
        LoopConfig.of_base(config.steps),
        run,
        write_policy=lambda path, step: save_policy(path, policy, gradient_steps=step),
        title="filtered imitation",
    )
    network: torch.nn.Module = policy.network
    network.to("cpu").eval()
    return policy, kept, state


def imagine_episodes(
    env: ImaginedEnv, policy: SteerablePolicy, config: CtrlWorldConfig, *, seed: int
) -> list[ImaginedEpisode]:
    """Return `rollouts` imagined episodes of a policy."""
    rng, found = np.random.default_rng(seed), []
    half = (env.cell.actions.high - env.cell.actions.low) / 2
    for batch in range(-(-config.rollouts // env.num_envs)):
        shift = config.action_noise * half * rng.standard_normal((env.num_envs, len(half)))
        shift[:, env.cell.actions.grippers] = 0.0
        found += _imagine_batch(env, policy, shift, start_seed("training", seed, batch))
    return found[: config.rollouts]


def _imagine_batch(env: ImaginedEnv, policy: SteerablePolicy, shift: Array, seed: int) -> list[ImaginedEpisode]:
    """Imagine one episode per member, begun by a reset, to its end."""
    return follow(env, policy, *env.reset(seed=seed), shift)


def follow(
    env: ImaginedEnv, policy: SteerablePolicy, observation: Observations, info: dict[str, Any], shift: Array
) -> list[ImaginedEpisode]:
    """Let a policy act in every member of an env that has begun, to the end of the last; shifts are (B, A)."""
    shapes, count, ticks = policy.spec.observation_shapes, env.num_envs, policy.spec.execution_horizon
    states, images, actions = ([[] for _ in range(count)] for _ in range(3))
    while info["is_live"].any():
        chunk = np.zeros((count, ticks, env.model.spec.action_dim))
        live = np.flatnonzero(info["is_live"])
        for row in live:
            seen = {name: values[row] for name, values in observation.items()}
            chunk[row] = policy.act(seen).actions[:ticks] + shift[row]
            states[row].append(flatten(seen, shapes))
            images[row].append(images_of(seen, shapes))
        observation, _, _, _, info = env.step_chunk(chunk)
        for row in live:
            counted = int(info["frame_is_live"][row].sum()) * env.model.spec.ticks_per_frame
            actions[row].append(info["executed_action"][row][:counted])
    return [
        ImaginedEpisode(
            np.array(states[row]),
            {name: np.stack([seen[name] for seen in images[row]]) for name in images[row][0]},
            np.concatenate(actions[row]),
            ticks,
            float(info["success_probability"][row]),
            float(info["disagreement"][row]),
            bool(info["success"][row]),
        )
        for row in range(count)
    ]


def select(episodes: Sequence[ImaginedEpisode], config: CtrlWorldConfig) -> Kept:
    """Return the episodes that are believed to have succeeded, the least doubtful first."""
    sure = [item for item in episodes if item.is_success and item.probability >= config.keep_success]
    sure.sort(key=lambda item: item.disagreement)
    kept = sure[: math.ceil(len(sure) * config.keep_disagreement)]
    share = float(np.mean([item.is_success for item in episodes])) if episodes else 0.0
    return Kept(tuple(kept), len(episodes), share)


class MixedSource:
    """Batches of several datasets, a fixed share of the last; one alone gives all. `progress` counts batches."""

    def __init__(self, sources: Sequence[ChunkSource], last_share: float) -> None:
        self.sources, self.progress = list(sources), 0
        if len(self.sources) > 1:
            size = self.sources[0].batch_size
            self.sources[-1].batch_size = max(1, round(last_share * size))
            self.sources[0].batch_size = max(1, size - self.sources[-1].batch_size)

    def next(self) -> ChunkBatch:
        self.progress += 1
        parts = [source.next() for source in self.sources]
        return ChunkBatch(
            torch.cat([part.states for part in parts]),
            torch.cat([part.chunks for part in parts]),
            torch.cat([part.mask for part in parts]),
            {name: torch.cat([part.images[name] for part in parts]) for name in parts[0].images},
        )

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"sources": [source.state() for source in self.sources], "progress": self.progress}

    def restore(self, state: dict[str, Any]) -> None:
        for source, stored in zip(self.sources, state["sources"], strict=True):
            source.restore(stored)
        self.progress = state["progress"]


def _check(env: ImaginedEnv, base: SteerablePolicy) -> None:
    ticks, gap = base.spec.execution_horizon, env.model.spec.ticks_per_frame
    if ticks % gap or base.spec.obs_horizon != 1:
        raise ConfigError(
            f"the policy executes {ticks} actions and sees {base.spec.obs_horizon} observations; a decision must fall "
            f"on an imagined frame: execution_horizon a multiple of {gap}, obs_horizon 1"
        )
    absent = [name for name in base.spec.observation_shapes if name not in env.interface.observation_shapes]
    if absent:
        raise ConfigError(
            f"the policy reads {', '.join(absent)}, which imagination has not: it gives "
            f"{', '.join(env.interface.observation_shapes)}"
        )


def _source(policy: SteerablePolicy, dataset: ChunkDataset, seed: int) -> ChunkSource:
    return ChunkSource(dataset, policy.states, policy.actions, batch_size=policy.config.batch_size, seed=seed)


def _demonstrated(policy: SteerablePolicy, demonstrations: Demonstrations) -> ChunkDataset:
    return ChunkDataset.cut(demonstrations.trajectories, policy.config.action_horizon, policy.config.obs_horizon)


def _chunks_of(policy: SteerablePolicy, episodes: Sequence[ImaginedEpisode]) -> ChunkDataset:
    """Return a row per decision: between frames the images are older than the joints, so no other tick is learned."""
    horizon = policy.config.action_horizon
    parts = []
    for episode in episodes:
        chunks, mask = cut_chunks(episode.actions, horizon)
        rows = np.arange(len(episode.states)) * episode.decision_ticks
        parts.append(ChunkDataset(episode.states, chunks[rows], mask[rows], episode.images))
    first = parts[0]
    names = {name: np.concatenate([part.images[name] for part in parts]) for name in first.images}
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("states", "chunks", "mask"))
    return replace(first, **dict(zip(("states", "chunks", "mask"), joined, strict=True)), images=names)
