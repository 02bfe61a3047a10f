"""The page in a real browser, over a stand-in for the robot: what keys, fingers, focus and a lost link do."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from robot.operator.door import open_door
from robot.operator.server import OperatorPage, PageServer
from robot.operator.session import OperatorSession
from robot.ownership import Mode
from robot.specs import load_station
from robot.types import Mark
from tests.operator.chromium import Chromium, Tab, find_chromium
from tests.operator.stand_in import StandIn, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PICTURE = (
    "document.getElementById('camera-scene').toDataURL().length + document.getElementById('camera-scene').toDataURL()"
)


def drive(tab: Tab, cockpit: StandIn, code: str, is_there: Callable[[], bool]) -> None:
    """Hold Space and a key until something is so, then let go of the key.

    Where a busy machine holds the page's packets up for 250 ms, the arm rightly holds: then take over again.
    """
    deadline_s = time.monotonic() + 20.0
    while not is_there():
        assert time.monotonic() < deadline_s, f"{code} did not do it within 20 s"
        if cockpit.mode is not Mode.HUMAN_CORRECTION:
            tab.key_up(code)
            tab.key_up("Space")
            tab.key_down("Space")
            until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
        tab.key_down(code)
        time.sleep(0.02)
    tab.key_up(code)


def test_keys_take_over_move_and_hand_back(tab: Tab, cockpit: StandIn) -> None:
    tab.key_down("Space")
    until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
    tab.wait_for(
        "document.body.dataset.owner === 'human' && document.getElementById('owner').textContent === 'You drive'"
    )
    for code, axis, sign in (("KeyE", 2, 1), ("KeyQ", 2, -1), ("KeyW", 0, 1), ("KeyA", 1, 1), ("KeyD", 1, -1)):
        before = cockpit.position.copy()
        drive(
            tab,
            cockpit,
            code,
            lambda axis=axis, sign=sign, before=before: sign * (cockpit.position - before)[axis] > 0.03,
        )
        time.sleep(0.15)
        moved = cockpit.position - before
        assert np.count_nonzero(np.abs(moved) > 1e-9) == 1
    tab.key_up("Space")
    until(lambda: cockpit.mode is Mode.HOLD)
    tab.press("KeyH")
    until(lambda: cockpit.mode is Mode.AUTO)
    tab.wait_for("document.body.dataset.owner === 'policy'")


def test_the_picture_moves_with_the_robot_and_says_how_old_it_is(tab: Tab) -> None:
    pictures, deadline_s = set(), time.monotonic() + 10.0
    while len(pictures) < 4:
        assert time.monotonic() < deadline_s, f"{len(pictures)} pictures in 10 s"
        time.sleep(0.2)
        pictures.add(tab.evaluate(PICTURE))
    tab.wait_for("/^[0-4]?[0-9]?[0-9] ms old/.test(document.querySelector('output').textContent)")


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
    assert not tab.evaluate("tandem.drive.latched || tandem.drive.held.size > 0")


def test_the_latch_keeps_control_until_it_is_taken_away(tab: Tab, cockpit: StandIn) -> None:
    tab.press("KeyT")
    time.sleep(0.4)
    assert cockpit.mode is Mode.HUMAN_CORRECTION
    assert tab.evaluate("document.querySelector('[data-code=KeyT]').classList.contains('latched')")
    tab.press("KeyF")
    until(lambda: cockpit.mode is Mode.HOLD)
    assert not tab.evaluate("tandem.drive.latched")


def test_marks_and_the_gripper(tab: Tab, cockpit: StandIn) -> None:
    tab.key_down("Space")
    until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
    tab.press("KeyG")
    until(lambda: cockpit.state()["gripper_m"] == 0.0)
    tab.wait_for("document.getElementById('gripper').textContent === '0.0 mm'")
    tab.press("KeyM")
    until(lambda: any(packet.mark is Mark.WENT_WRONG and packet.mark_back_s == 2.0 for _, packet in cockpit.sent))
    tab.wait_for("document.getElementById('notice').textContent.startsWith('noted: it went wrong')")
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
        tab.evaluate("""import("./drive.js").then(({MOVES, TURNS, EDGES}) =>
        [...Object.keys(MOVES), ...Object.keys(TURNS), ...Object.keys(EDGES), "Space", "KeyT", "KeyR"]
        .filter((code) => !/^Arrow|^Page|^Escape/.test(code) && !document.querySelector(`[data-code=${code}]`)))""")
        == []
    )


def test_a_phone_has_everything_on_its_width_and_fingers_drive(tab: Tab, cockpit: StandIn) -> None:
    tab.resize(390, 844, mobile=True)
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
    time.sleep(0.3)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    heights = "[...document.querySelectorAll('button')].filter((b) => b.offsetParent).map((b) => b.offsetHeight)"
    assert tab.evaluate(f"Math.min(...{heights})") >= 44
    tab.evaluate("document.querySelector('[data-code=KeyE]').scrollIntoView({block: 'center'})")
    fingers = [tab.middle(f"[data-code={code}]") for code in ("Space", "KeyE")]
    for touching in (fingers[:1], fingers):
        tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=touching)
    until(lambda: cockpit.position[2] > 0.27)
    tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    until(lambda: cockpit.mode is Mode.HOLD)
    pad, before = tab.middle("#plane"), cockpit.position.copy()
    touched = [pad, {"x": pad["x"], "y": pad["y"] - 60}]  # up on the pad is forward
    for kind, point in zip(("touchStart", "touchMove"), touched, strict=True):
        tab.call("Input.dispatchTouchEvent", type=kind, touchPoints=[point])
    until(lambda: cockpit.position[0] > before[0] + 0.02)
    assert cockpit.position[2] == before[2]
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


def test_the_mouse_jogs_on_a_pad_and_letting_go_holds(tab: Tab, cockpit: StandIn) -> None:
    strip, before = tab.middle("#strip"), cockpit.position.copy()
    for _ in range(5):  # as in `drive`
        tab.mouse("mousePressed", **strip)
        until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
        assert cockpit.sent[-1][1].twist[2] == 0.0, "its middle owns and does not move"
        tab.mouse("mouseMoved", strip["x"], strip["y"] - 50)
        until(lambda: cockpit.position[2] > before[2] + 0.02 or cockpit.mode is Mode.HOLD)
        if cockpit.mode is not Mode.HOLD:
            break
        tab.mouse("mouseReleased", **strip)
    assert cockpit.position[2] > before[2]
    tab.mouse("mouseReleased", **strip)
    until(lambda: cockpit.mode is Mode.HOLD)


def test_a_gamepad_drives_only_while_its_trigger_is_held(tab: Tab, cockpit: StandIn) -> None:
    tab.plug_gamepad()
    tab.evaluate("document.hasFocus = () => false")  # whether it has it by itself depends on the tests before
    tab.wait_for("document.getElementById('gamepad-name').textContent.includes('click the page first')")
    tab.evaluate("delete document.hasFocus")
    for kind in ("mousePressed", "mouseReleased"):
        tab.mouse(kind, **tab.middle("#owner"))
    tab.gamepad(axes=(0.0, -1.0, 0.0, 0.0))
    time.sleep(0.3)
    assert cockpit.mode is Mode.AUTO and not any(packet.engaged for _, packet in cockpit.sent)
    tab.wait_for("document.getElementById('gamepad-name').textContent.includes('hold RT')")
    before = cockpit.position.copy()
    for _ in range(5):  # where a busy machine makes the arm hold in between: let go and press again
        tab.gamepad(axes=(0.0, -1.0, 0.0, 0.0), held=(7,))
        until(lambda: cockpit.position[0] > before[0] + 0.02 or cockpit.mode is Mode.HOLD)
        if cockpit.mode is not Mode.HOLD:
            break
        tab.gamepad(held=())
        time.sleep(0.3)
    assert cockpit.position[0] > before[0]
    tab.gamepad(axes=(0.0, 0.0, 0.0, -1.0), held=(7, 6))  # up, fine
    fine = 0.25 * load_station("fr3_sim").operator.linear_speed_m_s
    until(lambda: cockpit.sent[-1][1].twist[2] == pytest.approx(fine, rel=0.01))
    tab.gamepad(held=(7, 0))
    until(lambda: cockpit.sent[-1][1].gripper == 0.0)
    tab.gamepad(held=())
    until(lambda: cockpit.mode is Mode.HOLD)
    tab.gamepad(held=(5,))
    until(lambda: cockpit.mode is Mode.AUTO)


def test_options_change_how_the_arm_is_steered(tab: Tab, cockpit: StandIn) -> None:
    for button in ("fine", "lock-up", "frame-tool"):
        tab.click(button)
    tab.key_down("Space")
    until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION)
    tab.key_down("KeyE")
    tab.key_down("KeyW")
    time.sleep(0.2)
    assert tab.evaluate("tandem.drive.frame") == "tool"
    assert cockpit.sent[-1][1].twist == (0.0,) * 6, "nobody told this page where the tool points"
    tab.click("frame-cell")
    speed = load_station("fr3_sim").operator.linear_speed_m_s
    until(lambda: cockpit.sent[-1][1].twist[0] == pytest.approx(0.25 * speed, rel=0.01))
    assert cockpit.sent[-1][1].twist[2] == 0.0, "up is locked"
    for code in ("KeyE", "KeyW", "Space"):
        tab.key_up(code)


def test_an_undone_label_is_withdrawn_and_the_head_of_the_page_keeps_up(tab: Tab, cockpit: StandIn) -> None:
    tab.press("KeyY")
    until(lambda: cockpit.end_reason == "success")
    tab.press("KeyZ")
    until(lambda: cockpit.withdrawn == ["1"])
    tab.wait_for("document.getElementById('notice').textContent === 'success was taken back'")
    tab.wait_for("Number(document.getElementById('fps').textContent) >= 15")  # 13.1 row 15


def test_success_and_doubt_are_shown_only_where_a_policy_says_them(tab: Tab, cockpit: StandIn) -> None:
    assert "publishes no success probability" in tab.evaluate("document.getElementById('trace-words').textContent")
    assert tab.evaluate("document.getElementById('trace').hidden")
    cockpit.said = {"success_probability": 0.75, "doubt": 0.2}
    tab.wait_for("!document.getElementById('trace').hidden")
    assert tab.evaluate("[...tandem.trace.series.keys()]") == ["success_probability", "doubt"]


def test_a_tone_marks_every_change_of_owner(tab: Tab, cockpit: StandIn) -> None:
    played = tab.evaluate("tandem.sound.played")
    tab.key_down("Space")
    tab.wait_for("document.body.dataset.owner === 'human'")
    tab.key_up("Space")
    tab.wait_for("document.body.dataset.owner === 'hold'")
    assert tab.evaluate("tandem.sound.played") == played + 2


def test_of_two_browsers_the_second_cannot_move_the_arm(tab: Tab, cockpit: StandIn, server: PageServer) -> None:
    executable = find_chromium()
    assert executable is not None
    with Chromium(executable) as second, second.tab() as other:
        other.open(server.door.address)
        other.wait_for("document.body.dataset.owner === 'policy'")
        before = cockpit.position.copy()
        drive(tab, cockpit, "KeyE", lambda: cockpit.position[2] > before[2] + 0.02)
        other.key_down("Space")
        other.key_down("KeyA")
        drive(tab, cockpit, "KeyE", lambda: cockpit.position[2] > before[2] + 0.06)
        other.wait_for("document.getElementById('notice').textContent === 'another page holds the controls'")
        assert not any(packet.twist[1] for _, packet in cockpit.sent), "what the second asks for never comes through"
        other.key_up("KeyA")
        other.press("Escape")
        until(lambda: "stop" in cockpit.commands)  # a stop is obeyed from every page
