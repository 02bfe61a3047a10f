"""Recorded episodes on the page: listed, replayed and relabelled through the server, and never changed by it."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.episode_store import EpisodeStore
from robot.errors import ConfigError, StoreError
from robot.images import encode_image
from robot.operator.cell_view import CellView
from robot.operator.door import open_door
from robot.operator.familiarity import NEAR_M, Familiarity
from robot.operator.library import Library
from robot.operator.library_routes import Shelves, read_curves
from robot.operator.projection import Projection
from robot.operator.server import OperatorPage, PageServer
from robot.operator.session import OperatorSession
from robot.operator.shift import BREAK_S, WORK_S, Shift
from robot.outcome_labels import AS_RECORDED, WITHDRAWN, add_label, outcome_of, read_labels
from robot.record import tick_from_outside
from robot.specs import load_station
from robot.types import NS_PER_S, EndReason, Owner, Segment
from tests.operator.stand_in import StandIn

STATION = load_station("fr3_sim")
STEPS = 12
FACTS = {"station": STATION.name, "task": "lift"}


def record(store: EpisodeStore, name: str, end: EndReason) -> None:
    """The policy drives four ticks, a person recovers for four and corrects for four; the tcp moves along x."""
    writer = store.open_episode(FACTS, episode_id=name)
    for step in range(STEPS):
        is_human, is_last = step >= 4, step == STEPS - 1
        segment = [Segment.ROLLOUT, Segment.RECOVERY, Segment.CORRECTION][step // 4]
        tick = tick_from_outside(
            step,
            {"tcp_position": np.array([0.4 + 0.01 * step, 0.0, 0.2]), "joint_position": STATION.home},
            np.array([0.4, 0.0, 0.2, 0.04]),
            tick_time_ns=step * NS_PER_S // 20,
            joint_command=STATION.home,
            owner=Owner.HUMAN if is_human else Owner.POLICY,
            segment=segment,
            intervention_id=0 if is_human else -1,
            terminated=is_last,
            end_reason=end if is_last else EndReason.OPEN,
        )
        image = np.full((48, 64, 3), 10 * step, np.uint8)
        writer.append(tick, {"scene": encode_image(image)} if step >= 1 else {})
    writer.close(end)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    store = EpisodeStore(folder)
    record(store, "first", EndReason.SUCCESS)
    record(store, "second", EndReason.FAILURE)
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[PageServer]:
    view = CellView(STATION, root)
    run = root / "runs" / "resfit"
    run.mkdir(parents=True)
    (run / "curve.json").write_text(json.dumps({"curve": [[0, 0.5, 20], [1000, 0.8, 20]]}))
    (root / "runs" / "half").mkdir()
    (root / "runs" / "half" / "curve.json").write_text('{"curve": [[0, 0.')
    shelves = Shelves(Library(root, view.figure), root / "runs", view.aid)
    page = OperatorPage(StandIn(), OperatorSession(STATION), open_door(port=0, token="t"), shelves)
    with PageServer(page) as server:
        yield server


def ask(server: PageServer, path: str, told: Any = None, origin: str = "same", token: str = "t") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.door.port, timeout=10.0)
    headers = {"Origin": f"http://127.0.0.1:{server.door.port}" if origin == "same" else origin} if origin else {}
    body = None if told is None else json.dumps(told)
    connection.request("GET" if told is None else "POST", f"{path}?token={token}", body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_episodes_are_listed_the_newest_first_with_how_they_count(server: PageServer) -> None:
    status, body = ask(server, "/episodes")
    listed = json.loads(body)["episodes"]
    assert status == 200 and [entry["id"] for entry in listed] == ["second", "first"]
    assert listed[1] == {**listed[1], "outcome": "success", "recorded": "success", "takeovers": 1, "task": "lift"}


def test_a_replay_has_rows_owners_figures_and_the_stored_pictures(server: PageServer, root: Path) -> None:
    replay = json.loads(ask(server, "/episodes/first")[1])
    assert replay["rows"] == list(range(1, STEPS)) and replay["cameras"] == ["scene"], "from the first picture on"
    assert [replay["segment_names"][code] for code in replay["segments"][-5:]] == ["recovery"] + ["correction"] * 4
    assert {len(line[0]) for figure in replay["figures"] for line in figure} == {3}
    status, picture = ask(server, f"/episodes/first/image/scene/{STEPS - 1}")
    assert status == 200 and picture == EpisodeStore(root).load("first").image_bytes("scene", 11)


@pytest.mark.parametrize("path", ["/episodes/../../etc", "/episodes/third", "/episodes/first/image/scene/99"])
def test_what_is_not_there_is_said_in_one_line(server: PageServer, path: str) -> None:
    status, body = ask(server, path)
    assert status == 404 and len(body.splitlines()) == 1


def test_a_label_given_afterwards_says_how_an_episode_counts_and_changes_no_recording(
    server: PageServer, root: Path
) -> None:
    store = EpisodeStore(root)
    before, infos = store.content_hash(), store.episodes()

    def ends() -> list[EndReason]:
        return [outcome_of(info, read_labels(root)) for info in infos]

    assert json.loads(ask(server, "/episodes/second/label", {"outcome": "success"})[1])["outcome"] == "success"
    assert ends() == [EndReason.SUCCESS, EndReason.SUCCESS]
    ask(server, "/episodes/first/label", {"outcome": "discard"})
    assert ends() == [EndReason.DISCARD, EndReason.SUCCESS]
    for name in ("first", "second"):
        ask(server, f"/episodes/{name}/label", {"outcome": "as recorded"})
    assert ends() == [EndReason.SUCCESS, EndReason.FAILURE]
    assert EpisodeStore(root).content_hash() == before
    store.load("second").verify()


@pytest.mark.parametrize("origin", ["", "null", "http://evil.example"])
def test_another_sites_page_cannot_relabel(server: PageServer, root: Path, origin: str) -> None:
    before = read_labels(root)
    status, _ = ask(server, "/episodes/first/label", {"outcome": "failure"}, origin)
    assert status == 403 and read_labels(root) == before


@pytest.mark.parametrize("path", ["/episodes", "/episodes/first", "/episodes/first/image/scene/5", "/curves", "/aid"])
def test_without_the_token_nothing_is_shown(server: PageServer, path: str) -> None:
    assert ask(server, path, token="wrong")[0] == 403


@pytest.mark.parametrize("told", [{}, [], "x", {"outcome": "splendid"}, {"outcome": "success", "more": "x" * 5000}])
def test_what_is_no_label_is_refused(server: PageServer, root: Path, told: Any) -> None:
    before = read_labels(root)
    assert ask(server, "/episodes/first/label", told)[0] in (400, 404) and read_labels(root) == before


def test_curves_are_those_of_whole_files(server: PageServer, root: Path) -> None:
    assert json.loads(ask(server, "/curves")[1])["runs"] == [
        {"name": "resfit", "curve": [[0, 0.5, 20], [1000, 0.8, 20]]}
    ]
    assert read_curves(root / "nothing") == []


def test_the_heat_map_is_of_corrections_and_not_of_recoveries(server: PageServer) -> None:
    aid = json.loads(ask(server, "/aid")[1])
    assert aid["camera"] == "scene" and aid["poses"] == 4
    assert max(share for *_, share in aid["cells"]) == 1.0


def test_labels_count_in_the_order_they_were_given(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    record(store, "one", EndReason.SUCCESS)
    info = store.load("one").info
    for outcome, counts_as in [
        ("failure", EndReason.FAILURE),
        (WITHDRAWN, EndReason.OPERATOR_ABORT),
        (AS_RECORDED, EndReason.SUCCESS),
    ]:
        add_label(tmp_path, "one", outcome, "test")
        assert outcome_of(info, read_labels(tmp_path)) is counts_as
    with pytest.raises(ConfigError, match="splendid"):
        add_label(tmp_path, "one", "splendid", "test")
    (tmp_path / "outcomes.jsonl").write_text("{}\n")
    with pytest.raises(StoreError, match="line 1"):
        read_labels(tmp_path)


def test_the_nearest_demonstration_is_the_nearest() -> None:
    tcps_m = np.random.default_rng(0).uniform(0.2, 0.6, (500, 3))
    known = Familiarity(tcps_m, np.arange(500.0)[:, None])
    distance_m, joints = known.nearest(tcps_m[123] + np.array([1e-4, 0.0, 0.0]))
    assert joints[0] == 123.0 and distance_m == pytest.approx(1e-4)
    assert known.score(0.0) == 1.0 and known.score(NEAR_M) == pytest.approx(np.exp(-1.0))


def test_a_camera_looks_at_the_middle_of_its_picture_and_has_up_above() -> None:
    camera = STATION.camera("scene")
    middle = np.array(camera.look_at_m)
    view = Projection(camera)
    (x, y), (_, above) = view.pixels(np.stack((middle, middle + np.array([0.0, 0.0, 0.1]))))
    assert (x, y) == pytest.approx((320.0, 240.0)) and above < y
    behind = 2 * np.array(camera.translation_m) - middle
    assert len(view.pixels(behind[None])) == 0
    away = view.level_rotation @ [1.0, 0.0, 0.0]
    assert away[2] == pytest.approx(0.0) and away[:2] @ (middle - camera.translation_m)[:2] > 0.0
    np.testing.assert_allclose(np.linalg.det(view.level_rotation), 1.0)


def test_the_figure_ends_at_the_tcp() -> None:
    from robot.kinematics.arm import ArmKinematics

    placed = CellView(STATION).place(STATION.home)
    np.testing.assert_allclose(placed.tcps_m[0], ArmKinematics(STATION).tcp_position(STATION.home), atol=1e-9)
    np.testing.assert_allclose(placed.rotations[0] @ [0.0, 0.0, 1.0], [0.0, 0.0, -1.0], atol=1e-3)


def test_a_shift_counts_takeovers_and_asks_for_a_rest() -> None:
    shift, now_s = Shift(), 0.0
    for number in range(4):
        for _ in range(10):
            now_s += 1.0
            shift.note(now_s, is_human=True, intervention=number)
        now_s += 20.0
        shift.note(now_s, is_human=False, intervention=None)
    assert (shift.takeovers, shift.driving_s) == (4, pytest.approx(36.0))
    assert shift.per_minute(now_s) == pytest.approx(60.0 * 4 / (now_s - 1.0)) and not shift.rest_is_due(now_s)
    while now_s < WORK_S + 10.0:
        now_s += 60.0
        shift.note(now_s, is_human=True, intervention=9)
    assert shift.rest_is_due(now_s)
    shift.note(now_s + BREAK_S + 1.0, is_human=False, intervention=None)
    assert not shift.rest_is_due(now_s + BREAK_S + 1.0)
