"""Every registered recipe: improves a base in a world on the one loop, resumes, and leaves a policy with its base."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from policies.checkpoint import load_module, load_policy, read_content
from policies.data.demonstrations import Demonstrations
from policies.evaluation import roll_out
from policies.run import Run
from policies.training import LoopState
from tests.conformance.registered import names
from tests.gates.blocked_peg import BlockedPeg


@pytest.fixture(params=names("tandem.recipes"), scope="module")
def module(request: pytest.FixtureRequest) -> ModuleType:
    torch.set_num_threads(1)
    return load_module("recipe", request.param, "tandem.recipes")


@pytest.fixture
def base(module: ModuleType, request: pytest.FixtureRequest) -> Path:
    """The file of a base that the recipe takes."""
    needs_noise = getattr(module, "NEEDS_NOISE", False)
    return request.getfixturevalue("noisy_base" if needs_noise else "cloned_base")


def tune(
    module: ModuleType, base: Path, demonstrations: Demonstrations, folder: Path, stop_after: int | None = None
) -> tuple[Run, LoopState]:
    run = Run(folder, tensorboard=False)
    base_policy: Any = load_policy(base)
    state = module.finetune(
        BlockedPeg(),
        base_policy,
        demonstrations,
        module.PRESETS["debug"],
        run,
        seed=0,
        evaluate=lambda step, path: [step, float(path.is_file()), 1],
        stop_after=stop_after,
    )
    return run, state


def test_it_tunes_resumes_and_leaves_a_policy(
    module: ModuleType, base: Path, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    preset = module.PRESETS["debug"]
    whole, state = tune(module, base, demonstrations, tmp_path / "whole")
    assert state.updates > 0
    assert state.curve[0][0] == 0, "the untouched base is the first point"
    assert state.curve[-1][0] == preset.env_steps
    policy = load_policy(whole.policy_path)
    assert policy.spec.action_names == load_policy(base).spec.action_names
    assert roll_out(BlockedPeg(), policy, 0).steps > 0
    needs_base = getattr(module, "NEEDS_BASE", True)
    assert bool(read_content(whole.policy_path).parts) == needs_base, "a policy on top of a base brings it"
    for stop_after in (2, state.iterations // 2, None):
        torch.manual_seed(stop_after or 0)
        parts, _ = tune(module, base, demonstrations, tmp_path / "parts", stop_after)
    assert read_content(parts.policy_path).sha256 == read_content(whole.policy_path).sha256
