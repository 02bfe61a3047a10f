"""`tandem imagine rollout`: let a policy act in a world model's imagination, and watch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from policies.evaluation import evaluate
from policies.imagined import env_in
from policies.rollout_video import film
from policies.run import new_folder, write_json
from policies.starts import evaluation_starts
from robot.checkpoint_file import find_policy
from robot.errors import ConfigError
from world_models.loading import load_world_model


@dataclass(frozen=True)
class RolloutPolicy:
    """Roll a policy out in imagination from fixed starts and film the first episodes."""

    model: tyro.conf.Positional[Path]
    """A run folder of `tandem imagine train`."""
    policy: Path
    """A policy file, or a run folder that holds one."""
    env: str = ""
    """World whose starts are used; the model's own task by default."""
    episodes: int = 20
    videos: int = 4
    out: Path | None = None
    """Folder for result.json and videos; None: a new one under runs/."""

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.videos < 0:
            raise ConfigError(f"episodes {self.episodes} must be >= 1, videos {self.videos} >= 0")

    def run(self) -> dict[str, Any]:
        """Evaluate, film, return."""
        torch.set_num_threads(1)
        env = self.env or f"tandem/{load_world_model(self.model).spec.task}"
        world, policy = env_in("imagined", env, self.model), find_policy(self.policy)
        out = self.out or new_folder(Path("runs"), "imagine-rollout")
        out.mkdir(parents=True, exist_ok=True)
        print(f"imagine rollout: {policy} in {world}, {self.episodes} fixed starts, into {out}")
        starts = evaluation_starts(self.episodes)
        found = evaluate(world, policy, starts)
        videos = film(world, policy, starts[: self.videos], out / "videos") if self.videos else []
        print(f"success in imagination: {found.success}")
        result = {
            "world": world,
            "policy": policy,
            "success": asdict(found.success),
            "episodes": [asdict(episode) for episode in found.episodes],
            "videos": videos,
        }
        write_json(out / "result.json", result)
        print(f"videos: {out / 'videos'}\nnext: tandem imagine compare {self.model} --policies {policy} ...")
        return result
