"""Evaluate a policy from fixed starts: in lock-step or through the graph, alone or against another policy."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from policies.checkpoint import load_policy, read_content
from policies.evaluation import Evaluator, build_world, show_fit
from policies.imagined import World, check_world, env_in
from policies.run import new_folder, write_json
from policies.starts import evaluation_starts
from robot.checkpoint_file import find_policy
from robot.errors import ConfigError
from robot.evaluation import paired_difference
from robot.verb import Verb


@dataclass(frozen=True)
class EvalConfig:
    """Which policy, where, from how many starts."""

    policy: Path
    """A policy file, or a run folder that holds policy.safetensors."""
    env: str = "tandem/peg-insert"
    world: World = "simulated"
    """`imagined`: as a world model imagines --env, each episode from that world's own start."""
    world_model: Path | None = None
    """Folder of the model, for --world imagined."""
    against: Path | None = None
    """A second policy for a paired comparison."""
    episodes: int = 200
    through: Literal["lockstep", "graph"] = "lockstep"
    """`graph`: every node a process, in real time, every episode recorded."""
    takeover: bool = False
    """A scripted person drives for a while in every episode; through the graph only."""
    execution: str = ""
    """How chunks are executed: receding[:STEPS], ensemble[:DECAY] or async[:STEPS]; the policy's own way by default."""
    workers: int = 0
    """Evaluation processes; 0: in this one."""
    out: Path | None = None
    """Folder for result.json, and for the episodes of the graph; None: runs/ for those, no result.json."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"episodes must be >= 1, got {self.episodes}")
        if self.through == "graph" and self.against is not None:
            raise ConfigError("--against compares in lock-step: leave out --through graph")
        check_world(self.world, self.world_model)
        if self.world == "imagined" and self.through == "graph":
            raise ConfigError("--through graph runs the station's own nodes: leave it out with --world imagined")
        if self.takeover and self.through != "graph":
            raise ConfigError("--takeover needs --through graph: nobody can take over in lock-step")


def run(config: EvalConfig) -> dict[str, Any]:
    """Evaluate, print, return."""
    torch.set_num_threads(1)  # small networks: a second thread only costs
    began = time.monotonic()
    world = env_in(config.world, config.env, config.world_model)
    print(f"eval: {config.policy} in {world}, {config.episodes} fixed starts")
    path, starts = find_policy(config.policy), evaluation_starts(config.episodes)
    against = find_policy(config.against) if config.against else None
    for file in (path, against) if against else (path,):
        _show_fit(file, world, config.execution, starts[0])
    store, other = None, None
    if config.through == "graph":
        from policies.graph_evaluation import evaluate_in_graph

        store = (config.out or new_folder(Path("runs"), f"eval-{config.env}")) / "episodes"
        evaluation = evaluate_in_graph(
            config.env, path, starts, store, has_takeover=config.takeover, execution=config.execution
        )
    else:
        with Evaluator(world, config.workers, config.execution) as evaluator:
            evaluation = evaluator.evaluate(path, starts)
            other = evaluator.evaluate(against, starts) if against else None
    print(f"success: {evaluation.success}, {evaluation.success_steps:.1f} steps where it succeeded")
    result: dict[str, Any] = {
        "env": config.env,
        "world": config.world,
        "policy": path,
        "policy_sha256": read_content(path).sha256,
        "success": asdict(evaluation.success),
        "success_steps": evaluation.success_steps,
        "episodes": [asdict(episode) for episode in evaluation.episodes],
    }
    if store is not None:
        result["store"] = store
    if other is not None:
        difference = paired_difference(
            [episode.is_success for episode in other.episodes], [episode.is_success for episode in evaluation.episodes]
        )
        print(f"against: {other.success}; difference {difference.value:+.3f}, p {difference.p_value:.2g}")
        result |= {"against": asdict(other.success), "difference": asdict(difference)}
    result["wall_s"] = time.monotonic() - began
    if config.out:
        config.out.mkdir(parents=True, exist_ok=True)
        write_json(config.out / "result.json", result)
    return result


def _show_fit(path: Path, world: str, execution: str, seed: int) -> None:
    """Print the pre-flight of a policy in the world; one that does not fit is refused."""
    policy = load_policy(path)
    env = build_world(world, policy.spec)
    try:
        print(f"{path}:")
        show_fit(env, policy, execution, seed)
    finally:
        env.close()


VERB = Verb(EvalConfig, run, "Evaluate a policy from fixed starts.")
