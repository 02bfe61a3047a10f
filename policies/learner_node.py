"""Learns beside the graph from the ticks it hears, and announces new weights; nothing in the control loop waits for it.

It trains on what the arm applied, runs with less right to the processor than all other nodes, and writes every set of
weights to a file of its own, whose hash the policy node verifies.
"""

import os
import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from policies.checkpoint import load_policy, save_policy
from policies.collection import relabel, store, trajectory_transitions
from policies.data.demonstrations import Demonstrations
from policies.learners.residual import ResidualLearner
from policies.observations import image_shapes, vector_shapes
from policies.presets import resolve
from policies.recipes.resfit import PRESETS, ResFiTConfig
from policies.replay import Replay
from policies.residual_policy import BaseQueue, ResidualPolicy
from policies.served_policy import Weights, file_hash
from policies.tick_source import TickSource
from robot.applied_join import Applied, AppliedJoin
from robot.errors import CheckpointMismatch, ConfigError
from robot.motion import make_action_space
from robot.ros import topics
from robot.ros.messages import from_joint_state, from_stamp, read_frame_id, to_json
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node
from robot.ros.record_message import from_record

NICE = 10
FILES_KEPT = 5
IDLE_S = 0.02


@dataclass(frozen=True)
class LearnerParameters(NodeParameters):
    """`checkpoint`: a residual policy to go on from. `demos`: a file of demonstrations, or empty.

    Learning begins after `warmup_ticks`; from then on there are as many updates per tick as the preset says, and new
    weights after every `announce_every` of them.
    """

    checkpoint: str = ""
    demos: str = ""
    preset: str = "cpu"
    out: str = "runs/learner"
    warmup_ticks: int = 200
    announce_every: int = 200
    seed: int = 0


class LearnerNode(RobotNode[LearnerParameters]):
    """Callbacks feed a queue; one thread joins ticks, updates and announces."""

    def __init__(self) -> None:
        super().__init__("learner", LearnerParameters)
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        torch.set_num_threads(1)
        self._config: ResFiTConfig = resolve(PRESETS, self.parameters.preset)
        self._policy = _load(self.parameters.checkpoint)
        self._source = self._make_source()
        size = self._source.online.layout
        self._learner = ResidualLearner(
            size["state"], size["action"], self._policy.config, self._config.learner(), seed=self.parameters.seed
        )
        self._learner.actor.load_state_dict(self._policy.actor.state_dict())
        self._learner.target_actor.load_state_dict(self._policy.actor.state_dict())
        self._policy.actor = self._learner.actor
        self._out = Path(self.parameters.out).absolute()
        self._out.mkdir(parents=True, exist_ok=True)
        self._join = AppliedJoin(make_action_space(self.station).from_joints)
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._updates, self._owed, self._version, self._metrics = 0, self._config.critic_only_updates, 0, {}
        self._weights = self.publisher(topics.LEARNER_WEIGHTS)
        self.subscribe(topics.TICK_RECORD, self._on_record)
        self.subscribe(topics.COMMAND, self._on_command)
        self.subscribe(topics.APPLIED_COMMAND, self._on_applied)
        self.start_thread("learn", self._learn)

    def _make_source(self) -> TickSource:
        policy, config = self._policy, self._config
        shapes = policy.spec.observation_shapes
        source = TickSource(
            shapes,
            policy.states,
            policy.limits,
            config.window(),
            capacity=config.replay_capacity,
            seed=self.parameters.seed,
        )
        if not self.parameters.demos:
            return source
        recorded = Demonstrations.load(Path(self.parameters.demos))
        trajectories = recorded.select(tuple(vector_shapes(shapes)), tuple(image_shapes(shapes))).trajectories
        queue_of_base = BaseQueue(policy.base)
        found = [
            transition
            for trajectory in trajectories
            for transition in trajectory_transitions(
                trajectory, relabel(queue_of_base, trajectory, shapes), policy.states, policy.limits, config.window()
            )
        ]
        source.demos = Replay(source.online.layout, max(len(found), 1))
        store(source.demos, found)
        return source

    def _on_record(self, message: Any) -> None:
        self._work.put(lambda: self._join.add_record(from_record(message), time.monotonic()))

    def _on_command(self, message: Any) -> None:
        seq, time_ns = int(read_frame_id(message.header.frame_id).get("seq", -1)), from_stamp(message.header.stamp)
        self._work.put(lambda: self._join.add_command(seq, time_ns))

    def _on_applied(self, message: Any) -> None:
        facts = read_frame_id(message.header.frame_id)
        position = from_joint_state(message, self.station.joint_names).position
        applied = Applied(int(facts.get("seq", -1)), position, int(facts.get("behind_urad", 0)) / 1e6)
        self._work.put(lambda: self._join.add_applied(applied))

    def _learn(self) -> None:
        """Take in what was heard, then make the updates that the ticks so far have earned."""
        while not self.stopping.is_set():
            self._take_in()
            if self._source.ticks < self.parameters.warmup_ticks or not len(self._source.online) or self._owed < 1:
                time.sleep(IDLE_S)
                continue
            self._owed -= 1
            self._update()
            if self._updates % self.parameters.announce_every == 0:
                self._announce()

    def _take_in(self) -> None:
        while not self._work.empty():
            self._work.get()()
        before = self._source.ticks
        for record in self._join.ready(time.monotonic()):
            self._source.add(record)
        if self._source.ticks > self.parameters.warmup_ticks:
            self._owed += (self._source.ticks - before) * self._config.utd_ratio

    def _update(self) -> None:
        self._updates += 1
        trained = self._updates - self._config.critic_only_updates
        update_actor = trained > 0 and trained % self._config.utd_ratio == 0
        batch = self._source.batch(self._config.batch_size, self._config.demo_fraction, update_actor=update_actor)
        self._metrics = self._learner.update(batch)

    def _announce(self) -> None:
        """Write the weights to a file of their own and say where they are."""
        made_ns = self.now_ns()
        self._version += 1
        path = self._out / f"policy_{self._version:06d}.safetensors"
        save_policy(path, self._policy, updates=self._updates, ticks=self._source.ticks)
        announced = Weights(str(path), file_hash(path), self._version, self._updates, made_ns)
        self._weights.publish(to_json(asdict(announced)))
        for old in sorted(self._out.glob("policy_*.safetensors"))[:-FILES_KEPT]:
            old.unlink()

    def diagnose(self) -> Diagnosis:
        source = self._source
        values: dict[str, object] = {
            "ticks": source.ticks,
            "human_ticks": source.human_ticks,
            "episodes": source.episodes,
            "transitions": len(source.online),
            "updates": self._updates,
            "owed_updates": self._owed,
            "version": self._version,
            "changed_by_arm": self._join.changed,
        }
        values |= {name: float(value) for name, value in self._metrics.items()}
        return Diagnosis(Level.OK, "learning" if self._updates else "waiting for ticks", values)


def _load(path: str) -> ResidualPolicy:
    if not path:
        raise ConfigError("parameter checkpoint is empty: give a residual policy's file or run folder")
    policy = load_policy(path)
    if not isinstance(policy, ResidualPolicy):
        raise CheckpointMismatch(f"{path} is no residual policy: make one with `tandem finetune --recipe resfit`")
    return policy


def main(args: Iterable[str] | None = None) -> int:
    return run_node(LearnerNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
