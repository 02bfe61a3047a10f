"""The page in a real browser, over a stand-in for the robot: what keys, fingers, focus and a lost link do."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot.operator.door import open_door
from robot.operator.server import OperatorPage, PageServer
from robot.operator.session import OperatorSession
from robot.ownership import Mode
from robot.specs import load_station
from tests.operator.chromium import Chromium, Tab
from tests.operator.stand_in import StandIn

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PICTURE = (
    "document.getElementById('camera-scene').toDataURL().length + document.getElementById('camera-scene').toDataURL()"
)


@pytest.fixture
def cockpit() -> Iterator[StandIn]:
    with StandIn() as cockpit:
        yield cockpit


@pytest.fixture
def server(cockpit: StandIn) -> Iterator[PageServer]:
    with PageServer(OperatorPage(cockpit, OperatorSession(load_station("fr3_sim")), open_door(port=0))) as server:
        yield server


@pytest.fixture
def tab(browser: Chromium, server: PageServer) -> Iterator[Tab]:
    with browser.tab() as tab:
        tab.resize(1280, 900)
        tab.open(server.door.address)
        tab.wait_for("document.body.dataset.owner === 'policy'")
        yield tab
        assert tab.errors == []


def until(is_so: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not so within {timeout_s} s"
        time.sleep(0.02)


def test_keys_take_over_move_and_hand_back(tab: Tab, cockpit: StandIn) -> None:
    tab.key_down("Space")
    until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
    tab.wait_for(
        "document.body.dataset.owner === 'human' && document.getElementById('owner').textContent === 'You drive'"
    )
    for code, axis, sign in (("KeyE", 2, 1), ("KeyQ", 2, -1), ("KeyW", 0, 1), ("KeyA", 1, 1), ("KeyD", 1, -1)):
        before = cockpit.position.copy()
        tab.key_down(code)
        until(lambda axis=axis, sign=sign, before=before: sign * (cockpit.position - before)[axis] > 0.03)
        tab.key_up(code)
        time.sleep(0.15)
        moved = cockpit.position - before
        assert np.count_nonzero(np.abs(moved) > 1e-9) == 1
    tab.key_up("Space")
    until(lambda: cockpit.mode is Mode.HOLD)
    tab.press("KeyH")
    until(lambda: cockpit.mode is Mode.AUTO)
    tab.wait_for("document.body.dataset.owner === 'policy'")


def test_the_picture_moves_with_the_robot_and_says_how_old_it_is(tab: Tab) -> None:
    pictures = set()
    for _ in range(5):
        time.sleep(0.2)
        pictures.add(tab.evaluate(PICTURE))
    assert len(pictures) >= 4
    age = tab.evaluate("document.querySelector('output').textContent")
    assert age.endswith("ms old") and 0 <= int(age.split()[0]) < 500


def test_motion_stops_when_the_window_loses_the_focus(tab: Tab, cockpit: StandIn) -> None:
    tab.key_down("Space")
    tab.key_down("KeyE")
    until(lambda: cockpit.position[2] > 0.27)
    tab.evaluate("window.dispatchEvent(new Event('blur'))")
    until(lambda: not cockpit.sent[-1][1].engaged, timeout_s=0.3)
    until(lambda: cockpit.mode is Mode.HOLD)


def test_motion_stops_when_another_tab_covers_the_page(browser: Chromium, tab: Tab, cockpit: StandIn) -> None:
    tab.press("KeyT")
    until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
    tab.key_down("KeyE")
    until(lambda: cockpit.position[2] > 0.27)
    covering = tab.call("Target.createTarget", url="about:blank")["targetId"]
    tab.call("Target.activateTarget", targetId=covering)
    try:
        tab.wait_for("document.hidden")
        until(lambda: cockpit.mode is Mode.HOLD)
        stood = cockpit.position.copy()
        time.sleep(0.3)
        np.testing.assert_array_equal(cockpit.position, stood)
    finally:
        tab.call("Target.closeTarget", targetId=covering)
        tab.call("Page.bringToFront")
    assert not tab.evaluate("latched || held.size > 0")


def test_the_latch_keeps_control_until_it_is_taken_away(tab: Tab, cockpit: StandIn) -> None:
    tab.press("KeyT")
    time.sleep(0.4)
    assert cockpit.mode is Mode.HUMAN_CORRECTION
    assert tab.evaluate("document.querySelector('[data-code=KeyT]').classList.contains('latched')")
    tab.press("KeyF")
    until(lambda: cockpit.mode is Mode.HOLD)
    assert not tab.evaluate("latched")


def test_marks_and_the_gripper(tab: Tab, cockpit: StandIn) -> None:
    tab.key_down("Space")
    until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
    tab.press("KeyG")
    until(lambda: cockpit.state()["gripper_m"] == 0.0)
    tab.wait_for("document.getElementById('gripper').textContent === '0.0 mm'")
    tab.press("KeyY")
    until(lambda: cockpit.end_reason == "success")
    tab.key_up("Space")
    tab.wait_for("document.getElementById('episode').textContent === 'ended, success'")
    assert tab.evaluate("document.getElementById('command-end').disabled")
    tab.click("command-demonstrate")
    until(lambda: cockpit.commands == ["demonstrate"])


def test_escape_stops_and_says_what_it_is_not(tab: Tab, cockpit: StandIn) -> None:
    tab.press("Escape")
    until(lambda: cockpit.commands == ["stop"])
    tab.wait_for("document.getElementById('safety').textContent === 'latched'")
    assert "Not a safety function" in tab.evaluate("document.body.textContent")
    tab.click("command-reset")
    until(lambda: cockpit.safety == "ok")


def test_every_key_is_listed_on_the_page(tab: Tab) -> None:
    assert (
        tab.evaluate("""[...Object.keys(MOVES), ...Object.keys(EDGES), "Space", "KeyT", "ShiftLeft"]
        .filter((code) => !/^Arrow|^Page|^Escape/.test(code) && !document.querySelector(`[data-code=${code}]`))""")
        == []
    )


def test_a_phone_has_everything_on_its_width_and_fingers_drive(tab: Tab, cockpit: StandIn) -> None:
    tab.resize(390, 844, mobile=True)
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
    time.sleep(0.3)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("Math.min(...[...document.querySelectorAll('button')].map((b) => b.offsetHeight))") >= 44
    fingers = [
        tab.evaluate(
            f"(() => {{ const box = document.querySelector('[data-code={code}]').getBoundingClientRect();"
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()"
        )
        for code in ("Space", "KeyE")
    ]
    for touching in (fingers[:1], fingers):
        tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=touching)
    until(lambda: cockpit.position[2] > 0.27)
    tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    until(lambda: cockpit.mode is Mode.HOLD)
    tab.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_the_page_says_when_it_has_lost_the_robot_and_comes_back(browser: Chromium, cockpit: StandIn) -> None:
    session, door = OperatorSession(load_station("fr3_sim")), open_door(port=0)
    with browser.tab() as tab:
        with PageServer(OperatorPage(cockpit, session, door)) as server:
            tab.open(server.door.address)
            tab.wait_for("document.body.dataset.owner === 'policy'")
        tab.wait_for("document.getElementById('owner').textContent === 'Not connected'")
        tab.key_down("Space")
        with PageServer(OperatorPage(cockpit, session, open_door(port=server.door.port))):
            tab.wait_for("document.body.dataset.owner === 'policy'")
            time.sleep(0.3)
            assert cockpit.mode is Mode.AUTO  # what was pressed in between is not made up for
        tab.key_up("Space")


def test_nothing_is_fetched_from_anywhere_else(tab: Tab, server: PageServer) -> None:
    fetched = tab.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert fetched and all(name.startswith(server.door.address) for name in fetched)


def test_of_two_arms_one_is_chosen_and_each_packet_says_which(browser: Chromium, cockpit: StandIn) -> None:
    session = OperatorSession(load_station("fr3_pair_sim"))
    with PageServer(OperatorPage(cockpit, session, open_door(port=0))) as server, browser.tab() as tab:
        tab.open(server.door.address)
        tab.wait_for("!document.getElementById('arms').hidden")
        tab.key_down("Space")
        until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
        assert cockpit.sent[-1][1].side == "left"
        tab.press("Digit2")
        until(lambda: cockpit.sent[-1][1].side == "right")
        assert tab.evaluate("document.querySelector('#sides .latched').textContent").endswith("right")
        tab.key_up("Space")
        assert tab.errors == []
