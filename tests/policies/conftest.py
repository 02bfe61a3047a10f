"""Fixtures of the learning tests: demonstrations of the blocked peg and a small base cloned from them."""

from types import ModuleType

import pytest
import torch

from policies.base.behavior_cloning import BehaviorCloning, train_base
from policies.data.demonstrations import Demonstrations, collect_from
from policies.run import Run
from robot import worlds
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


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the blocked peg as the environment `gates/blocked-peg`."""
    suite = ModuleType("blocked_peg_suite")
    suite.make_env = lambda name, **options: BlockedPeg(**options)  # type: ignore[attr-defined]
    suite.make_expert = lambda name, **knobs: BlockedPegExpert(**knobs)  # type: ignore[attr-defined]
    suite.names = lambda: ["blocked-peg"]  # type: ignore[attr-defined]
    original = worlds._suite
    name = "gates/blocked-peg"
    monkeypatch.setattr(worlds, "_suite", lambda given: (suite, "blocked-peg") if given == name else original(given))
