"""Run the whole story once: record, train, finetune, take over, report.

A list of verbs. Each runs as a process of its own, as a person would type it, and its JSON becomes one entry of
`results.json`, from which the report is made.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot.errors import RobotError
from robot.verb import Verb, json_line

ENV = "tandem/peg-insert"


@dataclass(frozen=True)
class DemoConfig:
    """How long the story is, and where it is kept."""

    out: Path | None = None  # default: runs/demo-<time>
    quick: bool = False  # a small version in under three minutes; its figures prove nothing
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of everything."""

    graph_demos: int
    demos: int
    graph_episodes: int
    evaluation_episodes: int
    train_preset: str
    finetune_preset: str


FULL = Amounts(
    graph_demos=5, demos=55, graph_episodes=10, evaluation_episodes=200, train_preset="cpu", finetune_preset="cpu"
)
QUICK = Amounts(
    graph_demos=1, demos=20, graph_episodes=1, evaluation_episodes=20, train_preset="quick", finetune_preset="quick"
)


class StepFailed(RobotError, RuntimeError):
    """A verb of the demo did not exit with 0."""


def steps(out: Path, amounts: Amounts, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each step and the words of its command."""
    demos, base, tuned = out / "demos", out / "base", out / "resfit"
    count = str(amounts.graph_episodes)
    yield "record_graph", ["record", "--episodes", str(amounts.graph_demos), "--store", f"{demos}", "--seed", "1000"]
    yield "record", ["record", "--lockstep", "--episodes", str(amounts.demos), "--store", f"{demos}", "--seed", "2000"]
    yield "train", ["train", "--env", ENV, "--data", f"{demos}", "--preset", amounts.train_preset, "--out", f"{base}",
                    "--seed", str(seed)]  # fmt: skip
    yield "graph_base", ["eval", "--env", ENV, "--policy", f"{base}/policy.safetensors", "--through", "graph",
                         "--episodes", count, "--out", f"{out}/graph_base"]  # fmt: skip
    yield "finetune", ["finetune", "--env", ENV, "--base", f"{base}/policy.safetensors", "--recipe", "resfit",
                       "--data", f"{demos}", "--preset", amounts.finetune_preset, "--out", f"{tuned}",
                       "--eval-episodes", str(amounts.evaluation_episodes), "--seed", str(seed)]  # fmt: skip
    policy = ["--policy", f"{tuned}/policy.safetensors"]
    yield "graph_final", ["eval", "--env", ENV, *policy, "--through", "graph", "--episodes", count,
                          "--out", f"{out}/graph_final"]  # fmt: skip
    yield "graph_takeover", ["eval", "--env", ENV, *policy, "--through", "graph", "--episodes", "1", "--takeover",
                             "--out", f"{out}/graph_takeover"]  # fmt: skip


def run_step(words: list[str]) -> dict[str, Any]:
    """Run one verb in a process of its own and return its JSON; what it says for people goes through."""
    shown = " ".join(words)
    print(f"\n$ tandem {shown}", flush=True)
    command = [sys.executable, "-m", "robot.cli", *words, "--json"]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    last = finished.stdout.strip().rpartition("\n")[2]
    if finished.returncode != 0:
        raise StepFailed(f"`tandem {shown}` exited with {finished.returncode}: {last or 'see its message above'}")
    return json.loads(last)


def run(config: DemoConfig) -> Mapping[str, Any]:
    out = config.out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    out.mkdir(parents=True, exist_ok=True)
    print(f"demo: {ENV}, one simulated arm, {'quick' if config.quick else 'full'}; everything goes to {out}")
    results: dict[str, Any] = {}
    started = time.monotonic()
    for name, words in steps(out, QUICK if config.quick else FULL, config.seed):
        results[name] = run_step(words)
        (out / "results.json").write_text(json_line(results))
    results["report"] = run_step(["report", f"{out}"])
    return _summary(results, out, time.monotonic() - started)


def _summary(results: Mapping[str, Any], out: Path, wall_s: float) -> Mapping[str, Any]:
    """Print where everything is; the fields are those of `tandem finetune`."""
    tuned = results["finetune"]
    for label, key in (("base", "base_success"), ("finetuned", "final_success")):
        success = tuned[key]
        print(
            f"{label}: {success['value']:.1%} of {success['n']} (95 %: {success['low']:.1%} to {success['high']:.1%})"
        )
    report = results["report"]["report"]
    print(f"report: file://{report}\neverything else: {out.resolve()}")
    print(
        f"to correct it yourself: tandem up --task peg-insert --policy {out}/resfit/policy.safetensors --record "
        f"{out}/corrections --demonstrations {out}/demos --runs {out}, then open the address it prints, press "
        "`Policy runs`, and take over by holding Space or a pad"
    )
    return {**tuned, "wall_s": wall_s, "report": report, "out": out.resolve()}


VERB = Verb(DemoConfig, run, "Run the whole story once: record, train, finetune, take over, report.")
