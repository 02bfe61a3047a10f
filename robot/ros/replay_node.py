"""Stands in for the policy and plays back the executed actions of a recorded episode, as one chunk from its start."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot.clock import RateKeeper
from robot.episode import Episode
from robot.errors import ConfigError
from robot.policy import ActionChunk
from robot.ros import topics
from robot.ros.messages import from_json, to_chunk, to_count
from robot.ros.node import Diagnosis, NodeParameters, RobotNode, run_node
from robot.ros.streams import Streams

RATE_HZ = 20.0


@dataclass(frozen=True)
class ReplayParameters(NodeParameters):
    """`path`: of the sealed episode."""

    path: str = ""


class ReplayNode(RobotNode[ReplayParameters]):
    """What is due when follows from the time of the episode's first observation."""

    def __init__(self) -> None:
        super().__init__("policy", ReplayParameters)
        if not self.parameters.path:
            raise ConfigError("parameter path is empty: give the folder of a sealed episode")
        self._actions = Episode(Path(self.parameters.path)).columns["executed_action"]
        self._generation = -1
        self._sent = ("", -1)  # episode and generation for which the chunk was sent
        self._streams = Streams(self)
        self._chunks = self.publisher(topics.ACTION_CHUNK)
        self._alive = self.publisher(topics.POLICY_ALIVE)
        self.subscribe(topics.AUTHOR, self._on_author)
        self.start_thread("play", self._play)

    def _on_author(self, message: Any) -> None:
        self._generation = int(from_json(message)["generation"])

    def _play(self) -> None:
        keeper, count = RateKeeper(RATE_HZ), 0
        while not self.stopping.is_set():
            keeper.wait()
            count += 1
            self._alive.publish(to_count(count))
            episode, generation = self._streams.episode, self._generation
            if episode.phase == "running" and self._sent != (episode.id, generation):
                self._sent = (episode.id, generation)
                chunk = ActionChunk(self._actions, self.station.period_s, episode.start_ns, generation)
                self._chunks.publish(to_chunk(chunk, self.station.action_names))

    def diagnose(self) -> Diagnosis:
        return Diagnosis(values={"actions": len(self._actions), "episode": self._sent[0]})


def main(args: Iterable[str] | None = None) -> int:
    return run_node(ReplayNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
