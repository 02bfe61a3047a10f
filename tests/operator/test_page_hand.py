"""A hand in space through WebXR, in a real browser; headset and phone are a stand-in that the page finds as theirs.

The stand-in says where a hand is in WebXR's axes (right, up, back) whenever it is asked for a frame.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from robot import geometry
from robot.ownership import Mode
from robot.types import HandPose
from tests.operator.chromium import Tab
from tests.operator.stand_in import StandIn, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
STAND_IN = """
globalThis.XRWebGLLayer = class {};
globalThis.worn = Object.assign(new EventTarget(), {
  visibilityState: "visible", view: null, hand: null, asked: [],
  updateRenderState: async () => {}, requestReferenceSpace: async (name) => name,
  requestAnimationFrame: (next) => worn.asked.push(next),
  end: async () => worn.dispatchEvent(new Event("end")),
  controller: {gripSpace: "grip"}, phone: {},
  press: (name, who) => worn.dispatchEvent(Object.assign(new Event(name), {inputSource: worn[who]})),
  show: () => worn.asked.splice(0).forEach((next) => next(0, {
    getViewerPose: () => worn.view && {transform: worn.view},
    getPose: (space) => (space === "grip" ? worn.hand && {transform: worn.hand} : worn.view && {transform: worn.view}),
  })),
});
Object.defineProperty(navigator, "xr", {value: {isSessionSupported: async (mode) => mode === "immersive-ar",
  requestSession: async () => worn}, configurable: true});
tandem.hand.find().then((found) => { document.getElementById("hand").hidden = !found; return found; });
"""
UPRIGHT = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture
def worn(tab: Tab) -> Iterator[Tab]:
    assert tab.evaluate("document.getElementById('hand').hidden"), "no WebXR here"
    assert tab.evaluate(STAND_IN) is True
    tab.click("hand")
    tab.wait_for("tandem.hand.session !== null")
    yield tab


def placed(position: Any, quat_wxyz: Any = UPRIGHT) -> dict[str, Any]:
    w, x, y, z = map(float, quat_wxyz)
    return {
        "position": dict(zip("xyz", map(float, position), strict=True)),
        "orientation": {"w": w, "x": x, "y": y, "z": z},
    }


def show(tab: Tab, hand: Any, view: Any = None) -> None:
    """Give the page a frame with these poses; None where tracking is lost."""
    tab.evaluate(f"worn.hand = {json.dumps(hand)}; worn.view = {json.dumps(view or placed((0, 1.6, 0)))}; worn.show()")
    tab.evaluate("new Promise((done) => setTimeout(done, 30))")  # it says where the hand is 40 times a second at most


def pose_of(cockpit: StandIn) -> HandPose | None:
    return cockpit.sent[-1][1].pose if cockpit.sent else None


def test_a_controller_drives_while_it_is_squeezed_along_where_the_person_looked(worn: Tab, cockpit: StandIn) -> None:
    show(worn, placed((0.3, 1.0, -0.2)))
    assert cockpit.mode is Mode.AUTO, "a hand that is not closed moves nothing"
    left = placed((0, 1.6, 0), geometry.from_rotation_vector(np.array([0.0, np.pi / 2, 0.0])))  # looks along -x
    worn.evaluate("worn.press('squeezestart', 'controller')")
    show(worn, placed((0.3, 1.0, -0.2)), left)
    until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION and pose_of(cockpit) is not None)
    first = pose_of(cockpit)
    rolled = geometry.from_rotation_vector(np.array([0.0, 0.0, 0.1]))  # about back: to the person, about their right
    show(worn, placed((0.26, 1.01, -0.22), rolled), left)
    until(lambda: pose_of(cockpit) != first)
    last = pose_of(cockpit)
    assert first is not None and last is not None
    np.testing.assert_allclose(np.subtract(last[:3], first[:3]), [0.04, -0.02, 0.01], atol=1e-6)
    turned = geometry.rotation_vector(geometry.multiply(last[3:], geometry.conjugate(first[3:])))
    np.testing.assert_allclose(turned, [0.0, 0.1, 0.0], atol=1e-6)
    worn.evaluate("worn.press('selectstart', 'controller')")
    until(lambda: cockpit.sent[-1][1].gripper == 0.0)
    worn.evaluate("worn.press('squeezeend', 'controller')")
    until(lambda: cockpit.mode is Mode.HOLD)


@pytest.mark.parametrize("fault", ["jump", "lost", "hidden", "ended"])
def test_what_happens_to_the_tracking_lets_go_until_the_next_press(worn: Tab, cockpit: StandIn, fault: str) -> None:
    flat = placed((0, 1.2, 0), geometry.from_rotation_vector(np.array([-np.pi / 2, 0.0, 0.0])))  # a phone, face up
    worn.evaluate("worn.press('selectstart', 'phone')")
    show(worn, None, flat)
    until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION and pose_of(cockpit) is not None)
    far = placed((0.2, 1.2, 0), flat["orientation"].values())
    if fault == "jump":
        show(worn, None, far)
    elif fault == "lost":
        worn.evaluate("worn.view = null; worn.show()")
    elif fault == "hidden":
        worn.evaluate("tandem.drive.latched = true")
        worn.evaluate("worn.visibilityState = 'hidden'; worn.dispatchEvent(new Event('visibilitychange'))")
    else:
        worn.evaluate("worn.end()")
    until(lambda: cockpit.mode is Mode.HOLD)
    show(worn, None, far)
    assert worn.evaluate("tandem.drive.isEngaged") is False, "not before it is pressed again"
    if fault in ("jump", "lost"):
        clutch = cockpit.sent[-1][1].clutch
        worn.evaluate("worn.press('selectend', 'phone'); worn.press('selectstart', 'phone')")
        show(worn, None, far)
        until(lambda: pose_of(cockpit) is not None and cockpit.sent[-1][1].clutch == clutch + 1)
