"""Every registered base policy: trained on the one loop, resumed, saved, loaded without its configuration."""

from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from policies.checkpoint import load_module, load_policy, read_content, restore_policy
from policies.data.demonstrations import Demonstrations
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from robot import preflight
from robot.errors import CheckpointMismatch
from robot.policy import Policy
from tests.conformance.registered import names
from tests.gates.blocked_peg import BlockedPeg

STEPS = 12


@pytest.fixture(params=names("tandem.bases"), scope="module")
def module(request: pytest.FixtureRequest) -> ModuleType:
    torch.set_num_threads(1)
    return load_module("base policy", request.param, "tandem.bases")


def few_steps(module: ModuleType) -> Any:
    preset = module.PRESETS["debug"]
    return replace(preset, steps=STEPS) if "steps" in {field.name for field in fields(preset)} else preset


@pytest.fixture(scope="module")
def trained(module: ModuleType, demonstrations: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("trained"), tensorboard=False)
    module.train_base(demonstrations, few_steps(module), run, seed=0)
    return run


def test_it_has_presets_that_train_and_one_to_try(module: ModuleType) -> None:
    assert {"cpu", "debug"} <= module.PRESETS.keys()


def test_its_file_makes_a_policy_that_answers_and_repeats(trained: Run) -> None:
    first, second = load_policy(trained.policy_path), load_policy(trained.folder)
    assert isinstance(first, Policy)
    env = BlockedPeg()
    lines = preflight.compare(first.spec, env.interface)
    preflight.check(lines, "the world it was trained in")
    observation, _ = env.reset(seed=0)
    chunks = []
    for policy in (first, second):
        policy.reset()
        chunks.append(policy.act(observation))
    low, high = env.action_space.low.astype(float), env.action_space.high.astype(float)
    preflight.check_chunk(chunks[0], first.spec, low, high)
    assert chunks[0].actions.shape == (first.spec.action_horizon, len(first.spec.action_names))
    assert chunks[0].actions.dtype == np.float64
    np.testing.assert_array_equal(chunks[0].actions, chunks[1].actions, err_msg="two loads answer alike")


def test_evaluations_see_the_policy_of_their_step(
    module: ModuleType, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    run, seen = Run(tmp_path, tensorboard=False), []

    def evaluate(step: int, path: Path) -> list[float]:
        load_policy(path)
        seen.append(step)
        return [step, 0.5, 2]

    _, state = module.train_base(
        demonstrations, few_steps(module), run, seed=0, evaluate=evaluate, evaluate_every=STEPS // 2
    )
    assert seen == [0, STEPS // 2, STEPS]
    assert [point[0] for point in state.curve] == seen
    assert run.best_path.is_file()


def test_interrupted_and_resumed_equals_uninterrupted(
    module: ModuleType, demonstrations: Demonstrations, trained: Run, tmp_path: Path
) -> None:
    parts = Run(tmp_path, tensorboard=False)
    for stop_after in (1, 7, None):
        torch.manual_seed(stop_after or 0)  # the global generators must not matter
        module.train_base(demonstrations, few_steps(module), parts, seed=0, stop_after=stop_after)
    states = [read_tree(run.state_path) for run in (trained, parts)]
    for state in states:
        state["loop"].pop("wall_s")
    assert tree_hash(states[0]) == tree_hash(states[1])
    assert read_content(parts.policy_path).sha256 == read_content(trained.policy_path).sha256


def test_other_tensors_are_refused(trained: Run) -> None:
    content = read_content(trained.policy_path)
    name = max(content.tensors, key=lambda key: content.tensors[key].numel())
    wrong = {**content.tensors, name: torch.zeros(3, 3, 3, 3)}
    with pytest.raises(CheckpointMismatch, match="expected"):
        restore_policy(replace(content, tensors=wrong))
