"""What a learner beside the graph costs the control loop: `tandem bench niced-learner`.

The whole graph of the simulated station, two 640x480 cameras and the recorder included, on one machine; a residual
policy drives. First nobody learns; then a learner of the paper's size, which always has updates to make, on one thread
and niced, as it always is; then the same learner with the priority of an ordinary process, for contrast.

`python -m policies.bench_niced_learner --seconds 600` measures the niced part for ten minutes.
"""

import argparse
import json
import os
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.bench_servo import save_small_policy
from policies.checkpoint import load_policy, save_policy
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import state_size
from policies.residual_policy import ResidualActor, ResidualConfig, ResidualPolicy
from robot.errors import RobotError
from robot.machine import machine
from robot.record import TickRecord
from robot.ros import topics
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.record_message import from_record
from robot.ros.running_graph import RunningGraph, choose_domain, running_graph
from robot.rows import row
from robot.specs import StationSpec, load_station
from robot.types import NS_PER_S
from robot.verb import json_line

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
STATION = "fr3_sim"
PRESET = "default"  # the paper's: ten critics, four updates for a tick, which no single thread keeps up with
SECONDS = 20.0
SETTLE_S = 2.0
START_S = 180.0  # for the learner: niced, on a machine that others use too
EARLY_MS = 2.0  # by which a tick may begin before the typical one
WINDOW = 500  # ticks over which the wall clock and the loop's clock do not part


@dataclass(frozen=True)
class Lateness:
    """How late the ticks of a stretch began, and the periods in which none did."""

    p50_ms: float
    p99_ms: float
    missed_per_1000: float
    seconds: float
    updates_per_s: float = 0.0


def run(seconds: float = SECONDS, contrast_s: float = SECONDS) -> dict[str, Any]:
    """Measure and hold the niced learner against the targets; takes a minute and a half."""
    targets = tomllib.loads(TARGETS.read_text())["niced_learner"]
    with tempfile.TemporaryDirectory() as folder:
        alone, niced, unniced = measure(Path(folder), seconds, contrast_s)
    late, missed = targets["lateness_p99_ms"], targets["missed_per_1000"]
    rows = [
        row("lateness_p99", niced.p99_ms, "ms", target=late, ok=niced.p99_ms <= late, reference=alone.p99_ms),
        row(
            "missed_periods",
            niced.missed_per_1000,
            "per 1000",
            target=missed,
            ok=niced.missed_per_1000 <= missed,
            reference=alone.missed_per_1000,
        ),
        row("lateness_p50", niced.p50_ms, "ms", target=None, ok=True, reference=alone.p50_ms),
        row("measured_for", niced.seconds, "s", target=None, ok=True),
        row("updates", niced.updates_per_s, "updates/s", target=None, ok=True),
    ]
    if unniced is not None:
        rows += [
            row("unniced: lateness_p99", unniced.p99_ms, "ms", target=None, ok=True, reference=alone.p99_ms),
            row("unniced: missed_periods", unniced.missed_per_1000, "per 1000", target=None, ok=True),
            row("unniced: updates", unniced.updates_per_s, "updates/s", target=None, ok=True),
        ]
    return {"name": "niced-learner", "ok": all(one["ok"] for one in rows), "rows": rows, "machine": machine()}


def measure(folder: Path, seconds: float, contrast_s: float) -> tuple[Lateness, Lateness, Lateness | None]:
    """Return the lateness without a learner, beside a niced one, and beside one that is not.

    The last is None where the system does not let this process raise a priority.
    """
    station = load_station(STATION)
    checkpoint = save_residual(station, folder)
    options = GraphOptions(
        STATION, policy=str(checkpoint), operator="none", record=str(folder / "store"), learn=str(folder / "weights")
    )
    nodes = [_endless(node) for node in describe(replace(options, learn_preset=PRESET))]
    learner = next(node for node in nodes if node.name == "learner")
    with running_graph([node for node in nodes if node is not learner], domain_id=choose_domain(None)) as graph:
        ticks = Ticks(graph, 1.0 / station.control_rate_hz)
        graph.client.start_episode(0)
        time.sleep(SETTLE_S)
        alone = ticks.watch(contrast_s)
        process = graph.processes.add(learner)
        graph.client.wait(lambda: learns(graph), START_S, "the learner's first update")
        time.sleep(SETTLE_S)
        niced = ticks.watch(seconds)
        if not raise_priority(process.pid):
            return alone, niced, None
        return alone, niced, ticks.watch(contrast_s)


def _endless(node: NodeSpec) -> NodeSpec:
    """Return a node whose episode does not end by itself."""
    return replace(node, parameters={**node.parameters, "max_steps": 10_000_000}) if node.name == "arbiter" else node


