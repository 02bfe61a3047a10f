"""The Franka Hand: a connection of its own, whose commands block, so it has a thread of its own; the newest goal wins.

It takes a few goals a second, not a servo's stream: a new one is sent when the last one has been reached, at most 1 s
later. Opening is a move; closing is a grasp, which holds with the station's force whatever is between the fingers.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

from robot.errors import ConfigError, DeviceNotFound
from robot.gripper_specs import GripperSpec
from robot.specs import StationSpec

GOALS_PER_S = 4.0
STEP_M = 0.001  # of one finger; smaller changes of the goal are not sent
ANY_WIDTH_M = 0.1  # a grasp succeeds at any width


class FrankaHand:
    """Both fingers move alike; the joint of the station is the travel of one [m], half of the hand's width."""

    def __init__(self, station: StationSpec) -> None:
        if not isinstance(station.gripper, GripperSpec):
            raise ConfigError(
                f"the gripper of {station.name} has one jaw; a Franka Hand is parallel: write lower_m ..."
            )
        self._gripper, self._address = station.gripper, station.arm.address or ""
        self.failure = ""
        self.finger_m, self.speed_m_s = station.gripper.home_m, 0.0
        self._goal_m: float | None = None
        self._facts: dict[str, object] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def connect(self) -> None:
        """Connect and read; nothing moves, also no homing: do that in Desk after a change of fingers."""
        import franky

        try:
            hand = franky.Gripper(self._address)
            self.finger_m = hand.width / 2
        except (franky.NetworkException, franky.IncompatibleVersionException) as error:
            raise DeviceNotFound(
                f"no Franka Hand answers at {self._address} ({error}); is it mounted and enabled in Desk?"
            ) from None
        self.failure, self._goal_m = "", None
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, args=(hand,), name="franka hand", daemon=True)
        self._thread.start()

    def go_to(self, finger_m: float) -> None:
        """Ask for a finger position; the newest one wins."""
        self._goal_m = finger_m

    def health(self) -> Mapping[str, object]:
        return self._facts

    def close(self) -> None:
        """Let the hand keep what it holds."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def _run(self, hand: Any) -> None:
        try:
            self._follow(hand)
        except Exception as error:  # libfranka's own classes have no common base that is public
            self.failure = str(error)

    def _follow(self, hand: Any) -> None:
        moving, sent_m, sent_s = None, self.finger_m, 0.0
        while not self._closing.is_set():
            self._observe(hand)
            goal_m, now_s = self._goal_m, time.monotonic()
            if goal_m is None or abs(goal_m - sent_m) < STEP_M or now_s - sent_s < 1.0 / GOALS_PER_S:
                continue
            if moving is not None and not moving.wait(0.0):
                continue  # `stop` would end it, and its answer might then never come
            moving, sent_s = self._send(hand, goal_m, is_closing=goal_m < sent_m), now_s
            sent_m = goal_m

    def _observe(self, hand: Any) -> None:
        """Wait for the hand's next state, about 30 ms."""
        before_m, before_s = self.finger_m, time.monotonic()
        state = hand.state
        self.finger_m = state.width / 2
        self.speed_m_s = (self.finger_m - before_m) / max(time.monotonic() - before_s, 1e-3)
        self._facts = {"hand_temperature_c": state.temperature, "hand_is_grasped": state.is_grasped}

    def _send(self, hand: Any, finger_m: float, *, is_closing: bool) -> Any:
        width_m, speed_m_s = 2 * finger_m, 2 * self._gripper.velocity_m_s
        if not is_closing:
            return hand.move_async(width_m, speed_m_s)
        return hand.grasp_async(width_m, speed_m_s, self._gripper.effort_n, ANY_WIDTH_M, ANY_WIDTH_M)
