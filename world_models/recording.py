"""Record a world model's data mix in a simulated world, into an ordinary episode store.

Episodes go on after success, which may be lost again: the label of every tick is in `reward_task`, from the state of
the simulation. What the hand does then, and before the driver starts, is smooth chance, so that "holding it" is seen
from everywhere.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from policies.base import behavior_cloning
from policies.data.demonstrations import collect
from policies.run import Run
from robot.control_loop import Outcome, World
from robot.env import TandemEnv
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.lockstep_recording import encode_views
from robot.motion import make_action_space
from robot.policy import Policy
from robot.specs import ImageSpec, StationSpec
from robot.types import Array, Command, EndReason, Observation
from robot.verb import progress
from robot.worlds import make_env, split_id
from world_models.drivers import Cloned, Driver, NearMiss, Scripted, Wander

CELL_M = 0.04  # of the grid of start positions that the data are split by
IMAGES = ImageSpec(codec="jpeg", jpeg_quality=95)  # recorded at twice the model's size: shrinking hides the artefacts
CLONES = ((5, 300), (15, 800), (40, 2000))  # demonstrations and gradient steps


@dataclass(frozen=True)
class Mix:
    """Shares of the episodes by who drives; the rest is smooth chance."""

    success: float = 0.3
    near_miss: float = 0.4
    clones: float = 0.2

    def __post_init__(self) -> None:
        parts = (self.success, self.near_miss, self.clones)
        if min(parts) < 0 or sum(parts) > 1 + 1e-9:
            raise ConfigError(f"shares of the mix must be >= 0 and at most 1 together, got {parts}")


class LastingWorld:
    """A world whose episodes last to their time limit; success is a reward of 1 at every tick that has it."""

    def __init__(self, world: World, max_steps: int) -> None:
        self._world = world
        self.station, self.observation_shapes, self.max_steps = world.station, world.observation_shapes, max_steps

    def reset(self, seed: int | None) -> Observation:
        return self._world.reset(seed)

    def advance(self, command: Command) -> Observation:
        return self._world.advance(command)

    def outcome(self) -> Outcome:
        return Outcome(float(self._world.outcome().is_success), is_success=False)

    def close(self) -> None:
        close = getattr(self._world, "close", None)
        if close is not None:
            close()


def record_mix(
    env_id: str,
    store: EpisodeStore,
    episodes: int,
    *,
    views: tuple[str, ...] = (),
    image_size: int,
    ticks: int = 100,
    mix: Mix = Mix(),
    seed: int = 0,
) -> dict[str, Any]:
    """Record episodes of `ticks` control ticks and return what was recorded; those that `store` has are passed over.

    An episode that an interruption cut short is recorded again: nobody learns from it.

    Args:
        env_id: a `tandem/*` world.
        store: where to; of this mix alone, so that an interrupted recording can go on.
        episodes: how many.
        views: cameras; none named: all of the station.
        image_size: side of the recorded images [pixels].
        ticks: length of every episode.
        mix: who drives.
        seed: of starts, drivers and clones.
    """
    began = time.monotonic()
    env = _lasting_env(env_id, views, image_size, ticks)
    station, task = env.loop.world.station, split_id(env_id)[0].partition("/")[2]
    grippers = np.arange(len(station.action_names))[make_action_space(station).grippers]
    whole = [info for info in store.episodes() if info.end_reason is EndReason.TIMEOUT and not info.is_discarded]
    there = {info.metadata.get("number") for info in whole}
    kinds = list(_kinds(mix, episodes, seed))
    todo = [number for number in range(episodes) if number not in there]
    clones = _clones(env_id, seed) if "clone" in (kinds[number] for number in todo) else []
    solved = 0
    try:
        for number in progress(todo, f"world-model data in {env_id}", total=len(todo)):
            kind = kinds[number]
            start = int(np.random.SeedSequence([seed, number, 77]).generate_state(1)[0])
            rng = np.random.default_rng(start)
            driver = _driver(kind, env_id, station, grippers, clones, rng)
            facts = {"station": station.name, "task": task, "seed": start, "world": "lockstep"}
            facts |= {"driver": kind, "number": number}
            solved += _record_one(env, store, driver, facts, rng, grippers)
    finally:
        env.close()
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    return {"episodes": counts, "recorded_now": len(todo), "solved_now": solved, "wall_s": time.monotonic() - began}


def _lasting_env(env_id: str, views: tuple[str, ...], image_size: int, ticks: int) -> TandemEnv:
    blind = make_env(env_id).unwrapped
    if not isinstance(blind, TandemEnv):
        raise ConfigError(f"'{env_id}' has no tick to record: only tandem/* worlds have")
    views = views or tuple(camera.name for camera in blind.loop.world.station.cameras)
    blind.close()
    env = make_env(env_id, images=views, image_size=image_size).unwrapped
    assert isinstance(env, TandemEnv)
    return TandemEnv(LastingWorld(env.loop.world, ticks))


def _kinds(mix: Mix, episodes: int, seed: int) -> Iterator[str]:
    """Yield who drives each episode: exact shares, in a shuffled order."""
    names, parts = ("success", "near_miss", "clone"), (mix.success, mix.near_miss, mix.clones)
    listed = [name for name, part in zip(names, parts, strict=True) for _ in range(round(part * episodes))]
    listed = (listed + ["random"] * episodes)[:episodes]
    yield from np.random.default_rng(seed).permutation(listed).tolist()


def _clones(env_id: str, seed: int) -> list[Policy]:
    """Return clones of several skills, from a few demonstrations each."""
    policies: list[Policy] = []
    with TemporaryDirectory() as folder:
        for number, (demos, steps) in enumerate(CLONES):
            config = behavior_cloning.BehaviorCloningConfig(
                action_horizon=8, execution_horizon=8, steps=steps, hidden=(64, 64), batch_size=64
            )
            demonstrations = collect(env_id, demos, seed + number, noise=0.004)
            run = Run(Path(folder) / str(demos), tensorboard=False)
            policies.append(behavior_cloning.train_base(demonstrations, config, run, seed=seed)[0])
    return policies


def _driver(
    kind: str, env_id: str, station: StationSpec, grippers: np.ndarray, clones: list[Policy], rng: np.random.Generator
) -> Driver:
    if kind == "success":
        return Scripted(env_id)
    if kind == "near_miss":
        return NearMiss(env_id, grippers)
    if kind == "clone":
        return Cloned(clones[int(rng.integers(len(clones)))], grippers)
    return Wander(station.action_low, station.action_high, grippers)


def _record_one(
    env: TandemEnv,
    store: EpisodeStore,
    driver: Driver,
    facts: Mapping[str, Any],
    rng: np.random.Generator,
    grippers: np.ndarray,
) -> bool:
    """Record one episode; say whether the task was solved at any tick."""
    station = env.loop.world.station
    command = make_start(env, facts["seed"])
    observation = env.loop.observation
    assert observation is not None
    start_cell = [int(v // CELL_M) for v in np.ravel(observation.values.get("object_state", ()))[:2]]
    writer = store.open_episode({**facts, "start_cell": start_cell})
    driver.reset(int(rng.integers(2**31)))
    wander = Wander(station.action_low, station.action_high, grippers, with_gripper=False)
    wander.reset(int(rng.integers(2**31)))
    warm_up, linger, held, solved = int(rng.integers(0, 12)), int(rng.integers(0, 10)), 0, False
    for tick in range(env.loop.world.max_steps):
        assert observation is not None
        chooser = wander if tick < warm_up or held > linger else driver
        action = chooser.act(observation.values, command)
        shown = encode_views(observation, IMAGES)
        _, reward, _, _, info = env.step(action)
        writer.append(info["record"], shown)
        command, observation = info["executed_action"], env.loop.observation
        held = held + 1 if reward > 0 else 0
        solved |= reward > 0
    writer.close(EndReason.TIMEOUT)
    return solved


def make_start(env: TandemEnv, seed: int) -> Array:
    """Reset the world and return the command that stands for where the arm is."""
    env.reset(seed=seed)
    assert env.loop.observation is not None
    return make_action_space(env.loop.world.station).from_joints(env.loop.observation.robot.position)
