"""Fixtures of the learning tests: demonstrations of the blocked peg and a small base cloned from them."""

import pytest
import torch

from policies.base.behavior_cloning import BehaviorCloning, train_base
from policies.data.demonstrations import Demonstrations, collect_from
from policies.run import Run
from tests.gates.blocked_peg import BlockedPeg, BlockedPegExpert
from tests.policies.rig import TINY_BASE


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demonstrations() -> Demonstrations:
    return collect_from(BlockedPeg(), BlockedPegExpert(), "gates/blocked-peg", 12, seed=0)


@pytest.fixture(scope="session")
def base(demonstrations: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> BehaviorCloning:
    policy, _ = train_base(demonstrations, TINY_BASE, Run(tmp_path_factory.mktemp("base"), tensorboard=False), seed=0)
    return policy
