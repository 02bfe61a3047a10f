"""The one training loop: `source.next() -> learner.update(batch) -> metrics`.

Supervised data, replay with a world behind it, and imagined rollouts differ in the source only; algorithms differ in
`learner.update` only. Everything that changes is savable, so a run that was interrupted and resumed equals one that
was not, bit for bit on a CPU.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from types import FrameType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

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

    @classmethod
    def of_base(cls, steps: int, evaluate_every: int = 0) -> "LoopConfig":
        """Return the lengths for training a base policy: a hundred points of the loss, ten training states."""
        return cls(steps, max(1, steps // 100), max(1, steps // 10), evaluate_every)


@dataclass
class LoopState:
    """What the loop itself remembers. `curve` has one entry per evaluation."""

    iterations: int = 0
    updates: int = 0
    wall_s: float = 0.0
    seen: int = -1  # progress at the last look, so that each multiple is acted on once
    curve: list[Any] = field(default_factory=list)


WritePolicy = Callable[[Path, int], Any]  # the policy as it is now, to a file; the progress goes into its metadata
Evaluate = Callable[[int, Path], Any]  # a policy file's point of the curve: [progress, success, n]


def train(
    source: Source,
    learner: Learner,
    config: LoopConfig,
    run: Run,
    *,
    write_policy: WritePolicy | None = None,
    evaluate: Evaluate | None = None,
    stop_after: int | None = None,
    title: str = "training",
) -> LoopState:
    """Run the loop until `source.progress` reaches `config.total`; continues where `run` holds a training state.

    An interrupt (Ctrl-C, SIGTERM) waits for the end of the iteration, saves, and only then ends the program.

    Args:
        write_policy: writes the last policy to `run.policy_path`: before every evaluation, with every training state
            and at the end.
        evaluate: asked at 0 and at every multiple of `evaluate_every`; its answer joins the curve, and the policy with
            the highest success so far, the later one of equals, is kept at `run.best_path`.
        stop_after: save and return after this many iterations, as an interruption would.
    """
    if evaluate is not None and write_policy is None:
        raise ValueError("an evaluation in the loop needs write_policy")
    state = _restore(source, learner, run) if run.state_path.exists() else LoopState()
    loop = _Loop(source, learner, config, run, state, write_policy, evaluate)
    with _bar(title, config.total) as show, deferred_interrupt() as interrupted:
        metrics: Mapping[str, Any] = {}
        while True:
            if source.progress != state.seen:
                loop.look(metrics)
                show(source.progress, loop.note)
            if source.progress >= config.total or state.iterations == stop_after or interrupted.is_set():
                break
            batch = source.next()
            if batch is not None:
                metrics = learner.update(batch)
                state.updates += 1
            state.iterations += 1
    loop.save()
    if interrupted.is_set() and source.progress < config.total:
        print(f"saved at {source.progress} of {config.total} in {run.folder}; --resume goes on from there")
        raise KeyboardInterrupt
    return state


@dataclass
class _Loop:
    """What the loop does beside learning."""

    source: Source
    learner: Learner
    config: LoopConfig
    run: Run
    state: LoopState
    write_policy: WritePolicy | None
    evaluate: Evaluate | None
    note: str = ""

    def __post_init__(self) -> None:
        self._began = time.monotonic() - self.state.wall_s
        self._logged = (self.state.updates, time.monotonic())

    def look(self, metrics: Mapping[str, Any]) -> None:
        """Evaluate, log and save where this progress is a multiple of theirs."""
        progress = self.source.progress
        self.state.seen = progress
        self.state.wall_s = time.monotonic() - self._began
        if self.evaluate is not None and _is_due(progress, self.config.evaluate_every):
            self._add_to_curve(self.evaluate)
        if metrics and _is_due(progress, self.config.log_every):
            values = {name: float(value) for name, value in metrics.items()}
            self.run.log(progress, values | self.source.metrics() | {"updates_per_s": self._rate()})
        if progress and _is_due(progress, self.config.checkpoint_every):
            self.save()

    def save(self) -> None:
        """Write the policy and everything that changes, each atomically."""
        self.state.wall_s = time.monotonic() - self._began
        self._write_policy()
        save(self.source, self.learner, self.run, self.state)

    def _add_to_curve(self, evaluate: Evaluate) -> None:
        self._write_policy()
        point = evaluate(self.source.progress, self.run.policy_path)
        if all(point[1] >= earlier[1] for earlier in self.state.curve):
            draft = self.run.best_path.with_suffix(".draft")
            copyfile(self.run.policy_path, draft)
            draft.replace(self.run.best_path)
        self.state.curve.append(point)
        self.run.log(self.source.progress, {"success": float(point[1])})
        self.note = f"success {100 * point[1]:.0f} %"

    def _write_policy(self) -> None:
        if self.write_policy is not None:
            self.write_policy(self.run.policy_path, self.source.progress)

    def _rate(self) -> float:
        """Return gradient updates per second since the last call, evaluations included."""
        (updates, time_s), self._logged = self._logged, (self.state.updates, time.monotonic())
        return (self.state.updates - updates) / max(self._logged[1] - time_s, 1e-9)


class _Rate(ProgressColumn):
    """Progress per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Draw a bar with rate, time left and the last success; nothing where standard error is not a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    note = TextColumn("{task.fields[note]}")
    with Progress(*columns, note, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda progress, text: bar.update(task, completed=progress, note=text)


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets in place of ending the program; the second one ends it.

    Outside the main thread, which alone may take signals, nothing is changed.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
