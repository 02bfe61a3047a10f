"""Serves a checkpoint in the graph: observation in, action chunk out, stamped with the time of what was seen."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from policies.checkpoint import load_policy
from policies.observations import DEPTH, IMAGE, is_image
from policies.served_policy import ServedPolicy, Weights, in_real_time, load_verified
from robot import preflight
from robot.chunk_runner import ChunkRunner
from robot.clock import RateKeeper
from robot.errors import CheckpointMismatch, ConfigError
from robot.observation_history import repeated
from robot.ros import topics
from robot.ros.messages import MessageRefused, from_json, to_chunk, to_chunk_info, to_count
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node
from robot.ros.streams import Streams
from robot.types import Observation
from robot.worlds import Interface

ALIVE_HZ = 20.0
HUNG_S = 0.3  # an inference loop without progress for so long counts as dead


@dataclass(frozen=True)
class PolicyParameters(NodeParameters):
    """`checkpoint`: a policy file, or a run folder that holds one. `execution`: how its chunks are executed."""

    checkpoint: str = ""
    execution: str = ""


class PolicyNode(RobotNode[PolicyParameters]):
    """Infers in one thread, says in another that the first still gets on, and loads new weights in a third."""

    def __init__(self) -> None:
        super().__init__("policy", PolicyParameters)
        if not self.parameters.checkpoint:
            raise ConfigError("parameter checkpoint is empty: give a policy file or a run folder")
        torch.set_num_threads(1)
        policy = load_policy(self.parameters.checkpoint)
        self._spec = policy.spec
        self._served = ServedPolicy(policy, self.now_ns, policy.spec if self.is_barrier else in_real_time(policy.spec))
        self._runner = self._make_runner()
        self._check(preflight.station_interface(self.station, policy.spec))
        if not self.is_barrier:
            self._served.warm_up()
        self._author: Mapping[str, Any] = {"generation": 0, "time_ns": -1}
        self._announced: Weights | None = None
        self._episode = ""
        self._was_blind = self._fits = False
        self._progress_s, self._busy_ms, self._chunks, self._refused_weights = time.monotonic(), 0.0, 0, 0
        cameras, depths, size = self._images()
        self._chunk_topic = self.publisher(topics.ACTION_CHUNK)
        self._info_topic = self.publisher(topics.CHUNK_INFO)
        self._alive = self.publisher(topics.POLICY_ALIVE)
        self._streams = Streams(self, cameras=cameras, depths=depths, image_size=size)
        self.subscribe(topics.AUTHOR, self._on_author)
        self.subscribe(topics.LEARNER_WEIGHTS, self._on_weights)
        self.start_thread("infer", self._infer)
        self.start_thread("load", self._load)
        if not self.is_barrier:
            self.start_thread("alive", self._say_alive)

    def _images(self) -> tuple[list[str], list[str], int]:
        """Return the cameras whose colour and whose depth the policy sees, and the side of their images [pixels]."""
        shapes = {name: shape for name, shape in self._spec.observation_shapes.items() if is_image(name)}
        if len({side for shape in shapes.values() for side in shape[:2]}) > 1:
            raise CheckpointMismatch(f"the graph gives square images of one size, the policy wants {shapes}")
        colors, depths = ([n.removeprefix(kind) for n in shapes if n.startswith(kind)] for kind in (IMAGE, DEPTH))
        return colors, depths, next(iter(shapes.values()))[0] if shapes else 0

    def _make_runner(self) -> ChunkRunner:
        return ChunkRunner(self._served, self.parameters.execution, in_real_time=not self.is_barrier)

    def _check(self, world: Interface) -> None:
        lines = preflight.compare(self._spec, world, self.parameters.execution)
        preflight.check(lines, f"station {self.station.name}")

    def _check_seen(self, observation: Observation) -> None:
        """Hold what is really seen against the checkpoint; in real time, show what it would do, before it may."""
        known = preflight.station_interface(self.station, self._spec)
        self._check(replace(known, observation_shapes={name: v.shape for name, v in observation.values.items()}))
        if not self.is_barrier:
            low, high = self.station.action_low, self.station.action_high
            chunk = self._served.act(repeated(observation.values, self._spec.obs_horizon))
            self._served.reset()
            preflight.check_chunk(chunk, self._spec, low, high)
            print(preflight.chunk_table(chunk, self._spec, low, high), flush=True)
        self._fits = True

    def _on_author(self, message: Any) -> None:
        self._author = from_json(message)
        self._streams.changed.set()

    def _on_weights(self, message: Any) -> None:
        try:
            self._announced = Weights(**from_json(message))
        except TypeError as error:
            raise MessageRefused("incomplete", f"announcement of weights: {error}") from None

    def _infer(self) -> None:
        for observation in self._streams.observations(self.station.control_rate_hz, self._knows_author):
            self._progress_s = time.monotonic()
            episode = self._streams.episode
            if observation is not None and not self._fits:
                self._check_seen(observation)
            if observation is None or not episode.is_running(observation.time_ns):
                self._was_blind = True
                continue
            if not self._knows_author(episode.start_ns):
                continue  # the arbiter has not begun the episode yet: an answer would be stale
            self._answer(observation)

    def _knows_author(self, time_ns: int) -> bool:
        """Say whether it is known who owns the tick at a time; only then is it clear what to ask the policy for."""
        return int(self._author["time_ns"]) >= time_ns

    def _answer(self, observation: Observation) -> None:
        if self._streams.episode.id != self._episode:
            self._episode = self._streams.episode.id
            self._runner = self._make_runner()  # chunks are counted from 0 in every episode
            self._runner.reset()
        elif self._was_blind:
            self._runner.flush()  # what is left of the chunk was meant for ticks that have passed
        self._was_blind = False
        begun_s = time.monotonic()
        chunk = self._runner.step(observation.values, observation.time_ns, int(self._author["generation"]))
        if chunk is not None:
            self._info_topic.publish(to_chunk_info(chunk))
            self._chunk_topic.publish(to_chunk(chunk, self.station.action_names))
            took_s = time.monotonic() - begun_s
            self._chunks, self._busy_ms = self._chunks + 1, took_s * 1e3
            if not self.is_barrier:
                self._runner.note_latency(took_s)
        elif self.is_barrier:
            self._alive.publish(to_count(observation.time_ns))  # the answer "nothing new for this tick"

    def _say_alive(self) -> None:
        keeper, count = RateKeeper(ALIVE_HZ), 0
        while not self.stopping.is_set():
            keeper.wait()
            if time.monotonic() - self._progress_s < HUNG_S:
                count += 1
                self._alive.publish(to_count(count))

    def _load(self) -> None:
        """Verify and load what is announced; the inference thread takes it over with its next chunk."""
        done = self._served.version
        while not self.stopping.wait(0.05):
            weights = self._announced
            if weights is None or weights.version == done:
                continue
            done = weights.version
            try:
                self._served.offer(load_verified(weights, self._spec), weights)
            except CheckpointMismatch as error:
                self._refused_weights += 1
                self.get_logger().error(str(error))

    def diagnose(self) -> Diagnosis:
        values = {
            "chunks": self._chunks,
            "inference_ms": self._busy_ms,
            "version": self._served.version,
            "refused_weights": self._refused_weights,
            "episode": self._episode,
        }
        silent_s = time.monotonic() - self._progress_s
        if silent_s > HUNG_S and not self.is_barrier:
            return Diagnosis(Level.ERROR, f"no progress for {silent_s:.1f} s", values)
        if self._streams.complaint:
            return Diagnosis(Level.WARN, self._streams.complaint, values)
        return Diagnosis(values=values)


def main(args: Iterable[str] | None = None) -> int:
    return run_node(PolicyNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
