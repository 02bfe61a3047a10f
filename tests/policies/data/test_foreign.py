"""Data of other projects come in whole, can be trained on, and are refused by the name of what does not fit."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
import zarr.storage

from policies.data.chunks import ChunkDataset
from policies.data.episodes import read_store
from policies.data.exchange import read_in
from policies.data.foreign import ForeignEpisode, ImportRules, import_episodes
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.specs import load_station
from robot.types import EndReason, Owner
from tests.policies.data.foreign_files import STEPS, write_replay_buffer, write_robomimic

STATION = load_station("fr3_sim")


def test_robomimic_demonstrations_come_in_whole(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    arrays = write_robomimic(tmp_path / "lift.hdf5")
    infos = list(read_in(tmp_path / "lift.hdf5", tmp_path / "store"))
    assert [(info.steps, info.end_reason, info.task, info.cameras) for info in infos] == [
        (STEPS[0], EndReason.SUCCESS, "Lift", ("agentview",)),
        (STEPS[1], EndReason.FAILURE, "Lift", ("agentview",)),
    ]
    episode = EpisodeStore(tmp_path / "store").load(infos[0].episode_id)
    table = episode.columns
    np.testing.assert_array_equal(table["executed_action"], arrays["actions"])
    np.testing.assert_array_equal(table["observation/robot0_eef_pos"], arrays["obs/robot0_eef_pos"])
    np.testing.assert_array_equal(table["reward_task"], arrays["rewards"])
    assert table["terminated"].tolist() == [False] * 6 + [True] and set(table["owner"]) == {Owner.HUMAN}
    np.testing.assert_array_equal(np.diff(table["tick_time_ns"]), 50_000_000)
    assert abs(episode.image("agentview", 4).astype(int) - arrays["obs/agentview_image"][4]).max() <= 2
    demonstrations = read_store(tmp_path / "store")
    assert demonstrations.ticks == STEPS[0] and demonstrations.rate_hz == 20 and len(demonstrations.action_names) == 7
    assert ChunkDataset.cut(demonstrations.trajectories, 4).states.shape == (7, 5)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_replay_buffer_comes_in_whole(tmp_path: Path, zarr_format: int, zipped: bool) -> None:
    source = tmp_path / "push.zarr"
    arrays = write_replay_buffer(source, zarr_format)
    if zipped:
        source = Path(shutil.make_archive(str(source), "zip", source))
    infos = list(read_in(source, tmp_path / "store", rate_hz=10.0, task="push-t"))
    assert [(info.steps, info.task, info.cameras, info.end_reason) for info in infos] == [
        (steps, "push-t", ("img",), EndReason.SUCCESS) for steps in STEPS
    ]
    assert infos[1].metadata["outcome_from"] == "assumed"
    second = EpisodeStore(tmp_path / "store").load(infos[1].episode_id)
    np.testing.assert_array_equal(second.columns["executed_action"], arrays["action"][7:])
    np.testing.assert_array_equal(second.columns["observation/keypoint"], arrays["keypoint"][7:])
    assert abs(second.image("img", 3).astype(int) - 200).max() <= 2
    both = read_store(tmp_path / "store")
    np.testing.assert_array_equal(both.action_high, arrays["action"].max(axis=0))  # of all episodes, not of the first
    assert both.rate_hz == 10


def foreign(**changes: object) -> ForeignEpisode:
    steps = 6
    given = ForeignEpisode(
        name="one",
        observation={"joint_position": np.zeros((steps, 8))},
        action=np.ones((steps, 4)),
        action_names=STATION.action_names,
        rate_hz=20.0,
        task="peg",
        images={name: lambda step: np.zeros((8, 8, 3), np.uint8) for name in ("scene", "wrist")},
    )
    return replace(given, **changes)


def spoilt(value: float) -> np.ndarray:
    array = np.ones((6, 4))
    array[3, 1] = value
    return array


ON_STATION = ImportRules(STATION, source="file")
WRONG: dict[str, tuple[ForeignEpisode, str]] = {
    "missing camera": (
        foreign(images={"scene": lambda step: np.zeros((8, 8, 3), np.uint8)}),
        "no images of camera wrist, which station fr3_sim has; given: scene",
    ),
    "other rate": (foreign(rate_hz=30.0), "rate is 30 Hz, station fr3_sim runs at 20 Hz"),
    "swapped joints": (
        foreign(action_names=(*STATION.action_names[1::-1], *STATION.action_names[2:])),
        "action is tcp_y, tcp_x, tcp_z.*station fr3_sim has tcp_x, tcp_y, tcp_z",
    ),
    "too few dimensions": (foreign(action=np.ones((6, 3)), action_names=()), "action is action_0, action_1, action_2;"),
    "nan in an action": (foreign(action=spoilt(np.nan)), r"action is not finite at step 3 \(1 of 6 steps\)"),
    "infinity": (foreign(action=spoilt(np.inf)), "action is not finite at step 3"),
    "nan in the state": (foreign(observation={"state": spoilt(np.nan)}), "state is not finite at step 3"),
    "cut off": (foreign(observation={"state": np.ones((5, 2))}), "state has 5 rows, action has 6"),
    "text": (foreign(observation={"state": np.array(["a"] * 6)}), "state is <U1; expected numbers"),
    "float images": (
        foreign(images={name: lambda step: np.zeros((8, 8, 3)) for name in ("scene", "wrist")}),
        r"scene is float64 \(8, 8, 3\); expected uint8",
    ),
    "no step": (foreign(action=np.ones((0, 4))), r"action has shape \(0, 4\)"),
    "no rate": (foreign(rate_hz=float("nan")), "rate is nan Hz"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path, what: str) -> None:
    episode, message = WRONG[what]
    store = EpisodeStore(tmp_path)
    with pytest.raises(ConfigError, match=f"file, one: {message}"):
        list(import_episodes(store, iter([episode]), ON_STATION))
    assert store.episodes() == [] and not list((tmp_path / "open").iterdir())


def test_what_fits_the_station_gets_its_names_and_limits(tmp_path: Path) -> None:
    (info,) = import_episodes(EpisodeStore(tmp_path), iter([foreign()]), ON_STATION)
    assert info.station == "fr3_sim" and info.end_reason is EndReason.SUCCESS
    demonstrations = read_store(tmp_path)
    np.testing.assert_array_equal(demonstrations.action_high, STATION.action_high)


def test_a_source_that_breaks_off_is_kept_as_discarded(tmp_path: Path) -> None:
    def breaks(step: int) -> np.ndarray:
        if step == 4:
            raise ConfigError("video cut off at frame 4")
        return np.zeros((8, 8, 3), np.uint8)

    store = EpisodeStore(tmp_path)
    with pytest.raises(ConfigError, match="cut off at frame 4"):
        list(import_episodes(store, iter([foreign(images={"scene": breaks, "wrist": breaks})]), ON_STATION))
    (info,) = store.episodes()
    assert info.is_discarded and info.steps == 4 and info.end_reason is EndReason.CRASH


def remove(name: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        root = zarr.open_group(path, mode="r+")
        del root[name]

    return act


def ends(*values: int) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        root = zarr.open_group(path, mode="r+")
        root.create_array("meta/episode_ends", data=np.array(values), overwrite=True)

    return act


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("data/action"), "data has no 'action'"),
        (remove("meta/episode_ends"), "there is no array 'meta/episode_ends'"),
        (ends(7, 13), "meta/episode_ends must rise to 12"),
        (ends(7, 7, 12), "meta/episode_ends must rise to 12"),
        (ends(9, 5, 12), "meta/episode_ends must rise to 12"),
        (ends(-1, 12), "meta/episode_ends must rise to 12"),
    ],
)
def test_a_damaged_replay_buffer_is_refused(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    write_replay_buffer(tmp_path / "push.zarr")
    damage(tmp_path / "push.zarr")
    with pytest.raises(ConfigError, match=message):
        list(read_in(tmp_path / "push.zarr", tmp_path / "store", rate_hz=10.0))


def test_a_format_without_a_rate_asks_for_it_and_an_unknown_one_says_what_can_be_read(tmp_path: Path) -> None:
    write_replay_buffer(tmp_path / "push.zarr")
    with pytest.raises(ConfigError, match="give --rate-hz"):
        list(read_in(tmp_path / "push.zarr", tmp_path / "store"))
    (tmp_path / "data.npz").touch()
    with pytest.raises(ConfigError, match=r"not recognised; readable: a LeRobotDataset v3.*\*.hdf5"):
        list(read_in(tmp_path / "data.npz", tmp_path / "store"))
    with pytest.raises(ConfigError, match="does not exist"):
        list(read_in(tmp_path / "absent", tmp_path / "store"))
