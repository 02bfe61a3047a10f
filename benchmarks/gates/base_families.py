"""Base-family gate: every family of base policies on three tasks, two on images, and what steering needs.

Arms are <task>-<family>. The two-gap task (tests/gates/two_gaps.py) has two ways to do it: there the cell also says
how a base does with one gap closed, with its prior clipped or replaced by its mean, with other numbers of solver steps,
and with the last weights in place of their average. On `lift_seen` a policy gets images and its own joints, not the
place of the cube.
"""

import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.base import act, behavior_cloning, diffusion, flow
from policies.data.demonstrations import Demonstrations, collect, collect_from
from policies.data.trajectories import Trajectory
from policies.evaluation import Evaluation, build_world, roll_out_all
from policies.observations import IMAGE
from policies.run import Run
from policies.starts import evaluation_starts
from policies.state_file import read_tree
from policies.steerable import SteerablePolicy
from robot.evaluation import Success
from tests.gates.two_gaps import OneGap, TwoGaps, TwoGapsExpert

FAMILIES = {"bc": behavior_cloning, "act": act, "diffusion": diffusion, "flow": flow}
TASKS = {"two_gaps": "", "peg": "tandem/peg-insert", "push": "metaworld/push-v3"}
SEEN = {"lift_seen": "tandem/lift"}  # with images, for the families that are held to it
ARMS = [f"{task}-{family}" for task in TASKS for family in FAMILIES] + ["lift_seen-diffusion", "lift_seen-flow"]
CELLS = [(arm, seed) for arm in ARMS for seed in (0, 1, 2)]
CLIP = 1.5
DEPENDS = [
    "tests/gates/two_gaps.py",
    "robot/chunk_runner.py",
    "policies/base/*.py",
    "policies/data/chunks.py",
    "policies/data/demonstrations.py",
    "policies/data/image_rows.py",
    "policies/data/trajectories.py",
    "policies/encoders.py",
    "policies/evaluation.py",
    "policies/learners/supervised.py",
    "policies/network.py",
    "policies/normalization.py",
    "policies/observations.py",
    "policies/starts.py",
    "policies/steerable.py",
    "policies/training.py",
]


