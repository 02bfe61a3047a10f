"""LeRobot datasets with damage: refused in one line that names the part, or read as they were."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lerobot", reason="lerobot is not here: make install CONSTRAINTS=constraints/lerobot.txt")

import pyarrow.parquet as parquet

from policies.data.bench_episodes import CAMERAS, record_episode
from policies.data.exchange import export, read_in
from policies.data.lerobot_facts import FACTS
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, RobotError
from robot.types import EndReason
from tests.policies.data.damaging import damaged, outcome

TICKS, SIZE = 12, 64
Content = list[tuple[int, dict[str, bytes], dict[str, list[bytes]]]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    store = EpisodeStore(folder / "store")
    for number in range(3):
        record_episode(store, number, ticks=TICKS, size=SIZE)
    export(store.root, folder / "dataset", "local/test", None, None, (EndReason.SUCCESS,))
    return folder / "dataset"


@pytest.fixture
def ours(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "dataset")


@pytest.fixture
def foreign(ours: Path) -> Path:
    """The same as anybody's dataset, without what we wrote beside it."""
    (ours / FACTS).unlink()
    return ours


def content(root: Path, into: Path) -> Content:
    """Import a dataset into a store of its own and return all that came in."""
    shutil.rmtree(into, ignore_errors=True)
    infos = list(read_in(root, into))
    episodes = [EpisodeStore(into).load(info.episode_id) for info in infos]
    return [
        (
            len(episode),
            {name: column.tobytes() for name, column in episode.columns.items()},
            {camera: [episode.image_bytes(camera, row) for row in range(len(episode))] for camera in CAMERAS},
        )
        for episode in episodes
    ]


def files_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.slow
def test_an_export_comes_back_as_it_was_or_not_at_all(ours: Path, tmp_path: Path) -> None:
    whole = content(ours, tmp_path / "store")
    refused = 0
    for is_changed in damaged(files_of(ours), 200, seed=0):
        found = outcome(lambda: content(ours, tmp_path / "store"))
        refused += isinstance(found, RobotError)
        assert isinstance(found, RobotError) if is_changed else found == whole
    assert refused > 190


@pytest.mark.slow
def test_a_foreign_table_is_read_as_it_was_or_refused(foreign: Path, tmp_path: Path) -> None:
    """Damage inside of the coded pixels of a video can pass unseen: the format has nothing to hold it against."""
    whole = content(foreign, tmp_path / "store")
    refused = 0
    for _ in damaged([path for path in files_of(foreign) if path.suffix == ".parquet"], 60, seed=1):
        found = outcome(lambda: content(foreign, tmp_path / "store"))
        refused += isinstance(found, RobotError)
        assert isinstance(found, RobotError) or [part[:2] for part in found] == [part[:2] for part in whole]
    for _ in damaged([path for path in files_of(foreign) if path.suffix == ".mp4"], 40, seed=2):
        found = outcome(lambda: content(foreign, tmp_path / "store"))
        assert isinstance(found, RobotError) or [part[:2] for part in found] == [part[:2] for part in whole]
    assert refused > 20


def rewrite(root: Path, name: str, change: Callable[[dict[str, list[Any]]], None]) -> None:
    """Change columns of the only parquet file that fits the name."""
    (path,) = root.glob(name)
    table = parquet.read_table(path)
    columns = table.to_pydict()
    change(columns)
    parquet.write_table(type(table).from_pydict(columns, schema=table.schema), path)


