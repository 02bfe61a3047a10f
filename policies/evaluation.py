"""Roll a policy out from fixed starts: the quota is the first k episodes started, however long they take."""

import json
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import numpy as np
from gymnasium import spaces

from policies.data.demonstrations import Env, interface_of, seeing_env
from policies.observations import cameras, image_shapes
from policies.run import write_json
from policies.starts import evaluation_starts
from robot import preflight
from robot.chunk_runner import ChunkRunner
from robot.errors import ConfigError
from robot.evaluation import Success
from robot.observation_history import repeated
from robot.policy import Policy, PolicySpec
from robot.types import NS_PER_S

EnvFactory = Callable[[], Env]
World = str | EnvFactory  # an environment id, or a picklable factory


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One evaluated episode."""

    seed: int
    is_success: bool
    steps: int


@dataclass(frozen=True)
class Evaluation:
    """All episodes of one evaluation, in the order of their starts."""

    episodes: tuple[EpisodeResult, ...]

    @property
    def success(self) -> Success:
        return Success.of(sum(episode.is_success for episode in self.episodes), len(self.episodes))

    @property
    def success_steps(self) -> float:
        """Mean length of the successful episodes; nan without any."""
        steps = [episode.steps for episode in self.episodes if episode.is_success]
        return float(np.mean(steps)) if steps else float("nan")


def build_world(world: World, spec: PolicySpec, **options: Any) -> Env:
    """Build a world; one that is named shows what the policy's cameras see, and is given `options`."""
    if not isinstance(world, str):
        return world()
    sizes = [shape[0] for shape in image_shapes(spec.observation_shapes).values()]
    return seeing_env(world, cameras(spec.observation_shapes), sizes[0] if sizes else 0, **options)


def roll_out(env: Env, policy: Policy, seed: int, execution: str = "") -> EpisodeResult:
    """Run one episode, executing chunk after chunk; `execution` as in `robot.chunk_runner`."""
    runner = ChunkRunner(policy, execution)
    runner.reset()
    observation, _ = env.reset(seed=seed)
    period_ns = round(NS_PER_S / policy.spec.rate_hz)
    steps, followed = 0, None
    while True:
        followed = runner.step(observation, steps * period_ns) or followed
        assert followed is not None
        offset = min(steps - followed.observation_time_ns // period_ns, len(followed.actions) - 1)
        observation, _, terminated, truncated, info = env.step(followed.actions[offset])
        steps += 1
        if terminated or truncated:
            return EpisodeResult(seed, bool(info["success"]), steps)


def show_fit(env: Env, policy: Policy, execution: str = "", seed: int = 0) -> None:
    """Print how a policy fits a world and its first chunk; CheckpointMismatch names the first thing that does not."""
    lines = preflight.compare(policy.spec, interface_of(env), execution)
    print(preflight.table(lines), flush=True)
    preflight.check(lines, "this world")
    box = env.action_space
    assert isinstance(box, spaces.Box)
    low, high = box.low.astype(np.float64), box.high.astype(np.float64)
    policy.reset()
    chunk = policy.act(repeated(env.reset(seed=seed)[0], policy.spec.obs_horizon))
    policy.reset()
    preflight.check_chunk(chunk, policy.spec, low, high)
    print(preflight.chunk_table(chunk, policy.spec, low, high), flush=True)


def roll_out_all(env: Env, policy: Policy, seeds: Sequence[int], execution: str = "") -> list[EpisodeResult]:
    """Run one episode from each start; the policy must fit the world."""
    preflight.check(preflight.compare(policy.spec, interface_of(env), execution), "this world")
    return [roll_out(env, policy, seed, execution) for seed in seeds]


_env: Env | None = None  # of a worker process


def _start_worker(world: World, spec: PolicySpec) -> None:
    global _env  # noqa: PLW0603 (one world per worker process)
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loop decides when an interrupt ends the work
    torch.set_num_threads(1)
    _env = build_world(world, spec)


def _work(policy_path: Path, seeds: Sequence[int], execution: str) -> list[EpisodeResult]:
    from policies.checkpoint import load_policy

    assert _env is not None
    return roll_out_all(_env, load_policy(policy_path), seeds, execution)


class Evaluator:
    """Evaluates saved policies in one world, here (`workers` 0) or in worker processes that live as long as this.

    `execution` is how chunks are executed; "" takes each policy's own way.
    """

    def __init__(self, world: World, workers: int = 0, execution: str = "") -> None:
        if workers < 0:
            raise ConfigError(f"workers must be >= 0, got {workers}")
        self.world, self.workers, self.execution = world, workers, execution
        self._env: Env | None = None
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._env is not None:
            self._env.close()

    def evaluate(self, policy_path: Path, seeds: Sequence[int]) -> Evaluation:
        """Load the policy from its checkpoint and run one episode from each start.

        The first policy decides which cameras the world shows.
        """
        from policies.checkpoint import load_policy, read_content

        if self.workers == 0:
            policy = load_policy(policy_path)
            self._env = self._env or build_world(self.world, policy.spec)
            return Evaluation(tuple(roll_out_all(self._env, policy, seeds, self.execution)))
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.workers,
                multiprocessing.get_context("spawn"),
                _start_worker,
                (self.world, read_content(policy_path).spec),
            )
        # Small dealt shares keep both cores busy to the end; order is restored below.
        shares = [list(seeds[start::count]) for count in [min(4 * self.workers, len(seeds))] for start in range(count)]
        futures: list[Future[list[EpisodeResult]]] = [
            self._pool.submit(_work, policy_path, share, self.execution) for share in shares
        ]
        results = {result.seed: result for future in futures for result in future.result()}
        return Evaluation(tuple(results[seed] for seed in seeds))


def curve_point(evaluator: Evaluator, episodes: int, out: Path) -> Callable[[int, Path], list[float]]:
    """Return the evaluation that adds one [steps, success, n] to the curve and to `curve.json` of a run folder."""
    path = out / "curve.json"

    def evaluate(steps: int, policy: Path) -> list[float]:
        success = evaluator.evaluate(policy, evaluation_starts(episodes)).success
        stored = json.loads(path.read_text())["curve"] if path.is_file() else []
        point = [steps, success.value, success.n]
        write_json(path, {"curve": [*(old for old in stored if old[0] < steps), point]})
        print(f"{steps} steps: {success}", flush=True)
        return point

    return evaluate


def evaluate(world: World, policy: Policy | Path, seeds: Sequence[int], workers: int = 0) -> Evaluation:
    """Evaluate a policy or a policy file once; worker processes need a file or a policy that can be saved."""
    if isinstance(policy, Path):
        with Evaluator(world, workers) as evaluator:
            return evaluator.evaluate(policy, seeds)
    if workers == 0:
        env = build_world(world, policy.spec)
        try:
            return Evaluation(tuple(roll_out_all(env, policy, seeds)))
        finally:
            env.close()
    from policies.checkpoint import save_policy

    with TemporaryDirectory() as folder, Evaluator(world, workers) as evaluator:
        path = Path(folder) / "policy.safetensors"
        save_policy(path, policy)  # type: ignore[arg-type]
        return evaluator.evaluate(path, seeds)
