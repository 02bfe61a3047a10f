"""Real-time gate: a policy succeeds through the graph, in real time, as often as in lock-step from the same starts.

One cloned policy, the same starts in both worlds. The graph adds what lock-step leaves out: inference and transport
take time, ticks and servo periods do not fall together, and the arm has a filter of its own.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.checkpoint import load_policy
from policies.data.demonstrations import collect
from policies.evaluation import Evaluation, roll_out_all
from policies.graph_evaluation import evaluate_in_graph
from policies.run import Run
from policies.starts import evaluation_starts
from robot.worlds import make_env

CELLS = [("paired", 0)]
DEPENDS = [
    "robot/*.py",
    "robot/kinematics/*.py",
    "robot/ros/*.py",
    "robot/stations/*.yaml",
    "sim/*.py",
    "sim/tasks/*.py",
    "policies/policy_node.py",
    "policies/served_policy.py",
    "policies/graph_evaluation.py",
    "policies/evaluation.py",
    "policies/base/behavior_cloning.py",
    "policies/learners/supervised.py",
    "policies/steerable.py",
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 (there is one arm)
    """Clone once, then run every start in both worlds."""
    torch.set_num_threads(1)
    env_id, starts = profile["env"], evaluation_starts(profile["episodes"])
    clone = BehaviorCloningConfig(**{**profile["bc"], "hidden": tuple(profile["bc"]["hidden"])})
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "base", tensorboard=False)
        train_base(collect(env_id, profile["demos"], seed), clone, run, seed=seed)
        env = make_env(env_id)
        lock_step = Evaluation(tuple(roll_out_all(env, load_policy(run.policy_path), starts)))
        env.close()
        graph = evaluate_in_graph(env_id, run.policy_path, starts, Path(folder) / "store")
    pairs = zip(lock_step.episodes, graph.episodes, strict=True)
    return {
        "lock_step_success": asdict(lock_step.success),
        "graph_success": asdict(graph.success),
        "success_steps": [lock_step.success_steps, graph.success_steps],
        "agreeing_starts": sum(a.is_success == b.is_success for a, b in pairs),
    }


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the distance of the two success rates against the target."""
    cell = cells[0]
    lock_step, graph = cell["lock_step_success"]["value"], cell["graph_success"]["value"]
    apart, starts = abs(graph - lock_step), cell["graph_success"]["n"]
    return [
        _row("success through the graph", graph, "share", None, True, reference=lock_step),
        _row("distance to lock-step", apart, "share", targets["distance"], apart <= targets["distance"] + 1e-9),
        _row("starts with the same end", cell["agreeing_starts"] / starts, "share", None, True),
    ]


def _row(metric: str, value: float, unit: str, target: Any, ok: bool, reference: float | None = None) -> dict[str, Any]:
    ratio = value / reference if reference else None
    return {"metric": metric, "value": value, "unit": unit, "reference": reference, "ratio": ratio, "target": target,
            "ok": ok}  # fmt: skip
