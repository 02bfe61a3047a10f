"""Record episodes of a lock-step world into an episode store, as the recorder process does for the graph."""

from collections.abc import Callable, Generator, Iterator
from typing import Any

from robot.chunk_runner import ChunkRunner
from robot.control_loop import Operator, World
from robot.env import TandemEnv
from robot.episode import EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.images import encode_for_store
from robot.specs import ImageSpec
from robot.types import EndReason, Observation
from robot.worlds import make_env, split_id


def record_lockstep(
    env_id: str,
    store: EpisodeStore,
    seeds: Iterator[int],
    *,
    runner: ChunkRunner | None = None,
    operator: Operator | None = None,
    keep: Callable[[EndReason], bool] = lambda _: True,
    images: tuple[str, ...] = (),
) -> Generator[EpisodeInfo, None, None]:
    """Yield each episode as it is sealed; ask for as many as are wanted.

    Args:
        env_id: a `tandem/*` environment.
        store: where to.
        seeds: of the episodes' starts, one each.
        runner: the policy's; None: the operator drives from the start.
        operator: who may take over.
        keep: which endings are wanted; the others are stored too, marked as discarded.
        images: cameras to record.
    """
    env = make_env(env_id, **({"images": images} if images else {})).unwrapped
    if not isinstance(env, TandemEnv):
        raise ConfigError(f"'{env_id}' has no tick to record: only tandem/* worlds have")
    world, task = env.loop.world, split_id(env_id)[0].partition("/")[2]
    try:
        for seed in seeds:
            facts = {"station": world.station.name, "task": task, "seed": seed, **drawn_facts(world, seed)}
            writer = store.open_episode({**facts, "world": "lockstep"})
            reason = EndReason.CRASH
            for observation, record in env.loop.run_episode(runner, seed, operator):
                writer.append(record, encode_views(observation, world.station.images))
                reason = record.end_reason
            if not keep(reason):
                writer.event(record.tick_time_ns, {"mark": "discard", "because": reason})
            yield writer.close(reason)
    finally:
        env.close()


def drawn_facts(world: World, seed: int) -> dict[str, Any]:
    """Return what domain randomisation does to the episode of a seed, for its metadata; nothing in a plain world."""
    aspects = getattr(world, "aspects", ())
    return {"randomize": list(aspects), "drawn": dict(world.draw_of(seed))} if aspects else {}  # type: ignore[attr-defined]


def encode_views(observation: Observation, images: ImageSpec) -> dict[str, bytes]:
    """Return the images of an observation as the station keeps them, by camera."""
    return {
        name.removeprefix("image/"): encode_for_store(image, images)
        for name, image in observation.values.items()
        if name.startswith("image/")
    }
