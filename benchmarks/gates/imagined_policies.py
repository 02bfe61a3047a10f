"""Imagined-policies gate: imagination ranks policies as the true world does (A13), and what is learned in it is worth
something there (A14, A15).

Arms: `ranking`, clones of several skills, whole or with a hand that is off, from the same starts in both worlds;
`filtered`, filtered imitation in imagination; its controls `shuffled` (each rollout gets its neighbour's actions) and
`extra` (as many steps on the demonstrations alone); `ungated` (no rollout is cut for its disagreement). All judged in
the simulator; one model, which the cells of `imagination` train and hold to its own checks.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gate_models import MODEL_FILES, obtain_model
from benchmarks.gate_parts import pooled, share_row
from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig, train_base
from policies.data.demonstrations import Demonstrations, collect
from policies.evaluation import EpisodeResult, build_world, roll_out_all
from policies.observations import IMAGE
from policies.presets import with_tuples
from policies.run import Run
from policies.starts import evaluation_starts
from robot.errors import ConfigError
from robot.evaluation import PairedDifference, Success, paired_difference
from robot.policy import ActionChunk
from robot.rows import row
from robot.specs import load_station
from robot.types import Array
from robot.worlds import make_env
from world_models.acceptance.rows import Report, read_targets
from world_models.broken import Shuffled
from world_models.compare_verb import add_ranking
from world_models.contract import WorldModel
from world_models.episode_frames import read_frames
from world_models.imagined_env import ImaginationConfig, ImaginedEnv
from world_models.imagined_task import starts_of_world
from world_models.loading import load_world_model
from world_models.metrics.ranking import rank
from world_models.recipes.ctrl_world import CtrlWorldConfig, follow, improve
from world_models.start_records import StartFile, keyframes
from world_models.trust import FILE as TRUST
from world_models.trust import Trust, read_trust

ENV = "tandem/lift"
LEARNING = ("filtered", "shuffled", "extra", "ungated")
CELLS = [("ranking", 0)] + [(arm, seed) for seed in (0, 1, 2) for arm in LEARNING]
MODEL_SEED = 0
ROW = ("metric", "value", "unit", "reference", "ratio", "target", "ok")
DEPENDS = [
    *MODEL_FILES,
    "benchmarks/gate_models.py",
    "policies/base/behavior_cloning.py",
    "policies/data/chunks.py",
    "policies/data/demonstrations.py",
    "policies/encoders.py",
    "policies/evaluation.py",
    "policies/learners/supervised.py",
    "world_models/broken.py",
    "world_models/commanded_arm.py",
    "world_models/episode_frames.py",
    "world_models/imagined_env.py",
    "world_models/imagined_task.py",
    "world_models/member.py",
    "world_models/metrics/ranking.py",
    "world_models/recipes/ctrl_world.py",
    "world_models/rollout.py",
    "world_models/start_records.py",
    "world_models/trust.py",
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Rank policies, or improve one in imagination and judge it in the simulator."""
    torch.set_num_threads(1)
    run = obtain_model("model", MODEL_SEED, profile)
    if not (run / TRUST).is_file():
        raise ConfigError(f"{run} has no {TRUST}: measure the cell `imagination model` first, which fits it")
    with tempfile.TemporaryDirectory() as folder:
        if arm == "ranking":
            return ranking(run, profile, Path(folder))
        return learning(arm, seed, run, profile, Path(folder))


class OffHand:
    """A clone whose hand is a fixed way off what it means, (A,) in station units."""

    def __init__(self, policy: BehaviorCloning, shift: Array) -> None:
        self.policy, self.shift, self.spec = policy, shift, policy.spec

    def reset(self) -> None:
        self.policy.reset()

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        chunk = self.policy.act(observation)
        return replace(chunk, actions=chunk.actions + self.shift)


def demonstrated(count: int, seed: int, model: WorldModel) -> Demonstrations:
    """Return demonstrations as a policy sees them that imagination can serve: the model's views and the hand."""
    views = model.spec.views
    seen = collect(ENV, count, seed, images=views, image_size=model.spec.image_size)
    return seen.select(["tcp_position"], [IMAGE + view for view in views])


def clone(demonstrations: Demonstrations, settings: dict[str, Any], folder: Path, seed: int) -> BehaviorCloning:
    config = BehaviorCloningConfig(**with_tuples(settings))
    return train_base(demonstrations, config, Run(folder, tensorboard=False), seed=seed)[0]


