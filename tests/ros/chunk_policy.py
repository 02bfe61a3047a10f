"""A policy without learning, for the tests of the graph: the tcp swings sideways, in chunks of eight.

`test/mode` changes what it does: `swing`, `silent` (alive, no chunks), `hang` (its inference never returns), or one of
the broken chunks of `BREAK`.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robot.clock import RateKeeper
from robot.policy import ActionChunk
from robot.ros import topics
from robot.ros.messages import from_json, to_chunk, to_chunk_info, to_count
from robot.ros.node import NodeParameters, RobotNode, run_node
from robot.ros.streams import Streams
from robot.ros.topics import STRING, Qos, Topic
from robot.types import NS_PER_S, Observation

MODE = Topic("test/mode", STRING, Qos(), Qos())
HORIZON, EXECUTED = 8, 4
SWING_M, PERIOD_S = 0.04, 4.0
ALIVE_HZ = 20.0
HUNG_S = 0.3


def _with_nan(chunk: ActionChunk) -> ActionChunk:
    actions = chunk.actions.copy()
    actions[3, 1] = np.nan
    return replace(chunk, actions=actions)


def _with_jump(chunk: ActionChunk) -> ActionChunk:
    return replace(chunk, actions=chunk.actions + np.array([0.0, 0.6, 0.0, 0.0]))


def _shifted(shift_s: float) -> Callable[[ActionChunk], ActionChunk]:
    return lambda chunk: replace(chunk, observation_time_ns=chunk.observation_time_ns + round(shift_s * NS_PER_S))


BREAK: dict[str, Callable[[ActionChunk], ActionChunk]] = {
    "nan": _with_nan,
    "jump": _with_jump,
    "old": _shifted(-2.0),
    "future": _shifted(0.8),
    "stale_generation": lambda chunk: replace(chunk, generation=chunk.generation - 1),
}


@dataclass(frozen=True)
class ChunkParameters(NodeParameters):
    """`mode` is the mode to start in."""

    mode: str = "swing"


class ChunkPolicy(RobotNode[ChunkParameters]):
    """As the real policy node, without torch."""

    def __init__(self) -> None:
        super().__init__("policy", ChunkParameters)
        self._mode, self._generation, self._episode, self._id = self.parameters.mode, 0, "", 0
        self._progress_s = time.monotonic()
        self._origin = np.zeros(3)
        self._streams = Streams(self)
        self._chunks = self.publisher(topics.ACTION_CHUNK)
        self._infos = self.publisher(topics.CHUNK_INFO)
        self._alive = self.publisher(topics.POLICY_ALIVE)
        self.subscribe(topics.AUTHOR, self._on_author)
        self.subscribe(MODE, self._on_mode)
        self.start_thread("infer", self._infer)
        self.start_thread("alive", self._say_alive)

    def _on_author(self, message: Any) -> None:
        self._generation = int(from_json(message)["generation"])

    def _on_mode(self, message: Any) -> None:
        self._mode = message.data

    def _infer(self) -> None:
        asked = self._generation, -EXECUTED
        step = 0
        for observation in self._streams.observations(self.station.control_rate_hz):
            step += 1
            while self._mode == "hang" and not self.stopping.is_set():
                time.sleep(0.01)
            self._progress_s = time.monotonic()
            if observation is None or not self._streams.episode.is_running(observation.time_ns):
                continue
            if self._mode == "silent" or (asked[0] == self._generation and step - asked[1] < EXECUTED):
                continue
            asked = self._generation, step
            self._send(self._chunk(observation))

    def _chunk(self, observation: Observation) -> ActionChunk:
        if self._streams.episode.id != self._episode:
            self._episode, self._origin = self._streams.episode.id, observation.values["tcp_position"]
        dt_s = self.station.period_s
        due_s = (observation.time_ns - self._streams.episode.start_ns) / NS_PER_S + dt_s * np.arange(1, HORIZON + 1)
        actions = np.tile(np.append(self._origin, 0.01), (HORIZON, 1))
        actions[:, 1] += SWING_M * np.sin(2 * np.pi * due_s / PERIOD_S)
        self._id += 1
        return ActionChunk(actions, dt_s, observation.time_ns, self._generation, self._id)

    def _send(self, chunk: ActionChunk) -> None:
        names = list(self.station.action_names)
        chunk = BREAK[self._mode](chunk) if self._mode in BREAK else chunk
        message = to_chunk(chunk, names)
        if self._mode == "wrong_names":
            message.joint_names = [*names[:-1], "elbow"]
        elif self._mode == "missing":
            message.joint_names = names[:-1]
            for point in message.points:
                point.positions = point.positions[:-1]
        elif self._mode == "reordered":
            message.joint_names = names[::-1]
            for point in message.points:
                point.positions = point.positions[::-1]
        self._infos.publish(to_chunk_info(chunk))
        self._chunks.publish(message)

    def _say_alive(self) -> None:
        keeper, n = RateKeeper(ALIVE_HZ), 0
        while not self.stopping.is_set():
            keeper.wait()
            n += 1
            if time.monotonic() - self._progress_s < HUNG_S:
                self._alive.publish(to_count(n))


def main(args: Iterable[str] | None = None) -> int:
    return run_node(ChunkPolicy, args)


if __name__ == "__main__":
    raise SystemExit(main())
