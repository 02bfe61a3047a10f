"""Many-actors gate: SAC on Pendulum-v1 with its one world in the learner's process, and with four actors.

Arms: `local`; `processes`, four actors of this machine; `ray`, the same on a Ray cluster of this machine; `killed`, as
`processes`, one of them killed (SIGKILL) half way. Taken in turn, the segments of the two back ends are the same: so
are the policies that they leave, bit for bit.
"""

import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.actors.contract import ActorsConfig
from policies.actors.learning import WithActors
from policies.checkpoint import load_policy, read_content
from policies.presets import with_tuples
from policies.recipes import sac
from policies.run import Run
from policies.starts import evaluation_starts
from policies.state_file import read_tree
from robot.rows import row
from robot.worlds import make_env

WORLD = "gymnasium/Pendulum-v1"
BACK_ENDS = {"processes": "processes", "killed": "processes", "ray": "ray"}
CELLS = [(arm, seed) for seed in (0, 1, 2) for arm in ("local", "processes", "ray")] + [("killed", 0)]
DEPENDS = [
    "policies/actor_policy.py",
    "policies/actors/*.py",
    "policies/decisions.py",
    "policies/learners/critics.py",
    "policies/learners/sac.py",
    "policies/learners/squashed_gaussian.py",
    "policies/learners/temperature.py",
    "policies/network.py",
    "policies/normalization.py",
    "policies/online.py",
    "policies/recipe_training.py",
    "policies/recipes/sac.py",
    "policies/replay.py",
    "policies/starts.py",
    "policies/training.py",
    "sim/suites/gymnasium.py",
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Learn, and evaluate without noise; the curve holds mean returns."""
    torch.set_num_threads(1)
    config = sac.SACConfig(**with_tuples(profile["sac"]))
    evaluate: Callable[[int, Path], list[float]] = _mean_return(profile["episodes"])
    if arm == "killed":
        evaluate = _killing(evaluate, config.env_steps // 2)
    finetune = sac.finetune
    if arm in BACK_ENDS:
        actors = ActorsConfig(**profile["actors"], back_end=BACK_ENDS[arm])
        finetune = WithActors("sac", WORLD, actors).finetune
    with tempfile.TemporaryDirectory() as folder:
        run, env = Run(Path(folder), tensorboard=False), make_env(WORLD)
        state = finetune(env, None, None, config, run, seed=seed, evaluate=evaluate)
        env.close()
        logged = [json.loads(line) for line in (run.folder / Run.METRICS).read_text().splitlines()]
        source = read_tree(run.state_path)["source"]
        told = {
            "policy_sha256": read_content(run.policy_path).sha256,
            "rows": len(source["online"]["rows"]),
            "starts": source["collector"].get("starts"),
        }
    names = ("env_steps_per_s", "updates_behind", "updates_behind_max", "waited_for_share", "lost")
    for name in names:
        values = [line[f"actors/{name}"] for line in logged if f"actors/{name}" in line]
        told[name] = (max if name in ("updates_behind_max", "lost") else np.mean)(values) if values else None
    return {
        "curve": state.curve,
        "env_steps": config.env_steps,
        "gradient_updates": state.updates,
        "learning_s": state.wall_s,
        **told,
    }


def _mean_return(episodes: int) -> Callable[[int, Path], list[float]]:
    """Return what makes a point of the curve, [env_steps, mean return, n], from fixed starts."""

    def evaluate(env_steps: int, path: Path) -> list[float]:
        policy, world, returns = load_policy(path), make_env(WORLD), []
        for start in evaluation_starts(episodes):
            observation, total, ended = world.reset(seed=start)[0], 0.0, False
            while not ended:
                observation, reward, terminated, truncated, _ = world.step(policy.act(observation).actions[0])
                total, ended = total + float(reward), terminated or truncated
            returns.append(total)
        world.close()
        return [env_steps, float(np.mean(returns)), len(returns)]

    return evaluate


def _killing(evaluate: Callable[[int, Path], list[float]], when: int) -> Callable[[int, Path], list[float]]:
    """Return an evaluation that also kills one actor, once."""

    def kill(env_steps: int, path: Path) -> list[float]:
        if env_steps == when:
            actor = multiprocessing.active_children()[0]
            assert actor.pid is not None
            os.kill(actor.pid, signal.SIGKILL)
        return evaluate(env_steps, path)

    return kill


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every return, the distance of the means, the sameness of the back ends, and what a kill costs."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm in ("local", *BACK_ENDS)}
    rows = []
    for cell in cells:
        value, target = cell["curve"][-1][1], targets["mean_return"]
        name = f"{cell['arm']}, seed {cell['seed']}: mean return"
        rows.append(row(name, value, "return", target=target, ok=value >= target))
    means = {arm: float(np.mean([cell["curve"][-1][1] for cell in found])) for arm, found in by_arm.items()}
    for arm in ("processes", "ray"):
        apart, most = abs(means[arm] - means["local"]), targets["apart"]
        rows.append(row(f"{arm}: mean return apart from local's", apart, "return", target=most, ok=apart <= most))
    pairs = zip(by_arm["processes"], by_arm["ray"], strict=True)
    same = float(np.mean([ours["policy_sha256"] == theirs["policy_sha256"] for ours, theirs in pairs]))
    rows.append(row("ray: runs equal to processes' bit for bit", same, "share", target=1.0, ok=same == 1.0))
    for cell in by_arm["killed"]:
        kept = cell["rows"] / cell["env_steps"]
        rows.append(row("killed: actors lost", cell["lost"], "actors", target=1, ok=cell["lost"] == 1))
        rows.append(row("killed: steps learned from", kept, "share", target=1.0, ok=kept == 1.0))
    for arm in ("processes", "ray"):
        for name, unit in (
            ("env_steps_per_s", "steps/s"),
            ("updates_behind", "updates"),
            ("waited_for_share", "share"),
        ):
            value = float(np.mean([cell[name] for cell in by_arm[arm]]))
            rows.append(row(f"{arm}: {name}", value, unit, target=None, ok=True))
    return rows
