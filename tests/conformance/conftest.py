"""Demonstrations and a base for the parts that learn, from a world that needs no physics."""

from pathlib import Path
from typing import Any

import pytest

from policies.data.demonstrations import Demonstrations, collect_from
from tests.gates.blocked_peg import BlockedPeg, BlockedPegExpert


@pytest.fixture(scope="session")
def demonstrations() -> Demonstrations:
    return collect_from(BlockedPeg(), BlockedPegExpert(), "gates/blocked-peg", 4, seed=0)


@pytest.fixture(scope="session")
def cloned_base(demonstrations: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cloned policy's file, for the recipes."""
    from policies.base import behavior_cloning

    return _trained(behavior_cloning, demonstrations, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def noisy_base(demonstrations: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small flow policy's file, for the recipes that steer a base by its noise."""
    from policies.base import flow

    return _trained(flow, demonstrations, tmp_path_factory.mktemp("noisy-base"))


def _trained(family: Any, demonstrations: Demonstrations, folder: Path) -> Path:
    from policies.run import Run

    run = Run(folder, tensorboard=False)
    family.train_base(demonstrations, family.PRESETS["debug"], run, seed=0)
    return run.policy_path