def save_residual(station: StationSpec, folder: Path) -> Path:
    """Write a residual policy on a small base, weights drawn by seed 0; return its file."""
    torch.set_num_threads(1)
    base: Any = load_policy(save_small_policy(station, folder / "base.safetensors"))
    size, config = state_size(base.spec.observation_shapes), ResidualConfig(scale=0.2)
    actor = ResidualActor(size, len(station.action_names), config)
    actor.initialize(torch.Generator().manual_seed(0))
    states, half = StateNormalizer(np.zeros(size), np.full(size, 0.3)), (station.action_high - station.action_low) / 2
    limits = ActionLimits((station.action_low + station.action_high) / 2, half)
    path = folder / "residual.safetensors"
    save_policy(path, ResidualPolicy(base, actor, states, limits, config))
    return path


class Ticks:
    """Hears every tick of a running graph."""

    def __init__(self, graph: RunningGraph, period_s: float) -> None:
        self.graph, self.period_s = graph, period_s
        self._heard: list[tuple[int, int]] = []  # step and time [ns]
        graph.client.subscribe(topics.TICK_RECORD, self._hear)

    def _hear(self, message: Any) -> None:
        record: TickRecord = from_record(message)
        self._heard.append((record.step, record.tick_time_ns))

    def watch(self, seconds: float) -> Lateness:
        """Measure for so long; RobotError where the arm stopped or the graph fell apart meanwhile."""
        began, updates_before = len(self._heard), updates(self.graph)
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            self.graph.check()
            time.sleep(0.2)
        if self.graph.client.safety not in ("ok", "limited"):
            raise RobotError(f"the arm was stopped meanwhile: {self.graph.client.safety}; is the machine overloaded?")
        steps, times_ns = np.array(self._heard[began:], np.int64).T
        found = lateness(steps, times_ns, self.period_s)
        return replace(found, updates_per_s=(updates(self.graph) - updates_before) / found.seconds)


def lateness(steps: np.ndarray, times_ns: np.ndarray, period_s: float) -> Lateness:
    """Return the lateness of ticks against a schedule of the period whose phase is that of the earliest of them.

    Args:
        steps: number of each tick, shape (n,); one that was not heard leaves a gap and is not missed.
        times_ns: when each began.
        period_s: of the schedule.
    """
    if len(steps) < 2:
        raise RobotError(f"{len(steps)} ticks were heard, at least 2 are needed: does an episode run?")
    period_ms, late = 1e3 * period_s, []
    since_ms = (times_ns - times_ns[0]) / 1e6
    for part in np.array_split(since_ms, max(1, len(since_ms) // WINDOW)):
        typical = np.angle(np.exp(2j * np.pi * part / period_ms).mean()) * period_ms / (2 * np.pi)
        phase = (part - typical + period_ms / 2) % period_ms - period_ms / 2
        phase = np.where(phase < -EARLY_MS, phase + period_ms, phase)
        late.append(phase - phase.min())
    p50, p99 = np.percentile(np.concatenate(late), [50, 99])
    periods, made = round(since_ms[-1] / period_ms), int(steps[-1] - steps[0])
    missed = 1e3 * max(periods - made, 0) / max(periods, 1)
    return Lateness(float(p50), float(p99), missed, float(times_ns[-1] - times_ns[0]) / NS_PER_S)


def updates(graph: RunningGraph) -> int:
    """Return how many updates the learner said that it made."""
    said = graph.client.status("learner")
    return int(float(said.values.get("updates", "0"))) if said else 0


def learns(graph: RunningGraph) -> bool:
    """Tell whether the learner makes updates; RobotError with its last words where it has ended."""
    process = graph.processes["learner"]
    if (code := process.exit_code()) is not None:
        raise RobotError(f"the learner ended with exit code {code}: {' | '.join(list(process.lines)[-3:])}")
    return updates(graph) > 0


def raise_priority(process: int) -> bool:
    """Give every thread of a process the priority of an ordinary one; return whether the system let us."""
    try:
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)
    except PermissionError:
        return False
    return True


def main(args: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="lateness of the control loop beside a learner")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="beside the niced learner")
    parser.add_argument("--contrast-seconds", type=float, default=SECONDS, help="without a learner, and unniced")
    parser.add_argument("--out", type=Path, help="also write the result to this JSON file")
    options = parser.parse_args(args)
    result = run(options.seconds, options.contrast_seconds)
    print(json_line(result))
    if options.out:
        options.out.write_text(json.dumps(json.loads(json_line(result)), indent=1) + "\n")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
