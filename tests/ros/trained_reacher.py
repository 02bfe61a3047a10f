"""A policy that reaches one place, cloned from demonstrations on the simulated twin of a real station."""

from pathlib import Path

import numpy as np
import torch
import yaml

from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig
from policies.data.demonstrations import collect_from
from policies.learners.supervised import train_policy
from policies.run import Run
from robot.specs import load_station
from robot.worlds import make_env, make_expert

CLONE = BehaviorCloningConfig(action_horizon=8, execution_horizon=4, hidden=(64, 64), steps=400, batch_size=64)
DEMOS = 12


def write_twin(station: str, folder: Path) -> Path:
    """Write the station file of the same arm in simulation, which also sees where it is to go."""
    seen = [*load_station(station).observation, "object_state"]
    path = folder / "twin.yaml"
    path.write_text(
        yaml.safe_dump({"like": station, "name": "twin", "arm": {"driver": "simulated"}, "observation": seen})
    )
    return path


def train_reacher(station: str, goal: np.ndarray, folder: Path) -> Path:
    """Return the file of a policy that brings the tcp to `goal` [m], not knowing what it is: it reads joints and tcp.

    Args:
        station: the real one, by name.
        goal: in the base frame.
        folder: for the twin and the training run.
    """
    torch.set_num_threads(1)
    env_id, place = f"tandem/reach?station={write_twin(station, folder)}", tuple(goal.tolist())
    env = make_env(env_id, target_low_m=place, target_high_m=place)
    try:
        demonstrations = collect_from(env, make_expert(env_id), env_id, DEMOS, seed=0)
    finally:
        env.close()
    fields = load_station(station).observation
    run = Run(folder / "reacher", tensorboard=False)
    train_policy(BehaviorCloning, demonstrations.select(fields), CLONE, run, seed=0)
    return run.policy_path
