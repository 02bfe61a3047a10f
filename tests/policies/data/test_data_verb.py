"""`tandem data`: look, sort, split and merge, and nothing recorded is lost or changed."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from policies.data.bench_episodes import FACTS, record_episode
from policies.data.episodes import open_episodes, read_store
from policies.data.score import robust_z
from policies.data.verb import VERB
from robot.bench_store import make_tick
from robot.curation import copy_episodes, read_flags
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, StoreError
from robot.outcome_labels import AS_RECORDED, add_label
from robot.types import EndReason
from robot.verb import run_verb


def tandem(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert run_verb(VERB, "data", [str(word) for word in words], as_json=True) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def reach(
    store: EpisodeStore, name: str, *, steps: int = 40, shake: float = 0.0, wait: int = 0, end: float = 0.3
) -> None:
    """Record a straight, smooth reach with a shaking hand, a pause in its middle, or another end."""
    chance = np.random.default_rng(len(name))
    share = (1 - np.cos(np.linspace(0, np.pi, steps))) / 2
    path = np.insert(share, steps // 2, [share[steps // 2]] * wait)
    writer = store.open_episode(FACTS, episode_id=name)
    for step, part in enumerate(path):
        action = np.array([0.5, end * part, 0.2, 0.02]) + shake * chance.normal(size=4)
        tick = make_tick(step)
        seen = dict(tick.observation) | {"tcp_position": action[:3]}
        writer.append(replace(tick, executed_action=action, observation=seen))
    writer.close(EndReason.SUCCESS)


def test_listing_tells_of_flags_and_dropped_episodes(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    root = store.root
    before = {info.episode_id: info.content_sha256 for info in store.episodes()}
    tandem(capsys, "flag", root, "--episodes", "bench-0001", "bench-0002", "--note", "blurred lens")
    tandem(capsys, "flag", root, "--episodes", "bench-0002", "--clear")
    moved = tandem(capsys, "drop", root, "--episodes", "bench-0003")["moved"]
    assert moved == [str(root / "dropped" / "bench-0003.zarr")]
    listed = tandem(capsys, "list", root)
    assert [(row["id"], row["flag"]) for row in listed["episodes"]] == [
        ("bench-0000", None),
        ("bench-0001", "blurred lens"),
        ("bench-0002", None),
    ]
    assert listed["dropped"] == ["bench-0003"]
    assert read_store(root).tried == 2  # training sees neither the flagged nor the dropped one
    tandem(capsys, "drop", root, "--episodes", "bench-0003", "--restore")
    assert {info.episode_id: info.content_sha256 for info in store.episodes()} == before
    assert read_store(root).tried == 3


def test_training_and_the_list_go_by_the_label_given_afterwards(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [info.episode_id for info in store.episodes()]
    add_label(store.root, ids[0], "failure", "test")
    add_label(store.root, ids[1], "discard", "test")
    chosen = open_episodes(store.root)
    assert [episode.info.episode_id for episode in chosen.episodes] == ids[2:] and chosen.tried == 3
    listed = tandem(capsys, "list", store.root)["episodes"]
    assert [row.get("label") for row in listed] == ["failure", "discard", None, None]
    add_label(store.root, ids[0], AS_RECORDED, "test")
    assert len(open_episodes(store.root).episodes) == 3


def test_contact_sheets_show_every_camera(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = tandem(capsys, "browse", store.root, "--episodes", "bench-0000")["pictures"]
    sheet, plot = (cv2.imread(path) for path in pictures)
    assert sheet.shape == (2 * 128, 6 * 128, 3)  # two cameras, six steps
    first = cv2.resize(store.load("bench-0000").image("scene", 0)[..., ::-1], (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(sheet[40:128, :128].astype(int) - first[40:]).mean() < 6
    assert plot.std() > 10


def test_what_stands_out_is_found_and_flagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = EpisodeStore(tmp_path)
    for number in range(6):
        reach(store, f"good-{number}", steps=38 + number % 4, end=0.3 + 0.002 * number)
    reach(store, "shaky", shake=0.01)
    reach(store, "waits", wait=30)
    reach(store, "elsewhere", end=0.1)
    reach(store, "short", steps=9)
    scores = {item["episode_id"]: item for item in tandem(capsys, "score", tmp_path, "--flag")["scores"]}
    assert "jerk" in scores["shaky"]["remarks"] and scores["shaky"]["jerk"] > 5 * scores["good-0"]["jerk"]
    assert {"still", "long"} <= set(scores["waits"]["remarks"]) and scores["waits"]["still"] > 0.4
    assert "end" in scores["elsewhere"]["remarks"] and scores["elsewhere"]["end_distance"] > 20
    assert "short" in scores["short"]["remarks"]
    assert not [name for name, item in scores.items() if name.startswith("good") and item["remarks"]]
    assert set(read_flags(tmp_path)) == {"shaky", "waits", "elsewhere", "short"}
    assert read_flags(tmp_path)["elsewhere"].note.startswith("score: ")


def test_robust_z_is_the_modified_z_score() -> None:
    np.testing.assert_allclose(robust_z([1.0, 2.0, 3.0, 4.0, 100.0]), 0.6745 * np.array([-2, -1, 0, 1, 97]))
    assert (robust_z([5.0] * 4) == 0).all()


def test_split_and_merge_keep_every_episode_as_it_is(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = store.root, store.root.parent / "split"
    told = tandem(capsys, "split", root, "--out", out, "--share", "0.75", "--seed", "1")
    assert (told["first"], told["second"]) == (3, 1)
    parts = [{info.episode_id for info in EpisodeStore(out / part).episodes()} for part in ("first", "second")]
    assert parts[0].isdisjoint(parts[1]) and len(parts[0] | parts[1]) == 4
    again = tandem(capsys, "merge", out / "first", out / "second", root, "--out", out / "all")
    assert again["copied"] == 4 and again["store_sha256"] == store.content_hash()
    for info in EpisodeStore(out / "all").episodes():
        EpisodeStore(out / "all").load(info.episode_id).verify()


def test_an_episode_of_the_same_name_and_other_content_is_never_replaced(store: EpisodeStore, tmp_path: Path) -> None:
    other = EpisodeStore(tmp_path / "other")
    record_episode(other, 0, ticks=3, size=32)
    kept = other.content_hash()
    with pytest.raises(StoreError, match=r"bench-0000\.zarr is there already and differs"):
        copy_episodes(store, other, ["bench-0001", "bench-0000"])
    assert {info.episode_id: info.steps for info in other.episodes()} == {"bench-0000": 3, "bench-0001": 6}
    assert other.content_hash(["bench-0000"]) == kept


WRONG = {
    "flag {store}": "name the episodes: --episodes ID",
    "drop {store} --episodes bench-0009": "unknown episode 'bench-0009': did you mean 'bench-0003'",
    "drop {store} --episodes bench-0001 --restore": "unknown dropped episode 'bench-0001'",
    "split {store} --share 1": "--share is 1.0; it must lie between 0 and 1",
    "list {store}/nowhere": "nowhere is no episode store",
    "lst {store}": "list",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_use_is_one_clear_line(store: EpisodeStore, words: str) -> None:
    before = store.content_hash()
    with pytest.raises(ConfigError, match=re.escape(WRONG[words])):
        run_verb(VERB, "data", words.format(store=store.root).split(), as_json=False)
    assert store.content_hash() == before


def test_a_damaged_line_of_the_flags_is_named(store: EpisodeStore) -> None:
    (store.root / "flags.jsonl").write_text('{"episode_id": "a", "note": "", "time_ns": 1, "is_set": true}\nnonsense\n')
    with pytest.raises(StoreError, match=r"flags\.jsonl, line 2 is not a flag"):
        read_store(store.root)
