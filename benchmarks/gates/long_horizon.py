"""Long horizon: RaC against HG-DAgger at equal human ticks on `tandem/tidy-drawer`, three stages in one episode (T4).

Arms and rows are those of `recovery`; the world is a station task, so every tick goes through the safety filter and the
person's wishes come as packets of an operator device. Evaluation counts how often a policy that gained nothing for so
long that a person would have taken over got on by itself. Task, people and budget are in `tests/gates/tidy_drawer.py`
and in the profile, and were committed before any result.
"""

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gates import load_gate
from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.checkpoint import load_policy
from policies.presets import with_tuples
from policies.recipes import hg_dagger, rac
from policies.run import Run
from policies.starts import evaluation_starts
from policies.takeovers.shared_control import Watched
from robot.chunk_runner import ChunkRunner
from robot.evaluation import Success
from robot.types import NS_PER_S
from sim.people.recovering import RecoveringPerson
from tests.gates.tidy_drawer import PatientJudge, handing_person, recovering_person, shown, stage, tidy_world

recovery = load_gate("recovery")
CELLS = recovery.CELLS
DEPENDS = [
    *(name for name in recovery.DEPENDS if "three_gates" not in name),
    "benchmarks/gates/recovery.py",
    "tests/gates/tidy_drawer.py",
    "robot/stations/fr3_sim.yaml",
    "sim/experts.py",
    "sim/grasping.py",
    "sim/objects.py",
    "sim/tasks/tidy_drawer.py",
    "sim/world.py",
]
judge = recovery.judge


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Clone the base, spend the human budget in rounds, evaluate alone."""
    torch.set_num_threads(1)
    began = time.monotonic()
    demonstrations = shown(profile["demos"], seed)
    clone, env = BehaviorCloningConfig(**with_tuples(profile["bc"])), tidy_world()
    person: Any = handing_person(env) if arm == "hg_dagger" else recovering_person(env, recovers=arm == "rac")
    with tempfile.TemporaryDirectory() as folder:
        base, _ = train_base(demonstrations, clone, Run(Path(folder) / "base", tensorboard=False), seed=seed)
        run = Run(Path(folder) / "run", tensorboard=False)
        recipe, settings = (hg_dagger, hg_dagger.HGDAggerConfig) if arm == "hg_dagger" else (rac, rac.RaCConfig)
        config: Any = settings(**profile["rounds"])
        state = recipe.finetune(Watched(env, person), base, demonstrations, config, run, seed=seed)
        found = alone(load_policy(run.policy_path), profile["episodes"])
        before = alone(base, profile["base_episodes"])
    recovered = person.recovery_ticks if isinstance(person, RecoveringPerson) else 0
    return {
        "base_success": before["success"],
        "base_stages": before["stages"],
        "final_success": found["success"],
        "stages": found["stages"],
        "recoveries_per_success": found["recoveries_per_success"],
        "human_ticks": person.driven_ticks,
        "recovery_share": recovered / max(person.driven_ticks, 1),
        "gradient_updates": state.updates,
        "learning_s": time.monotonic() - began,
    }


def alone(policy: Any, episodes: int) -> dict[str, Any]:
    """Roll a policy out by itself; count stages, and the times that it got on again in episodes that succeeded."""
    env, stuck, wins, freed, stages = tidy_world(), PatientJudge(), 0, [], []
    for start in evaluation_starts(episodes):
        seen, _ = env.reset(seed=start)
        stuck.reset(np.random.default_rng(start))
        runner = ChunkRunner(policy)
        runner.reset()
        period_ns = round(NS_PER_S / policy.spec.rate_hz)
        times, steps, is_over, followed, info = 0, 0, False, None, {}
        while not is_over:
            before, followed = seen, runner.step(seen, steps * period_ns) or followed
            assert followed is not None
            offset = min(steps - followed.observation_time_ns // period_ns, len(followed.actions) - 1)
            action = followed.actions[offset]
            seen, _, terminated, truncated, info = env.step(action)
            times += stuck.looks_wrong(before, action, seen)
            steps, is_over = steps + 1, terminated or truncated
        wins += info["success"]
        stages.append(stage(seen))
        freed += [times] * info["success"]
    return {
        "success": asdict(Success.of(wins, episodes)),
        "stages": float(np.mean(stages)),
        "recoveries_per_success": float(np.mean(freed)) if freed else 0.0,
    }