class ClippedPrior:
    """The base as a wrapper of noise sees it: it is given the noise, drawn from the prior and clipped to +-`CLIP`."""

    def __init__(self, base: SteerablePolicy, seed: int) -> None:
        self.base, self.spec, self.rng = base, base.spec, np.random.default_rng(seed)
        assert base.noise_spec is not None
        self.shape = base.noise_spec[0]

    def reset(self) -> None:
        self.base.reset()

    def act(self, observation: Any) -> Any:
        return self.base.act(observation, self.rng.standard_normal(self.shape).clip(-CLIP, CLIP))


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Train on demonstrations of the task and evaluate from fixed starts."""
    torch.set_num_threads(1)
    task, family = arm.split("-")
    module = FAMILIES[family]
    settings = profile[task][family]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    config = replace(module.PRESETS["cpu"], **values)
    starts = evaluation_starts(profile[task]["episodes"])
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), tensorboard=False)
        demonstrations = _demonstrations(task, profile[task], seed)
        began = time.monotonic()
        policy, state = module.train_base(demonstrations, config, run, seed=seed)
        found = {"config": asdict(config), "gradient_updates": state.updates, "training_s": time.monotonic() - began}
        live = read_tree(run.state_path)["learner"]["live"]
    world = TwoGaps if task == "two_gaps" else partial(build_world, (TASKS | SEEN)[task], policy.spec)
    evaluation = _evaluate(world, policy, starts)
    found |= {"success": asdict(evaluation.success), "success_steps": evaluation.success_steps}
    found["decode_ms"] = _decode_ms(policy, demonstrations.trajectories[0])
    if task == "two_gaps":
        found["one_gap"] = _one_gap(policy, starts, seed)
        found["upper_share"] = _upper_share(policy)
        policy.network.load_state_dict(live)
        found["last_weights"] = asdict(_evaluate(TwoGaps, policy, starts).success)
    return found


def _demonstrations(task: str, profile: dict[str, Any], seed: int) -> Demonstrations:
    count = profile["demos"]
    if task == "two_gaps":
        return collect_from(TwoGaps(), TwoGapsExpert(), "gates/two-gaps", count, seed)
    if task in TASKS:
        return collect(TASKS[task], count, seed)
    cameras = profile["cameras"]
    seen = collect(SEEN[task], count, seed, images=cameras, image_size=profile["image_size"])
    return seen.select(profile["fields"], [IMAGE + camera for camera in cameras])


def _evaluate(world: Any, policy: Any, starts: list[int]) -> Evaluation:
    env = world()
    evaluation = Evaluation(tuple(roll_out_all(env, policy, starts)))
    env.close()
    return evaluation


def _one_gap(policy: SteerablePolicy, starts: list[int], seed: int) -> dict[str, Any]:
    """Return success with the lower gap closed: as it is, steered by the clipped prior or by its mean, and so on."""
    found = {"prior": asdict(_evaluate(OneGap, policy, starts).success)}
    if policy.noise_spec is None:
        return found
    found["clipped_prior"] = asdict(_evaluate(OneGap, ClippedPrior(policy, seed), starts).success)
    content = policy.content()
    for sampling in ("prior", "mean"):
        changed = type(policy).restore(replace(content, config=content.config | {"sampling": sampling}))
        found[f"sampling_{sampling}"] = asdict(_evaluate(OneGap, changed, starts).success)
    for count in (2, 5, 10) if "inference_steps" in content.config else ():
        changed = type(policy).restore(replace(content, config=content.config | {"inference_steps": count}))
        found[f"steps_{count}"] = asdict(_evaluate(OneGap, changed, starts).success)
    return found


def _upper_share(policy: SteerablePolicy, count: int = 256) -> list[float]:
    """Return which share of chunks drawn at the start heads up, and which heads neither up nor down."""
    states = np.zeros((count, 2))
    noise = None if policy.noise_spec is None else torch.randn(count, *policy.noise_spec[0])
    heading = policy.act_states(states, noise=noise)[..., 1].mean(axis=1)
    return [float((heading > 0).mean()), float((np.abs(heading) < 0.2).mean())]


def _decode_ms(policy: SteerablePolicy, seen: Trajectory, calls: int = 100) -> float:
    """Return the median time of one answer [ms]."""
    states, images = seen.states[:1], {name: frames[:1] for name, frames in seen.images.items()}
    durations = []
    for _ in range(calls):
        began = time.perf_counter()
        policy.act_states(states, images)
        durations.append(1e3 * (time.perf_counter() - began))
    return float(np.median(durations))


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every task's success, and on the two gaps what steering needs, against the targets; seeds together."""
    by_arm = {arm: [cell for cell in cells if cell["arm"] == arm] for arm in ARMS}
    rows = []
    for arm, own in by_arm.items():
        task, family = arm.split("-")
        value, target = _pooled(own, "success"), targets["success"][task].get(family)
        rows.append(_row(f"{arm}: success", value, target, target is None or value >= target))
    imitated = _pooled(by_arm["two_gaps-bc"], "success")
    for family, limit in targets["above_bc"].items():
        gain = _pooled(by_arm[f"two_gaps-{family}"], "success") - imitated
        rows.append(_row(f"two_gaps-{family}: above bc", gain, limit, gain >= limit))
    for family in ("diffusion", "flow"):
        own = by_arm[f"two_gaps-{family}"]
        rows += _steering_rows(family, own, targets)
    pair = [_pooled(by_arm[f"push-{family}"], "success") for family in ("diffusion", "flow")]
    gap = abs(pair[0] - pair[1])
    rows.append(_row("push: diffusion against flow", gap, targets["family_gap"], gap <= targets["family_gap"]))
    return rows


def _steering_rows(family: str, cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    name = f"two_gaps-{family}"
    low, high = targets["one_gap"]
    prior = _pooled(cells, "one_gap", "prior")
    rows = [_row(f"{name}: one gap closed", prior, f"{low} to {high}", low <= prior <= high)]
    limits = {
        "clipped_prior": targets["clipped_gap"],
        "steps_2": targets["steps_gap"],
        "steps_10": targets["steps_gap"],
    }
    reference = {"clipped_prior": prior, "steps_2": _pooled(cells, "one_gap", "steps_5")}
    for key, limit in limits.items():
        gap = abs(_pooled(cells, "one_gap", key) - reference.get(key, reference["steps_2"]))
        is_flow_of_two = family == "flow" and key == "steps_2"
        rows.append(
            _row(f"{name}: {key}, distance", gap, None if is_flow_of_two else limit, is_flow_of_two or gap <= limit)
        )
    mean = _pooled(cells, "one_gap", "sampling_mean")
    rows.append(_row(f"{name}: mean of the prior", mean, None, True, reference=prior))
    up_low, up_high = targets["upper_share"]
    up = float(np.mean([cell["upper_share"][0] for cell in cells]))
    rows.append(_row(f"{name}: chunks that head up", up, f"{up_low} to {up_high}", up_low <= up <= up_high))
    gain = _pooled(cells, "success") - _pooled(cells, "last_weights")
    rows.append(_row(f"{name}: average over last weights", gain, targets["average"], gain >= targets["average"]))
    return rows


def _pooled(cells: list[dict[str, Any]], *keys: str) -> float:
    wins = total = 0
    for cell in cells:
        value = cell
        for key in keys:
            value = value[key]
        wins, total = wins + round(value["value"] * value["n"]), total + value["n"]
    return Success.of(wins, total).value


def _row(metric: str, value: float, target: Any, ok: bool, reference: float | None = None) -> dict[str, Any]:
    ratio = value / reference if reference else None
    names = ("metric", "value", "unit", "reference", "ratio", "target", "ok")
    return dict(zip(names, (metric, value, "share", reference, ratio, target, ok), strict=True))
