"""Every registered recipe: improves a base in a world on the one loop, resumes, and leaves a policy with its base."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from policies.checkpoint import load_module, load_policy, read_content
from policies.data.demonstrations import Demonstrations
from policies.evaluation import roll_out
from policies.run import Run
from policies.takeovers.shared_control import Watched
from policies.training import LoopState
from sim.people.judges import DisagreementJudge
from sim.people.recovering import Backtrack, RecoveringPerson, Way
from sim.people.scripted import Faults, FaultyHand, ScriptedPerson, Timing
from tests.conformance.registered import names
from tests.gates.blocked_peg import BlockedPeg, BlockedPegExpert


@pytest.fixture(params=names("tandem.recipes"), scope="module")
def module(request: pytest.FixtureRequest) -> ModuleType:
    torch.set_num_threads(1)
    return load_module("recipe", request.param, "tandem.recipes")


@pytest.fixture
def base(module: ModuleType, request: pytest.FixtureRequest) -> Path:
    """The file of a base that the recipe takes."""
    needs_noise = getattr(module, "NEEDS_NOISE", False)
    return request.getfixturevalue("noisy_base" if needs_noise else "cloned_base")


def peg_person() -> ScriptedPerson:
    """A person who takes over where the peg is moved unlike the expert moves it, and now and then for nothing."""
    judge = DisagreementJudge(BlockedPegExpert(noise=0.0).act, np.ones(3), threshold=1.0, hit=0.95)
    hand = FaultyHand(BlockedPegExpert(), Faults(noise=0.1), -np.ones(3), np.ones(3))
    return ScriptedPerson(hand, judge, Timing(reaction=1, tiring=0.1, early_release=0.1))


def recovering(person: ScriptedPerson) -> RecoveringPerson:
    """The same person, who goes back first and ends the episode after correcting."""
    way = Way(Backtrack(is_absolute=False, has_gripper=False), person.hand, lambda _: False, lambda *_: False)
    return RecoveringPerson(way, person.judge, patience=3, longest_correction=5)


def tune(
    module: ModuleType, base: Path, demonstrations: Demonstrations, folder: Path, stop_after: int | None = None
) -> tuple[Run, LoopState]:
    run = Run(folder, tensorboard=False)
    base_policy: Any = load_policy(base)
    world: Any = BlockedPeg()
    if getattr(module, "NEEDS_PERSON", False):
        person = peg_person()
        world = Watched(world, recovering(person) if getattr(module, "PERSON", "") == "recovering" else person)
    state = module.finetune(
        world,
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
    needs_base = getattr(module, "NEEDS_BASE", True) and not getattr(module, "RETRAINS_BASE", False)
    assert bool(read_content(whole.policy_path).parts) == needs_base, "a policy on top of a base brings it"
    for stop_after in (2, state.iterations // 2, None):
        torch.manual_seed(stop_after or 0)
        parts, _ = tune(module, base, demonstrations, tmp_path / "parts", stop_after)
    assert read_content(parts.policy_path).sha256 == read_content(whole.policy_path).sha256
