"""Rounds of imitation end to end: every recipe learns from its person, and goes on where it stopped, bit for bit."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from policies.base.behavior_cloning import BehaviorCloning, BehaviorCloningConfig, train_base
from policies.checkpoint import load_policy
from policies.data.demonstrations import Demonstrations, collect_from
from policies.recipes import dagger, hg_dagger, iwr, rac, sirius
from policies.run import Run
from policies.takeovers.shared_control import Watched
from tests.gates.three_gates import ThreeGates, hand, handing_person, recovering_person

RECIPES: dict[str, Any] = {"hg_dagger": hg_dagger, "iwr": iwr, "sirius": sirius, "dagger": dagger, "rac": rac}
STEPS = 200


@cache
def start() -> tuple[Demonstrations, BehaviorCloning]:
    """Return two demonstrations and a clone of them that is caught at walls."""
    world = ThreeGates(touch_ends=True)
    shown = collect_from(world, hand(world), "gates/three-gates", 2, 0)
    small = BehaviorCloningConfig(action_horizon=1, execution_horizon=1, hidden=(16,), steps=100, batch_size=32)
    with TemporaryDirectory() as folder:
        return shown, train_base(shown, small, Run(Path(folder), tensorboard=False), seed=0)[0]


def finetune(name: str, folder: Path, **more: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Run a recipe in its debug settings; return its person and the weights it leaves."""
    shown, base = start()
    world = ThreeGates()
    person: Any = recovering_person(world) if name == "rac" else handing_person(world)
    config = replace(RECIPES[name].PRESETS["debug"], env_steps=STEPS, evaluate_every=0)
    run = Run(folder, tensorboard=False)
    RECIPES[name].finetune(Watched(world, person), base, shown, config, run, seed=0, **more)
    return person, load_policy(run.policy_path).content().tensors  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_learns_from_its_person_and_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    person, whole = finetune(name, tmp_path / "whole")
    assert (person.driven_ticks == STEPS) if name == "dagger" else 0 < person.driven_ticks < STEPS
    before = start()[1].content().tensors
    assert any(not torch.equal(whole[key], before[key]) for key in before)
    finetune(name, tmp_path / "stopped", stop_after=110)
    resumed, weights = finetune(name, tmp_path / "stopped")
    assert resumed.driven_ticks == person.driven_ticks
    assert all(torch.equal(whole[key], weights[key]) for key in whole)
