"""Replay a recorded episode: the same scene, the commands as they were executed, and what has become different.

In lock-step the recorded joint commands go straight to the world, so an episode that was recorded in lock-step comes
out bit for bit the same, and one of the real-time graph nearly so. With `--graph` the recorded actions go through the
whole graph again: arbiter, safety filters, servo.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from robot.control_loop import World
from robot.env import TandemEnv
from robot.episode import Episode
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.ros.description import GraphOptions, describe
from robot.ros.running_graph import choose_domain, running_graph
from robot.types import Array, Command, EndReason, Owner
from robot.verb import Verb
from robot.worlds import make_env

END_S = 60.0
SETTLE_TICKS = 10


@dataclass(frozen=True)
class ReplayConfig:
    """Which episode, and through what."""

    episode: tyro.conf.Positional[str]
    """Id of the episode, or the beginning of one."""
    store: Path = Path("runs/episodes")
    graph: bool = False
    """Through a graph of real processes instead of lock-step."""
    tolerance_m: float = 0.01
    """How far the tcp may be from where it was [m]."""
    domain_id: int | None = None


def run_replay(config: ReplayConfig) -> dict[str, Any]:
    """Replay and compare; `ok` where the tcp kept its path. Whether it succeeds again is told apart."""
    episode = _find(config)
    print(f"replaying {episode.info.episode_id}: {len(episode)} steps of {episode.info.task}", flush=True)
    succeeded = episode.end_reason is EndReason.SUCCESS
    if config.graph:
        tcp, success = _through_graph(episode, config)
        joint_error = None
    else:
        joints, tcp, success = _in_lock_step(episode)
        joint_error = float(np.abs(joints - episode.columns["observation/joint_position"]).max())
    recorded = episode.columns["observation/tcp_position"]
    steps = min(len(tcp), len(recorded))
    arms = np.split(tcp, tcp.shape[1] // 3, axis=1), np.split(recorded, recorded.shape[1] // 3, axis=1)
    apart_m = [
        distances_to_path(was, path) if config.graph else np.linalg.norm(path[:steps] - was, axis=1)
        for path, was in zip(*arms, strict=True)
    ]
    error_m = float(np.max(apart_m))
    print(f"tcp at most {1e3 * error_m:.2f} mm from where it was; success {success}, recorded {succeeded}", flush=True)
    return {
        "ok": error_m <= config.tolerance_m,
        "episode": episode.info.episode_id,
        "steps": steps,
        "max_tcp_error_m": error_m,
        "max_joint_error_rad": joint_error,
        "is_exact": joint_error == 0.0,
        "success_recorded": succeeded,
        "success_replayed": success,
    }


def distances_to_path(points: Array, path: Array) -> Array:
    """Return how far each point is from the nearest place on a polyline, shape (n_points,).

    Through the graph the same actions come a tick or so later, so ticks are not compared one by one.
    """
    start, step = path[:-1], np.diff(path, axis=0)
    offset = points[:, None] - start
    along = (offset * step).sum(axis=2) / np.maximum((step**2).sum(axis=1), 1e-12)
    return np.linalg.norm(offset - along.clip(0.0, 1.0)[..., None] * step, axis=2).min(axis=1)


def _find(config: ReplayConfig) -> Episode:
    """Return the episode; ConfigError where it cannot be replayed."""
    store = EpisodeStore(config.store)
    matching = [i.episode_id for i in store.episodes() if i.episode_id.startswith(config.episode)]
    episode = store.load(matching[0] if len(matching) == 1 else config.episode)
    seed, steps = episode.metadata.get("seed"), episode.columns.get("step", np.zeros(0))
    if seed is None or not episode.info.task:
        raise ConfigError(f"episode {episode.info.episode_id} does not say its task and seed: only simulated ones do")
    if not len(steps) or not np.array_equal(steps, np.arange(len(steps))):
        raise ConfigError(f"episode {episode.info.episode_id} has gaps in its steps: replay one that has them all")
    return episode


def _in_lock_step(episode: Episode) -> tuple[Array, Array, bool]:
    """Return joints and tcp as seen before every command, and whether the replay succeeded."""
    env = make_env(
        f"tandem/{episode.info.task}",
        station=episode.info.station,
        randomize=episode.metadata.get("randomize", ()),
    ).unwrapped
    assert isinstance(env, TandemEnv)
    world: World = env.loop.world
    joints, tcp, success = [], [], False
    observation = world.reset(int(episode.metadata["seed"]))
    for seq, position in enumerate(episode.columns["joint_command"]):
        joints.append(observation.values["joint_position"])
        tcp.append(observation.values["tcp_position"])
        observation = world.advance(Command(seq, observation.time_ns, position, Owner.POLICY))
        success = success or world.outcome().is_success
    env.close()
    return np.array(joints), np.array(tcp), success


def _through_graph(episode: Episode, config: ReplayConfig) -> tuple[Array, bool]:
    """Return the tcp at the ticks of a new episode in which the graph follows the recorded actions."""
    from robot.ros import topics
    from robot.ros.record_message import from_record

    options = GraphOptions(
        station=episode.info.station,
        task=episode.info.task,
        operator="none",
        cameras=(),
        replay=str(episode.info.path),
    )
    seen: list[Array] = []
    with running_graph(describe(options), domain_id=choose_domain(config.domain_id)) as graph:
        graph.client.subscribe(
            topics.TICK_RECORD, lambda message: seen.append(from_record(message).observation["tcp_position"])
        )
        state = graph.client.start_episode(int(episode.metadata["seed"]))

        def is_over() -> bool:
            graph.check()
            return len(seen) > len(episode) + SETTLE_TICKS or graph.client.episodes[-1].phase == "ended"

        graph.client.wait(is_over, END_S, "the end of the replay")
        last = graph.client.episodes[-1]
    return np.array(seen), last.id == state.id and last.end_reason == EndReason.SUCCESS.name.lower()


VERB = Verb(ReplayConfig, run_replay, "Replay a recorded episode and compare.")
