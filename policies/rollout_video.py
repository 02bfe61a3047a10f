"""Videos of a policy at work in a world that can draw itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.wrappers import RenderCollection

from policies.checkpoint import load_policy
from policies.evaluation import build_world, roll_out_all
from policies.report_video import encode_frames
from robot.worlds import make_env

MAX_FRAMES = 100


def film(env_id: str, policy_path: Path, seeds: Sequence[int], folder: Path) -> list[Path]:
    """Roll the policy out once from each start and write `<number>-success.webp` or `<number>-failure.webp`.

    Returns the files; none where the world does not draw.
    """
    if "rgb_array" not in _render_modes(env_id):
        return []
    policy = load_policy(policy_path)
    world: Any = build_world(env_id, policy.spec, render_mode="rgb_array")
    env = RenderCollection(world, pop_frames=True)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    try:
        for number, seed in enumerate(seeds):
            (result,) = roll_out_all(env, policy, [seed])
            frames = [np.asarray(frame) for frame in env.render() or ()]
            stride = -(-len(frames) // MAX_FRAMES)
            outcome = "success" if result.is_success else "failure"
            paths.append(folder / f"{number}-{outcome}.webp")
            paths[-1].write_bytes(encode_frames(frames[::stride], rate_hz=policy.spec.rate_hz / stride))
    finally:
        env.close()
    return paths


def _render_modes(env_id: str) -> Sequence[str]:
    env = make_env(env_id)
    try:
        return env.unwrapped.metadata.get("render_modes", [])
    finally:
        env.close()
