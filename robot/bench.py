"""Measure speed and memory, each figure against its target: `tandem bench NAME`, `tandem bench all`."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import tyro

from robot.errors import ConfigError, unknown_name
from robot.machine import machine
from robot.verb import Verb, json_line

GROUP = "tandem.benches"
ROW_FIELDS = ("metric", "value", "unit", "reference", "ratio", "target", "ok")


@dataclass(frozen=True)
class Bench:
    """Run one benchmark, or all of them."""

    name: tyro.conf.Positional[str] = "all"
    """A benchmark's name, or `all`."""
    out: Path | None = None
    """Also write the result to this JSON file."""


def run(config: Bench) -> dict[str, Any]:
    """Measure, print a table, and return one object; `ok` is false where a row misses its target."""
    benches = {entry.name: entry for entry in entry_points(group=GROUP)}
    if config.name != "all" and config.name not in benches:
        raise unknown_name("benchmark", config.name, [*benches, "all"])
    names = sorted(benches) if config.name == "all" else [config.name]
    print(f"benchmarks: {', '.join(names)}", flush=True)
    rows = [row for name in names for row in measure(benches[name], prefix=len(names) > 1)]
    result = {"name": config.name, "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}
    if config.out:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(json.loads(json_line(result)), indent=1) + "\n")
        print(f"written: {config.out}")
    return result


def measure(entry: EntryPoint, prefix: bool = False) -> list[dict[str, Any]]:
    """Run one benchmark and print its rows; ConfigError where it does not answer in the agreed form."""
    result = entry.load()()
    rows = result.get("rows") if isinstance(result, Mapping) else None
    if not rows:
        raise ConfigError(f"benchmark '{entry.name}' ({entry.value}) measured nothing; run() must return rows")
    for row in rows:
        lacking = [field for field in ROW_FIELDS if field not in row]
        if lacking:
            raise ConfigError(f"benchmark '{entry.name}': row {row.get('metric')!r} lacks {', '.join(lacking)}")
        print(describe(row), flush=True)
    return [{**row, "metric": f"{entry.name}/{row['metric']}"} if prefix else dict(row) for row in rows]


def describe(row: Mapping[str, Any]) -> str:
    """Return one line of the table: verdict, metric, value, target and the peer measured beside it."""
    verdict = "ok  " if row["ok"] else "MISS"
    target = "" if row["target"] is None else f"  target {number(row['target'])}"
    peer = "" if row["reference"] is None else f"  peer {number(row['reference'])}"
    ratio = "" if row["ratio"] is None else f"  ratio {number(row['ratio'])}"
    return f"{verdict} {row['metric']:<44} {number(row['value']):>10} {row['unit']:<10}{target}{peer}{ratio}"


def number(value: Any) -> str:
    """Format with four significant digits; text stays text."""
    return f"{value:.4g}" if isinstance(value, (int, float)) and math.isfinite(value) else str(value)


VERB = Verb(Bench, run, "Measure speed and memory, each figure against its target.")
