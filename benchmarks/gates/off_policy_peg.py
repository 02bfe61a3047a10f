"""Off-policy gate: RLPD, EXPO, PA-RL and WSRL on the easy peg, and SAC on a pendulum (off_policy spec, section 8.4).

Every arm has the demonstrations of its seed and one thread. EXPO and PA-RL stand on a flow policy cloned from them.
`expo_random_edit` never trains its edits: what is left is noise around the base's samples and the argmax.
`wsrl_no_warmup` lets its updates begin at once, without the warm-up that puts on-policy states into the replay first.
Curves count environment steps from the end of the warm-up.
"""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gate_parts import share_row
from policies.base import flow
from policies.checkpoint import load_policy, restore_policy, save_policy
from policies.data.demonstrations import Demonstrations, collect_from, demonstrate
from policies.evaluation import Evaluator
from policies.presets import with_tuples
from policies.recipes import expo, pa_rl, rlpd, sac, wsrl
from policies.run import Run
from policies.starts import evaluation_starts, start_seed
from robot.rows import row
from robot.worlds import make_env
from tests.gates.blocked_peg import BlockedPeg, BlockedPegExpert

RECIPES: dict[str, Any] = {
    "rlpd": rlpd,
    "expo": expo,
    "expo_random_edit": expo,
    "pa_rl": pa_rl,
    "wsrl": wsrl,
    "wsrl_no_warmup": wsrl,
    "sac_pendulum": sac,
}
CONFIGS: dict[Any, Any] = {
    rlpd: rlpd.RLPDConfig,
    expo: expo.EXPOConfig,
    pa_rl: pa_rl.PARLConfig,
    wsrl: wsrl.WSRLConfig,
    sac: sac.SACConfig,
}
ON_A_BASE = ("expo", "expo_random_edit", "pa_rl")
CELLS = [(arm, seed) for seed in (0, 1, 2) for arm in RECIPES]
DEPENDS = [
    "tests/gates/blocked_peg.py",
    "robot/chunk_runner.py",
    "policies/action_choice.py",
    "policies/actor_policy.py",
    "policies/base/denoisers.py",
    "policies/base/flow.py",
    "policies/choosing_policy.py",
    "policies/choosing_training.py",
    "policies/data/chunks.py",
    "policies/data/demonstrations.py",
    "policies/data/trajectories.py",
    "policies/decisions.py",
    "policies/evaluation.py",
    "policies/imitation_memory.py",
    "policies/learners/*.py",
    "policies/network.py",
    "policies/normalization.py",
    "policies/observations.py",
    "policies/online.py",
    "policies/recipe_training.py",
    "policies/recipes/expo.py",
    "policies/recipes/pa_rl.py",
    "policies/recipes/rlpd.py",
    "policies/recipes/sac.py",
    "policies/recipes/wsrl.py",
    "policies/replay.py",
    "policies/sample_cache.py",
    "policies/starts.py",
    "policies/steerable.py",
    "policies/training.py",
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Train one arm and evaluate it all the way."""
    torch.set_num_threads(1)
    module = RECIPES[arm]
    config = CONFIGS[module](**with_tuples(profile[arm]))
    with tempfile.TemporaryDirectory() as folder:
        if arm == "sac_pendulum":
            return _pendulum(config, Run(Path(folder), tensorboard=False), seed, profile)
        return _peg(arm, config, Path(folder), seed, profile)


def _peg(arm: str, config: Any, folder: Path, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    demonstrations = collect_from(BlockedPeg(), BlockedPegExpert(), "gates/blocked-peg", profile["demos"], seed)
    starts, few = evaluation_starts(profile["episodes"]), evaluation_starts(profile["curve_episodes"])
    found: dict[str, Any] = {"env_steps": config.env_steps}
    with Evaluator(BlockedPeg) as evaluator:

        def success(path: Path) -> dict[str, Any]:
            return asdict(evaluator.evaluate(path, starts).success)

        base = None
        if arm in ON_A_BASE:
            settings = replace(flow.PRESETS["cpu"], **with_tuples(profile["flow"]))
            run = Run(folder / "base", tensorboard=False)
            base, _ = flow.train_base(demonstrations, settings, run, seed=seed)
            found["base_success"] = success(run.policy_path)
        if arm.startswith("wsrl"):
            demonstrations = _with_poor_episodes(demonstrations, profile["poor_episodes"], profile["poor_noise"], seed)

        def point(env_steps: int, path: Path) -> list[float]:
            value = evaluator.evaluate(path, few).success
            return [env_steps - config.warmup_steps, value.value, value.n]

        run = Run(folder / "run", tensorboard=False)
        state = RECIPES[arm].finetune(BlockedPeg(), base, demonstrations, config, run, seed=seed, evaluate=point)
        found |= {"curve": state.curve, "gradient_updates": state.updates, "final_success": success(run.policy_path)}
        if arm == "pa_rl":
            distilled: Any = restore_policy(load_policy(run.policy_path).content().parts["base"])  # type: ignore[attr-defined]
            save_policy(folder / "distilled.safetensors", distilled)
            found["distilled_success"] = success(folder / "distilled.safetensors")
    return found


def _with_poor_episodes(demonstrations: Demonstrations, count: int, noise: float, seed: int) -> Demonstrations:
    """Add episodes of a noisy expert, failures included: offline learning needs to see what does not work."""
    env, expert = BlockedPeg(), BlockedPegExpert(noise)
    poor = [demonstrate(env, expert, start_seed("demonstration", seed, 10_000 + index)) for index in range(count)]
    return replace(demonstrations, trajectories=[*demonstrations.trajectories, *poor])


def _pendulum(config: sac.SACConfig, run: Run, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Train SAC on Pendulum-v1; the curve holds mean returns of episodes without noise."""
    env = make_env("gymnasium/Pendulum-v1")

    def mean_return(env_steps: int, path: Path) -> list[float]:
        policy, world = load_policy(path), make_env("gymnasium/Pendulum-v1")
        returns = []
        for start in evaluation_starts(profile["pendulum_episodes"]):
            observation, total, ended = world.reset(seed=start)[0], 0.0, False
            while not ended:
                observation, reward, terminated, truncated, _ = world.step(policy.act(observation).actions[0])
                total, ended = total + float(reward), terminated or truncated
            returns.append(total)
        world.close()
        return [env_steps, float(np.mean(returns)), len(returns)]

    state = sac.finetune(env, None, None, config, run, seed=seed, evaluate=mean_return)
    env.close()
    return {"curve": state.curve, "gradient_updates": state.updates, "env_steps": config.env_steps}


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every seed against the targets; a control is compared with its arm on the same seed."""
    by_cell = {(cell["arm"], cell["seed"]): cell for cell in cells}
    rows: list[dict[str, Any]] = []
    for (arm, seed), cell in sorted(by_cell.items()):
        of = by_cell.get(({"expo_random_edit": "expo", "wsrl_no_warmup": "wsrl"}.get(arm, ""), seed))
        rows += _rows(arm, f"{arm}, seed {seed}", cell, of, targets)
    return rows


def _rows(
    arm: str, name: str, cell: dict[str, Any], of: dict[str, Any] | None, targets: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of one cell; `of` is the arm that a control belongs to, where it was measured."""
    if arm == "sac_pendulum":
        value, target = cell["curve"][-1][1], targets["pendulum_return"]
        return [row(f"{name}: mean return", value, "return", target=target, ok=value >= target)]
    start, worst, value = cell["curve"][0][1], _worst(cell), cell["final_success"]["value"]
    base = cell.get("base_success", {}).get("value")
    rows: list[dict[str, Any]] = []
    if arm == "rlpd":
        rows.append(share_row(f"{name}: success", value, targets["rlpd"], value >= targets["rlpd"]))
    elif arm == "wsrl":
        rows.append(share_row(f"{name}: success above its start", value, start, value > start, start))
    elif arm == "expo":
        floor = base - targets["expo_dip"]
        rows.append(share_row(f"{name}: success", value, targets["expo"], value >= targets["expo"], base))
        rows.append(share_row(f"{name}: worst point of the curve", worst, floor, worst >= floor, base))
    elif arm == "pa_rl":
        distilled, wanted = cell["distilled_success"]["value"], base + targets["pa_rl_distilled_gain"]
        rows.append(share_row(f"{name}: worst point of the curve above the base", worst, base, worst > base, base))
        rows.append(share_row(f"{name}: distilled base alone", distilled, wanted, distilled >= wanted, base))
    elif arm == "expo_random_edit" and of is not None:
        ours = of["final_success"]["value"]
        rows.append(share_row(f"{name}: success below that of trained edits", value, ours, value < ours, ours))
    elif of is not None:
        ours = _worst(of)
        rows.append(share_row(f"{name}: worst point below that with a warm-up", worst, ours, worst < ours, ours))
    return rows


def _worst(cell: dict[str, Any]) -> float:
    return min(point[1] for point in cell["curve"] if point[0] > 0)
