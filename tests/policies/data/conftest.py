"""A small store with images, recorded once and copied for every test."""

import shutil
from pathlib import Path

import pytest

from policies.data.bench_episodes import record_episode
from robot.episode_store import EpisodeStore

SIZE, TICKS, EPISODES = 32, 6, 4


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = EpisodeStore(tmp_path_factory.mktemp("recorded"))
    for number in range(EPISODES):
        record_episode(store, number, ticks=TICKS, size=SIZE)
    return store.root


@pytest.fixture
def store(recorded: Path, tmp_path: Path) -> EpisodeStore:
    """Four episodes of six ticks, `bench-0000` to `bench-0003`, each with two cameras."""
    shutil.copytree(recorded, tmp_path / "store")
    return EpisodeStore(tmp_path / "store")