def edit_info(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        path = root / "meta" / "info.json"
        facts = json.loads(path.read_text())
        change(facts)
        path.write_text(json.dumps(facts))

    return act


def in_table(change: Callable[[dict[str, list[Any]]], None]) -> Callable[[Path], None]:
    return lambda root: rewrite(root, "data/*/*.parquet", change)


def in_episodes(change: Callable[[dict[str, list[Any]]], None]) -> Callable[[Path], None]:
    return lambda root: rewrite(root, "meta/episodes/*/*.parquet", change)


def cut(name: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        (path,) = root.glob(name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return act


def video_of_fewer_episodes(root: Path) -> None:
    store = EpisodeStore(root.parent / "shorter")
    for number in range(2):
        record_episode(store, number, ticks=TICKS, size=SIZE)
    other = root.parent / "other"
    export(store.root, other, "local/other", None, None, (EndReason.SUCCESS,))
    for path in other.rglob("*.mp4"):
        shutil.copy(path, root / path.relative_to(other))


def nan_action(columns: dict[str, list[Any]]) -> None:
    columns["action"][5] = [float("nan")] * len(columns["action"][5])


def other_action(columns: dict[str, list[Any]]) -> None:
    columns["action"][TICKS + 3][0] += 0.1


FOREIGN_DAMAGE = {
    "video cut off": (
        cut("videos/*scene/*/*.mp4"),
        r"observation.images.scene has .* \(17, 20.0, 64, 64\), expected \(36,",
    ),
    "table cut off": (cut("data/*/*.parquet"), "lerobot cannot open it"),
    "episodes cut off": (cut("meta/episodes/*/*.parquet"), "lerobot cannot open it"),
    "info cut off": (cut("meta/info.json"), "info.json cannot be read"),
    "other version": (edit_info(lambda info: info.update(codebase_version="v2.1")), "v2.1; v3.0 is read here"),
    "other rate": (edit_info(lambda info: info.update(fps=30)), "timestamp does not count its 12 frames at 30"),
    "no rate": (edit_info(lambda info: info.pop("fps")), "info.json cannot be read .*fps"),
    "rate of words": (edit_info(lambda info: info.update(fps="fast")), "fps is 'fast'; expected frames per second"),
    "no action": (edit_info(lambda info: info["features"].pop("action")), "lerobot cannot open it"),
    "no camera": (
        edit_info(lambda info: info["features"].pop("observation.images.scene")),
        "agree on observation.images.scene",
    ),
    "other image size": (
        edit_info(lambda info: info["features"]["observation.images.scene"].update(shape=[32, 64, 3])),
        "observation.images.scene has",
    ),
    "NaN in actions": (in_table(nan_action), "of action is .*nan"),
    "another action": (in_table(other_action), "mean of action is|max of action is|min of action is"),
    "a frame counted twice": (
        in_table(lambda columns: columns["frame_index"].__setitem__(4, 3)),
        "frame_index does not count",
    ),
    "lengths": (in_episodes(lambda columns: columns["length"].__setitem__(1, 9)), "number of frames|length 9"),
    "rows": (
        in_episodes(lambda columns: columns["dataset_from_index"].__setitem__(1, 3)),
        "meta/episodes has rows 3 to 24",
    ),
    "video begins elsewhere": (
        in_episodes(lambda columns: columns["videos/observation.images.wrist/from_timestamp"].__setitem__(2, 0.5)),
        "observation.images.wrist begins at frame 10",
    ),
    "videos of another dataset": (video_of_fewer_episodes, r"has \(frames, rate, height, width\) \(24,"),
}


@pytest.mark.parametrize("name", FOREIGN_DAMAGE)
def test_a_foreign_dataset_that_contradicts_itself_is_refused(foreign: Path, tmp_path: Path, name: str) -> None:
    damage, message = FOREIGN_DAMAGE[name]
    damage(foreign)
    with pytest.raises(ConfigError, match=message):
        list(read_in(foreign, tmp_path / "imported"))
    assert not [info for info in EpisodeStore(tmp_path / "imported").episodes() if not info.is_discarded]


def test_an_export_that_was_edited_is_refused_by_the_name_of_the_file(ours: Path, tmp_path: Path) -> None:
    scene, wrist = (next(ours.glob(f"videos/*{camera}/*/*.mp4")) for camera in CAMERAS)
    whole, other = scene.read_bytes(), wrist.read_bytes()
    scene.write_bytes(other)
    with pytest.raises(ConfigError, match=f"{scene.name} is not what was exported; .* remove meta/tandem.json"):
        list(read_in(ours, tmp_path / "store"))
    scene.unlink()
    with pytest.raises(ConfigError, match=f"{scene.name} is missing"):
        list(read_in(ours, tmp_path / "store"))
    scene.write_bytes(whole)
    facts = json.loads((ours / FACTS).read_text())
    facts["episodes"][0]["end_reason"] = "failure"
    (ours / FACTS).write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"tandem\.json is not what was written"):
        list(read_in(ours, tmp_path / "store"))
