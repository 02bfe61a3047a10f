"""The one training loop: `source.next() -> learner.update(batch) -> metrics`.

Supervised data, replay with a world behind it, and imagined rollouts differ in the source only; algorithms differ in
`learner.update` only. Everything that changes is savable, so a run that was interrupted and resumed equals one that
was not, bit for bit on a CPU.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from policies.run import Run
from policies.state_file import read_tree, write_tree
from robot.errors import CheckpointMismatch, ConfigError


class Source(Protocol):
    """Where batches come from. `progress` is its own count: gradient steps, environment steps, ..."""

    progress: int

    def next(self) -> Any | None:
        """Return a batch, or None when there is nothing to learn from yet (a world that is being warmed up)."""
        ...

    def metrics(self) -> dict[str, float]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class Learner(Protocol):
    """One method. Metrics may be tensors; they are read only when they are logged."""

    def update(self, batch: Any) -> Mapping[str, Any]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class LoopConfig:
    """Lengths of the loop, all in the source's own progress count; 0 switches a thing off."""

    total: int
    log_every: int = 500
    checkpoint_every: int = 0
    evaluate_every: int = 0

    def __post_init__(self) -> None:
        if self.total < 0 or min(self.log_every, self.checkpoint_every, self.evaluate_every) < 0:
            raise ConfigError(f"loop lengths must not be negative: {self}")


@dataclass
class LoopState:
    """What the loop itself remembers. `curve` has one entry per evaluation."""

    iterations: int = 0
    updates: int = 0
    wall_s: float = 0.0
    seen: int = -1  # progress at the last look, so that each multiple is acted on once
    curve: list[Any] = field(default_factory=list)


Evaluate = Callable[[int], Any]


def train(
    source: Source,
    learner: Learner,
    config: LoopConfig,
    run: Run,
    *,
    evaluate: Evaluate | None = None,
    stop_after: int | None = None,
    title: str = "training",
) -> LoopState:
    """Run the loop until `source.progress` reaches `config.total`; continues where `run` holds a training state.

    Args:
        evaluate: called with the progress at 0 and at every multiple of `evaluate_every`; its answer joins the curve.
        stop_after: save and return after this many iterations, as an interruption would.
    """
    state = _restore(source, learner, run) if run.state_path.exists() else LoopState()
    began = time.monotonic() - state.wall_s
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=config.total, completed=source.progress)
        metrics: Mapping[str, Any] = {}
        while True:
            if source.progress != state.seen:
                state.seen = source.progress
                state.wall_s = time.monotonic() - began
                if evaluate is not None and _is_due(source.progress, config.evaluate_every):
                    state.curve.append(evaluate(source.progress))
                if metrics and _is_due(source.progress, config.log_every):
                    values = {name: float(value) for name, value in metrics.items()}
                    run.log(source.progress, values | source.metrics())
                if source.progress and _is_due(source.progress, config.checkpoint_every):
                    save(source, learner, run, state)
                bar.update(task, completed=source.progress)
            if source.progress >= config.total or state.iterations == stop_after:
                break
            batch = source.next()
            if batch is not None:
                metrics = learner.update(batch)
                state.updates += 1
            state.iterations += 1
    state.wall_s = time.monotonic() - began
    save(source, learner, run, state)
    return state


def _is_due(progress: int, every: int) -> bool:
    return every > 0 and progress % every == 0


def save(source: Source, learner: Learner, run: Run, state: LoopState) -> None:
    """Write everything that changes, atomically."""
    tree = {"loop": vars(state), "source": source.state(), "learner": learner.state()}
    write_tree(run.state_path, tree)


def _restore(source: Source, learner: Learner, run: Run) -> LoopState:
    tree = read_tree(run.state_path)
    if not isinstance(tree, dict) or tree.keys() != {"loop", "source", "learner"}:
        raise CheckpointMismatch(f"{run.state_path} holds no training state: remove it or give another run folder")
    source.restore(tree["source"])
    learner.restore(tree["learner"])
    return LoopState(**tree["loop"])
