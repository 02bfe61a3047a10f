"""LeRobotDataset v3 out and in, with lerobot's own loader and its own training command."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="lerobot is not here: make install CONSTRAINTS=constraints/lerobot.txt")

from lerobot.datasets.lerobot_dataset import LeRobotDataset

from policies.data.bench_episodes import CAMERAS, record_episode
from policies.data.bench_episodes import FACTS as FACTS_OF_EPISODE
from policies.data.episodes import open_episodes, read_store
from policies.data.exchange import export, read_in
from robot.bench_store import make_tick
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.images import encode_image
from robot.types import EndReason

TICKS, SIZE = 24, 96
MIN_PSNR_DB = 27.0  # of noisy images through AV1 and JPEG


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    store = EpisodeStore(tmp_path_factory.mktemp("store"))
    for number in range(3):
        record_episode(store, number, ticks=TICKS, size=SIZE)
    return store


@pytest.fixture(scope="module")
def exported(store: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "dataset"
    told = export(store.root, out, "local/test", None, None, (EndReason.SUCCESS,))
    assert (told["episodes"], told["frames"], told["left_out_ticks"], told["left_out_columns"]) == (3, 3 * TICKS, 0, ())
    return out


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def test_lerobots_own_loader_reads_it(store: EpisodeStore, exported: Path) -> None:
    dataset = LeRobotDataset(
        "local/test", root=exported, video_backend="pyav", delta_timestamps={"action": [k / 20 for k in range(4)]}
    )
    assert (dataset.fps, dataset.num_episodes, len(dataset)) == (20, 3, 3 * TICKS)
    item: Any = dataset[TICKS + 5]
    episode = store.load("bench-0001")
    columns = episode.columns
    np.testing.assert_allclose(item["action"], columns["executed_action"][5:9], rtol=1e-6)
    joints = item["observation.state"][:8]
    np.testing.assert_allclose(joints, columns["observation/joint_position"][5], rtol=1e-6)
    assert item["tandem.owner"] == columns["owner"][5] and not item["intervention"] and item["task"] == "peg-insert"
    for camera in CAMERAS:
        image = (item[f"observation.images.{camera}"].numpy().transpose(1, 2, 0) * 255).round()
        assert psnr_db(image, episode.image(camera, 5)) > MIN_PSNR_DB
    last: Any = dataset[2 * TICKS - 1]
    assert last["next.done"] and last["next.success"] and last["action_is_pad"].tolist() == [False, True, True, True]
    stats = dataset.meta.stats["action"]
    every = np.concatenate([store.load(info.episode_id).columns["executed_action"] for info in store.episodes()])
    np.testing.assert_allclose(stats["mean"], every.mean(axis=0), rtol=1e-4)


def test_what_was_exported_comes_back_equal(store: EpisodeStore, exported: Path, tmp_path: Path) -> None:
    infos = list(read_in(exported, tmp_path))
    assert [info.episode_id for info in infos] == [info.episode_id for info in store.episodes()]
    for info in infos:
        ours, theirs = store.load(info.episode_id), EpisodeStore(tmp_path).load(info.episode_id)
        assert set(ours.columns) == set(theirs.columns)
        for name, column in ours.columns.items():
            assert theirs.columns[name].dtype == column.dtype
            np.testing.assert_array_equal(theirs.columns[name], column, err_msg=name)
        assert theirs.end_reason is ours.end_reason and theirs.events == ours.events
        assert {**ours.metadata, "imported_from": "dataset"} == theirs.metadata
        worst = min(psnr_db(ours.image(c, s), theirs.image(c, s)) for c in CAMERAS for s in range(0, TICKS, 5))
        assert worst > MIN_PSNR_DB
    with pytest.raises(Exception, match="is already in"):
        list(read_in(exported, tmp_path))


def test_depth_goes_out_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    recorded = EpisodeStore(tmp_path / "recorded")
    chance = np.random.default_rng(0)
    far = chance.integers(300, 4000, (6, 40, 60)).astype(np.uint16)
    far[:, :5] = 0  # no reading
    writer = recorded.open_episode(FACTS_OF_EPISODE, episode_id="deep")
    for step in range(6):
        colour = np.full((40, 60, 3), 30 * step, np.uint8)
        writer.append(make_tick(step), {"scene": encode_image(colour), "range": encode_image(far[step])})
    writer.close(EndReason.SUCCESS)
    export(recorded.root, tmp_path / "dataset", "local/deep", None, None, (EndReason.SUCCESS,))

    item: Any = LeRobotDataset("local/deep", root=tmp_path / "dataset", video_backend="pyav")[3]
    red, _, missing = item["observation.images.range"].numpy()
    assert np.corrcoef(red[5:].ravel(), far[3, 5:].ravel())[0, 1] > 0.999, "red is a depth image"
    assert (missing[:5] == 1).all() and not missing[5:].any()

    (info,) = read_in(tmp_path / "dataset", tmp_path / "back")
    ours, theirs = recorded.load("deep"), EpisodeStore(tmp_path / "back").load(info.episode_id)
    for step in range(6):
        assert theirs.image("range", step).dtype == np.uint16
        np.testing.assert_array_equal(theirs.image("range", step), ours.image("range", step))
        assert abs(theirs.image("scene", step).astype(int) - 30 * step).max() <= 3


@pytest.mark.slow
def test_lerobots_own_training_command_runs_on_it(exported: Path, tmp_path: Path) -> None:
    """ACT from scratch, two steps; what keeps it small and off the network are the command's own flags."""
    words = [
        *("--dataset.repo_id=local/test", f"--dataset.root={exported}", "--dataset.video_backend=pyav"),
        *("--policy.type=act", "--policy.device=cpu", "--policy.push_to_hub=false", "--wandb.enable=false"),
        *("--policy.pretrained_backbone_weights=null", "--policy.dim_model=64", "--policy.n_heads=2"),
        *("--policy.dim_feedforward=128", "--policy.chunk_size=8", "--policy.n_action_steps=8"),
        *("--steps=2", "--batch_size=2", "--num_workers=0", "--log_freq=1", f"--output_dir={tmp_path / 'run'}"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    command = Path(sys.executable).with_name("lerobot-train")
    ran = subprocess.run([command, *words], env=environment, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert list((tmp_path / "run").rglob("model.safetensors"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset as lerobot writes it, with a video and an image camera and grouped names."""
    root = tmp_path_factory.mktemp("foreign") / "pushing"
    image = {"shape": (64, 96, 3), "names": ["height", "width", "channels"]}
    features = {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
        "action": {"dtype": "float32", "shape": (2,), "names": {"motors": ["u", "v"]}},
        "observation.images.top": {"dtype": "video", **image},
        "observation.images.still": {"dtype": "image", **image},
    }
    dataset = LeRobotDataset.create("local/pushing", 15, features, root=root, video_backend="pyav")
    for episode in range(2):
        for step in range(8 + episode):
            view = np.full((64, 96, 3), 20 * step, np.uint8)
            state = np.array([episode, step, 0.5], np.float32)
            frame = {"observation.state": state, "action": state[:2] / 3, "task": "push the block"}
            dataset.add_frame({**frame, "observation.images.top": view, "observation.images.still": view})
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    return root


def test_a_dataset_written_by_lerobot_comes_in(foreign: Path, tmp_path: Path) -> None:
    infos = list(read_in(foreign, tmp_path))
    assert [(info.steps, info.task, info.cameras) for info in infos] == [
        (8, "push the block", ("still", "top")),
        (9, "push the block", ("still", "top")),
    ]
    episode = EpisodeStore(tmp_path).load(infos[1].episode_id)
    expected = np.stack([np.ones(9), np.arange(9), np.full(9, 0.5)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(episode.columns["observation/state"], expected)
    np.testing.assert_array_equal(episode.columns["executed_action"], (expected[:, :2] / np.float32(3)).astype(float))
    for camera in ("top", "still"):
        assert abs(episode.image(camera, 6).astype(int) - 120).max() <= 3
    demonstrations = read_store(tmp_path)
    assert demonstrations.action_names == ("u", "v") and demonstrations.rate_hz == 15


def test_an_export_never_touches_what_is_there_and_names_a_missing_camera(store: EpisodeStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists; lerobot writes only new folders"):
        export(store.root, tmp_path, "local/test", None, None, (EndReason.SUCCESS,))
    with pytest.raises(ConfigError, match="has no camera 'hand'"):
        export(store.root, tmp_path / "new", "local/test", ("hand",), None, (EndReason.SUCCESS,))
    assert not (tmp_path / "new").exists() and len(open_episodes(store.root).episodes) == 3