def ranking(run: Path, profile: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Evaluate each policy in both worlds from the same starts."""
    model, trust = load_world_model(run), read_trust(run)
    settings = profile["ranking"]
    starts = evaluation_starts(settings["episodes"])
    most = demonstrated(max(item["demos"] for item in settings["policies"]), 0, model)
    policies, clones = [], dict[int, BehaviorCloning]()
    for item in settings["policies"]:
        count = item["demos"]
        if count not in clones:
            some = replace(most, trajectories=most.trajectories[:count])
            clones[count] = clone(some, profile["bc"], folder / str(count), seed=0)
        shift = np.array([*item["shift_m"], 0.0])
        true = truly(clones[count], shift, starts)
        imagined = in_imagination(clones[count], shift, starts, model, trust)
        policies.append({"policy": item, "true": asdict(true[0]), "imagined": asdict(imagined)})
        print(f"{item}: true {true[0]}, imagined {imagined}", flush=True)
    return {"policies": policies}


def truly(policy: BehaviorCloning, shift: Array, starts: Sequence[int]) -> tuple[Success, list[EpisodeResult]]:
    """Return success in the simulator, and its episodes."""
    env = build_world(ENV, policy.spec)
    try:
        found = roll_out_all(env, OffHand(policy, shift), starts)
    finally:
        env.close()
    return Success.of(sum(item.is_success for item in found), len(found)), found


def true_ticks() -> int:
    """Return how many control ticks the simulator gives an episode."""
    env = make_env(ENV)
    try:
        return env.unwrapped.interface.max_steps  # type: ignore[attr-defined]
    finally:
        env.close()


def in_imagination(
    policy: BehaviorCloning, shift: Array, starts: Sequence[int], model: WorldModel, trust: Trust
) -> Success:
    """Return success in imagination from the same starts, as many frames as the simulator gives."""
    world = starts_of_world(ENV, model.spec)
    records = [world.draw(start, "start") for start in starts]
    config = ImaginationConfig(max_frames=true_ticks() // model.spec.ticks_per_frame, is_gated=False)
    env = ImaginedEnv(model, load_station(model.spec.station), world, len(starts), config=config, trust=trust)
    found = follow(env, policy, *env.begin(records, list(starts)), np.tile(shift, (len(starts), 1)))
    return Success.of(sum(item.is_success for item in found), len(found))


def learning(arm: str, seed: int, run: Path, profile: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Clone a base, improve it as the arm says in the imagination of `run`, judge both from the same starts."""
    model, trust = load_world_model(run), read_trust(run)
    demonstrations = demonstrated(profile["learning"]["demos"], seed, model)
    base = clone(demonstrations, profile["bc"], folder / "base", seed)
    config = CtrlWorldConfig(**profile["learning"]["filtered"])
    config = replace(config, rollouts=0) if arm == "extra" else config
    inside: WorldModel = Shuffled(model) if arm == "shuffled" else model
    records = [
        record for episode in read_frames(run / "episodes", model.spec) for record in keyframes(episode, model.spec)
    ]
    imagination = ImaginationConfig(pool="mixed", is_gated=arm != "ungated")
    env = ImaginedEnv(
        inside, load_station(model.spec.station), StartFile(tuple(records)), profile["learning"]["members"],
        config=imagination, trust=trust,
    )  # fmt: skip
    policy, kept, state = improve(env, base, demonstrations, config, Run(folder / "run", tensorboard=False), seed=seed)
    assert isinstance(policy, BehaviorCloning)
    still, starts = np.zeros(model.spec.action_dim), evaluation_starts(profile["episodes"])
    before, first = truly(base, still, starts)
    after, second = truly(policy, still, starts)
    imagined = in_imagination(policy, still, starts[: profile["imagined_episodes"]], model, trust)
    return {
        "base_success": asdict(before),
        "final_success": asdict(after),
        "imagined_success": asdict(imagined),
        "episodes": [[item.is_success for item in side] for side in (first, second)],
        "kept": kept.facts(),
        "gradient_updates": state.updates,
    }


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the ranking, the gain, its controls and the gap between the worlds against the targets."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm, _ in CELLS}
    policies = by_arm["ranking"][0]["policies"]
    report = Report(read_targets("cpu"))
    sides = (np.array([item[side]["value"] for item in policies]) for side in ("imagined", "true"))
    add_ranking(rank(*sides), report)
    rows = [{name: item[name] for name in ROW} for item in report.rows]
    gains = {arm: gain(by_arm[arm]) for arm in LEARNING}
    found, base = gains["filtered"], pooled(by_arm["filtered"], "base_success")
    rows.append(share_row("gain by imagination", found.value, targets["gain"], found.value >= targets["gain"], base))
    rows.append(
        row("its p-value (McNemar)", found.p_value, "", target=targets["p_max"], ok=found.p_value < targets["p_max"])
    )
    for arm in ("shuffled", "extra"):
        value = gains[arm].value
        rows.append(share_row(f"control {arm}: gain", value, targets["control"], value <= targets["control"]))
    lead = found.value - gains["extra"].value
    rows.append(share_row("gain above extra imitation", lead, targets["lead"], lead >= targets["lead"]))
    rows.append(share_row("gain without the gate", gains["ungated"].value, None, True, found.value))
    gap = pooled(by_arm["filtered"], "imagined_success") - pooled(by_arm["filtered"], "final_success")
    rows.append(share_row("imagined minus true success", gap, targets["gap"], gap <= targets["gap"]))
    return rows


def gain(cells: list[dict[str, Any]]) -> PairedDifference:
    """Return the paired difference over all seeds."""
    first, second = ([bool(won) for cell in cells for won in cell["episodes"][side]] for side in (0, 1))
    return paired_difference(first, second)
