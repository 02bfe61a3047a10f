"""Rounds of imitation: roll the policy out under a person's eyes, add what is to be imitated, train on all of it.

One source for HG-DAgger, DAgger, IWR, Sirius and RaC; they differ in who may hand back, in what is kept of an episode
and in how much each tick counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from policies.data.chunks import ChunkBatch, ChunkDataset
from policies.data.demonstrations import Demonstrations, Env, interface_of
from policies.data.trajectories import Trajectory
from policies.decisions import refuse_images
from policies.observations import flatten
from policies.starts import start_seed
from policies.steerable import SteerablePolicy
from policies.takeovers.shared_control import AT_WILL, Onlooker, Watched, make_control, person_of
from policies.takeovers.ticks import Ticks
from policies.takeovers.weights import Kind
from policies.training import LoopConfig
from robot.chunk_runner import ChunkRunner
from robot.errors import ConfigError
from robot.ownership import OwnershipRules
from robot.policy import ActionChunk
from robot.record import TickRecord
from robot.types import NS_PER_S, EndReason, Owner


@dataclass(frozen=True)
class RoundsConfig:
    """How much is rolled out and learned per round."""

    env_steps: int = 20_000
    round_steps: int = 1_000  # a round ends with the first episode that ends after so many
    round_updates: int = 500
    batch_size: int = 256
    learning_rate: float = 1e-3
    human_budget: int = 0  # ticks of a person after which rolling out ends; 0: no limit
    evaluate_every: int = 2_000
    checkpoint_every: int = 0
    log_every: int = 500

    def __post_init__(self) -> None:
        if min(self.round_steps, self.round_updates, self.batch_size) < 1 or self.env_steps < self.round_steps:
            raise ConfigError(
                f"round_steps {self.round_steps}, round_updates {self.round_updates} and batch_size {self.batch_size} "
                f"must be >= 1, and env_steps {self.env_steps} at least one round"
            )

    def loop(self) -> LoopConfig:
        return LoopConfig(self.env_steps, self.log_every, self.checkpoint_every, self.evaluate_every)


@dataclass(frozen=True)
class RolledOut:
    """One episode under a person's eyes: T + 1 flat states, T records, and what the person advised, if asked."""

    states: np.ndarray
    records: list[TickRecord]
    advice: list[np.ndarray]

    @property
    def ticks(self) -> Ticks:
        return Ticks.of(self.records)

    @property
    def succeeded(self) -> bool:
        return self.records[-1].end_reason is EndReason.SUCCESS


Sort = Callable[[RolledOut], np.ndarray]  # the Kind of each tick
Weigh = Callable[[np.ndarray], np.ndarray]  # weights by kinds


@dataclass(frozen=True)
class Method:
    """What tells the methods apart."""

    sort: Sort
    weigh: Weigh
    rules: OwnershipRules = AT_WILL
    relabels: bool = False  # nobody takes over; the person says afterwards what they would have done (DAgger)


