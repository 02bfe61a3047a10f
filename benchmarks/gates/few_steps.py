"""Few-steps gate: what a flow loses with 1, 2 and 4 steps against diffusion with 16 DDIM steps, on the peg.

All are trained once per seed, on the same demonstrations; flows are solved with each number of steps. The one that is
told the length of its step (`policies.shortcut_flow`) is held to the target, a plain flow stands beside it.
"""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gate_parts import pooled, share_row
from policies import shortcut_flow
from policies.base import diffusion, flow
from policies.data.demonstrations import collect
from policies.evaluation import Evaluation, build_world, roll_out_all
from policies.presets import with_tuples
from policies.run import Run
from policies.starts import evaluation_starts
from policies.steerable import SteerablePolicy

TASK = "tandem/peg-insert"
COUNTS = (1, 2, 4)
ARMS: dict[str, tuple[Any, tuple[int, ...]]] = {  # the family and the numbers of steps it is solved with
    "diffusion": (diffusion, (16,)),
    "flow": (flow, COUNTS),
    "shortcut_flow": (shortcut_flow, COUNTS),
}
CELLS = [(arm, seed) for seed in (0, 1, 2) for arm in ARMS]
DEPENDS = [
    "robot/chunk_runner.py",
    "policies/base/denoisers.py",
    "policies/base/diffusion.py",
    "policies/base/flow.py",
    "policies/data/chunks.py",
    "policies/data/demonstrations.py",
    "policies/data/trajectories.py",
    "policies/evaluation.py",
    "policies/learners/supervised.py",
    "policies/network.py",
    "policies/normalization.py",
    "policies/observations.py",
    "policies/shortcut_flow.py",
    "policies/starts.py",
    "policies/steerable.py",
    "policies/training.py",
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Train on demonstrations and evaluate from fixed starts with each number of steps."""
    torch.set_num_threads(1)
    module, counts = ARMS[arm]
    config = replace(module.PRESETS["cpu"], **with_tuples(profile["training"] | profile[arm]))
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), tensorboard=False)
        policy, state = module.train_base(collect(TASK, profile["demos"], seed), config, run, seed=seed)
    found = {f"steps_{count}": asdict(_solved_with(policy, count, profile).success) for count in counts}
    return {"config": asdict(config), "gradient_updates": state.updates, **found}


def _solved_with(policy: SteerablePolicy, count: int, profile: dict[str, Any]) -> Evaluation:
    content = policy.content()
    changed = type(policy).restore(replace(content, config=content.config | {"inference_steps": count}))
    world = build_world(TASK, policy.spec)
    evaluation = Evaluation(tuple(roll_out_all(world, changed, evaluation_starts(profile["episodes"]))))
    world.close()
    return evaluation


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold how far a flow with few steps falls behind the reference, all seeds together."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm in ARMS}
    reference = pooled(by_arm["diffusion"], "steps_16")
    rows = [share_row("diffusion: success with 16 steps", reference, None, True)]
    for arm, limit in (("flow", None), ("shortcut_flow", targets["behind"])):
        for count in COUNTS:
            value = pooled(by_arm[arm], f"steps_{count}")
            behind = reference - value
            rows.append(share_row(f"{arm}: success with {count} steps", value, None, True, reference=reference))
            rows.append(share_row(f"{arm}: {count} steps behind", behind, limit, limit is None or behind <= limit))
    return rows
