"""Demonstrations and a base for the parts that learn, from a world that needs no physics."""

from pathlib import Path

import pytest

from policies.data.demonstrations import Demonstrations, collect_from
from tests.gates.blocked_peg import BlockedPeg, BlockedPegExpert


@pytest.fixture(scope="session")
def demonstrations() -> Demonstrations:
    return collect_from(BlockedPeg(), BlockedPegExpert(), "gates/blocked-peg", 4, seed=0)


@pytest.fixture(scope="session")
def cloned_base(demonstrations: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cloned policy's file, for the recipes."""
    from policies.base.behavior_cloning import PRESETS, train_base
    from policies.run import Run

    run = Run(tmp_path_factory.mktemp("base"), tensorboard=False)
    train_base(demonstrations, PRESETS["debug"], run, seed=0)
    return run.policy_path
