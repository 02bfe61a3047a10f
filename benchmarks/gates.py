"""Run the learning gates that are missing or stale, within a time budget, and judge them: `make gates`.

A gate is a file in `benchmarks/gates/` with

    CELLS: list[tuple[str, int]]       its (arm, seed) pairs
    DEPENDS: list[str]                 globs of the files a result depends on
    run_cell(arm, seed, profile)       measures one cell and returns what it found
    judge(cells, targets)              rows of metric, value, unit, reference, ratio, target, ok

Each cell is measured in a process of its own and kept as one JSON file under `benchmarks/results/gates/`, with the
commit and a hash of the files it depends on (comments, docstrings and layout do not count). So the work can be stopped
at any time, and goes on with the cells that are still missing or stale.
"""

import argparse
import ast
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
GATES, RESULTS, TARGETS = ROOT / "benchmarks/gates", ROOT / "benchmarks/results/gates", ROOT / "benchmarks/targets.toml"
sys.path.insert(0, str(ROOT))

from robot.machine import machine  # noqa: E402 (found from any folder)
from robot.rows import row  # noqa: E402
from robot.verb import json_line  # noqa: E402


def load_gate(name: str) -> ModuleType:
    """Import one gate by its file."""
    spec = importlib.util.spec_from_file_location(f"gate_{name}", GATES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def targets_of(name: str) -> dict[str, Any]:
    return tomllib.loads(TARGETS.read_text())["gates"][name]


def meaning(path: Path) -> bytes:
    """Return what a source file means: its syntax without docstrings, comments and layout; other files as they are.

    Assignments to `PRESETS` are left out: a gate states its own settings in its profile.
    """
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if not _assigns_presets(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree).encode()


def _assigns_presets(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "PRESETS" for t in node.targets)


def dependencies_hash(name: str, patterns: Iterable[str], profile: dict[str, Any]) -> str:
    """Hash the gate, its profile and the files its results depend on."""
    digest = hashlib.sha256(json.dumps(profile, sort_keys=True).encode())
    paths = {GATES / f"{name}.py"} | {path for pattern in patterns for path in ROOT.glob(pattern)}
    for path in sorted(paths):
        digest.update(str(path.relative_to(ROOT)).encode() + meaning(path))
    return digest.hexdigest()


def cell_path(name: str, arm: str, seed: int) -> Path:
    return RESULTS / f"{name}-{arm}-{seed}.json"


def read_cell(name: str, arm: str, seed: int, expected_hash: str) -> dict[str, Any] | None:
    """Return a cell that was measured on the present code, else None."""
    path = cell_path(name, arm, seed)
    if not path.exists():
        return None
    cell = json.loads(path.read_text())
    return cell if cell["dependencies_sha256"] == expected_hash else None


def measure_cell(name: str, arm: str, seed: int) -> None:
    """Measure one cell in this process and write its file."""
    from policies.run import provenance

    gate, profile = load_gate(name), targets_of(name)["profile"]
    expected = dependencies_hash(name, gate.DEPENDS, profile)
    began, cpu = time.monotonic(), time.process_time()
    found = gate.run_cell(arm, seed, profile)
    facts = {"gate": name, "arm": arm, "seed": seed, "profile": profile, "dependencies_sha256": expected}
    cost = {"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu}
    RESULTS.mkdir(parents=True, exist_ok=True)
    draft = cell_path(name, arm, seed).with_suffix(".draft")
    draft.write_text(
        json.dumps(json.loads(json_line({**facts, **found, **cost, **provenance(), "machine": machine()})), indent=1)
    )
    draft.replace(cell_path(name, arm, seed))


def run_gate(name: str, deadline: float) -> tuple[list[dict[str, Any]], int]:
    """Measure what is missing before the deadline; return the rows and the number of cells still missing."""
    gate, targets = load_gate(name), targets_of(name)
    expected = dependencies_hash(name, gate.DEPENDS, targets["profile"])
    cells: list[dict[str, Any]] = []
    missing = 0
    for arm, seed in gate.CELLS:
        cell = read_cell(name, arm, seed, expected)
        if cell is None and time.monotonic() < deadline:
            print(f"{name}: measuring {arm}, seed {seed}", flush=True)
            command = [sys.executable, __file__, "--cell", name, arm, str(seed)]
            subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=sys.stderr)
            cell = read_cell(name, arm, seed, expected)
        if cell is None:
            missing += 1
        else:
            cells.append(cell)
    if missing:
        return [row("cells", len(cells), "", target=len(gate.CELLS), ok=False)], missing
    return gate.judge(cells, targets), 0


def main() -> int:
    parser = argparse.ArgumentParser(description="run the learning gates that are missing or stale")
    parser.add_argument("--budget-min", type=float, default=60.0, help="no cell is started after this many minutes")
    parser.add_argument("--cell", nargs=3, metavar=("GATE", "ARM", "SEED"), help="measure one cell in this process")
    parser.add_argument("gates", nargs="*", help="names of gates; all when none is given")
    options = parser.parse_args()
    if options.cell:
        measure_cell(options.cell[0], options.cell[1], int(options.cell[2]))
        return 0
    names = options.gates or sorted(path.stem for path in GATES.glob("*.py"))
    deadline = time.monotonic() + 60 * options.budget_min
    rows, missing = [], 0
    for name in names:
        found, left = run_gate(name, deadline)
        rows += [{**item, "metric": f"{name}/{item['metric']}"} for item in found]
        missing += left
    for item in rows:
        value = f"{item['value']:.3f}" if isinstance(item["value"], float) else item["value"]
        print(f"{'ok  ' if item['ok'] else 'MISS'} {item['metric']}: {value} {item['unit']} (target {item['target']})")
    if missing:
        print(f"{missing} cells are still missing: run again to continue")
    result = {"name": "gates", "ok": all(item["ok"] for item in rows), "rows": rows, "machine": machine()}
    print(json_line(result), flush=True)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