class RoundsSource:
    """Makes one tick, or, when a round is complete, hands out its batches. `progress` counts ticks.

    Args:
        env: the world, watched by a person.
        policy: who is rolled out; trained elsewhere, on the batches.
        demonstrations: imitated from the beginning.
        config: amounts.
        method: what is kept and how it counts.
        seed: of starts and batches.
    """

    def __init__(
        self,
        env: Env,
        policy: SteerablePolicy,
        demonstrations: Demonstrations,
        config: RoundsConfig,
        method: Method,
        *,
        seed: int,
    ) -> None:
        refuse_images(demonstrations.observation_shapes, "imitation in rounds")
        if policy.spec.obs_horizon != 1:
            raise ConfigError(f"rounds need a policy with obs_horizon 1, this one sees {policy.spec.obs_horizon}")
        self.person, self.policy = person_of(env), policy
        world = Watched(env, Onlooker(self.person)) if method.relabels else env
        self.control = make_control(world, method.rules)
        self.config, self.method, self.seed, self.progress = config, method, seed, 0
        self.shapes, self.runner = demonstrations.observation_shapes, ChunkRunner(policy)
        self._period_ns = round(NS_PER_S / interface_of(env).rate_hz)
        self.pieces = list(demonstrations.trajectories)
        self.kinds = [np.full(len(piece), Kind.DEMONSTRATION) for piece in self.pieces]
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.episodes = self.successes = self.rounds = self._since_round = self._owed = 0
        self._replay_ticks = -1  # of the present episode, after a restore
        self.score: Callable[[RolledOut], float] = _score_nothing
        self.on_round: Callable[[list[float]], None] = _note_nothing  # told the scores of a round before it is learned
        self.scores: list[float] = []
        self._begin()

    def _begin(self) -> None:
        self._counted = self.person.session_ticks, self.person.driven_ticks
        self._seen: Any = self.control.reset(start_seed("training", self.seed, self.episodes))
        self.runner.reset()
        self._chunk: ActionChunk | None = None
        self._states, self._records, self._advice = [flatten(self._seen, self.shapes)], [], []

    def next(self) -> ChunkBatch | None:
        if self._replay_ticks >= 0:
            self._replay()
        if self._owed == 0:
            is_over = self._tick()
            self._since_round += 1
            if not self._closes_round(is_over):
                self.progress += 1
                return None
            self._close_round()
        self._owed -= 1
        if self._owed == 0:
            spent = 0 < self.config.human_budget <= self.person.driven_ticks
            self.progress = self.config.env_steps if spent else self.progress + 1
        return self.batch()

    def _closes_round(self, is_over: bool) -> bool:
        spent = 0 < self.config.human_budget <= self.person.driven_ticks
        is_last = self.progress + 1 >= self.config.env_steps
        return is_last or (is_over and (spent or self._since_round >= self.config.round_steps))

    def _close_round(self) -> None:
        self.on_round(self.scores)
        kinds = np.concatenate(self.kinds)
        self.weights = torch.from_numpy(self.method.weigh(kinds))
        dataset = ChunkDataset.cut(self.pieces, self.policy.spec.action_horizon)
        self.rows = (
            torch.from_numpy(self.policy.states.normalize(dataset.states)),
            torch.from_numpy(self.policy.actions.normalize(dataset.chunks).astype(np.float32)),
            torch.from_numpy(dataset.mask)[..., None],
        )
        self.scores, self._since_round, self._owed = [], 0, self.config.round_updates
        self.rounds += 1

    def batch(self) -> ChunkBatch:
        """Draw rows in proportion to their weights."""
        index = torch.multinomial(self.weights, self.config.batch_size, replacement=True, generator=self.generator)
        states, chunks, mask = self.rows
        return ChunkBatch(states[index], chunks[index], mask[index])

    def _tick(self) -> bool:
        """Make one tick; return whether the episode is over."""
        command = self._command()
        if self.method.relabels:
            self._advice.append(self.person.advise(self._seen))
            self.person.driven_ticks += 1
        self._seen, record = self.control.step(command)
        if record.owner is Owner.HUMAN:
            self.person.driven_ticks += 1
            self.runner.flush()  # what drives next is asked for with what is seen then
        self._records.append(record)
        self._states.append(flatten(self._seen, self.shapes))
        if not (record.terminated or record.truncated):
            return False
        self._keep(RolledOut(np.array(self._states), self._records, self._advice))
        self.episodes += 1
        self._begin()
        return True

    def _command(self) -> np.ndarray:
        """Return the action due now; a takeover or hand-back drops what is left of the chunk."""
        time_ns = len(self._records) * self._period_ns
        generation = self._records[-1].generation if self._records else 0
        self._chunk = self.runner.step(self._seen, time_ns, generation) or self._chunk
        assert self._chunk is not None
        offset = (time_ns - self._chunk.observation_time_ns) // self._period_ns
        return self._chunk.actions[min(offset, len(self._chunk.actions) - 1)]

    def _keep(self, episode: RolledOut) -> None:
        """Add an episode; a piece never reaches across a change of owner, nor does a chunk cut from it."""
        self.successes += episode.succeeded
        self.scores.append(self.score(episode))
        kinds = self.method.sort(episode)
        actions = np.array(episode.advice or [record.executed_action for record in episode.records])
        owners = episode.ticks.owner
        edges = np.flatnonzero((np.diff(owners) != 0) | (np.diff(kinds) != 0)) + 1
        for rows in np.split(np.arange(len(kinds)), edges):
            if kinds[rows[0]] != Kind.NOTHING:
                nothing = np.zeros(len(rows))
                states = episode.states[[*rows, rows[-1] + 1]]
                self.pieces.append(Trajectory(states, actions[rows], nothing, False, True))
                self.kinds.append(kinds[rows])

    def metrics(self) -> dict[str, float]:
        names = ("episodes", "successes", "rounds")
        counts = {f"collection/{name}": float(getattr(self, name)) for name in names}
        return counts | {"collection/human_ticks": float(self.person.driven_ticks)}

    _COUNTERS = ("progress", "episodes", "successes", "rounds", "_since_round", "_owed")

    def state(self) -> dict[str, Any]:
        online = [(vars(piece), kinds) for piece, kinds in zip(self.pieces, self.kinds, strict=True)]
        return {
            "counters": {name: getattr(self, name) for name in self._COUNTERS},
            "pieces": [{**piece, "images": {}, "kinds": kinds} for piece, kinds in online],
            "counted": list(self._counted),
            "scores": list(self.scores),
            "ticks": len(self._records) if self._replay_ticks < 0 else self._replay_ticks,
            "generator": self.generator.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state["counters"].items():
            setattr(self, name, value)
        self.kinds = [np.asarray(piece["kinds"]) for piece in state["pieces"]]
        self.pieces = [Trajectory(**{k: v for k, v in piece.items() if k != "kinds"}) for piece in state["pieces"]]
        self.person.session_ticks, self.person.driven_ticks = state["counted"]
        self.scores = list(state["scores"])
        self.generator.set_state(state["generator"])
        self._replay_ticks = state["ticks"]

    def _replay(self) -> None:
        """Repeat the present episode up to where it was, once the policy's weights are restored too."""
        ticks, self._replay_ticks, owed = self._replay_ticks, -1, self._owed
        self._begin()
        for _ in range(ticks):
            self._tick()
        if owed:
            rounds, since = self.rounds, self._since_round
            self._close_round()
            self._owed, self.rounds, self._since_round = owed, rounds, since


def _score_nothing(_episode: RolledOut) -> float:
    return 0.0


def _note_nothing(scores: list[float]) -> None:
    """Nothing is learned from a round beside its ticks."""
