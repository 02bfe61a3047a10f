"""A cockpit without ROS: the real ownership machine over a point that moves, drawn as two cameras."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from robot import ownership
from robot.clock import RateKeeper
from robot.images import encode_image
from robot.operator.server import Frame
from robot.operator.session import Seen
from robot.ownership import PAGE_RULES, Mode, Ownership
from robot.types import Mark, OperatorInput

RATE_HZ = 20.0


class StandIn:
    """Ticks at 20 Hz; `sent` has every packet the page passed on, with its time."""

    cameras = ("scene", "wrist")

    def __init__(self) -> None:
        self.sent: list[tuple[float, OperatorInput]] = []
        self.commands: list[str] = []
        self.withdrawn: list[str] = []
        self.episode = 1
        self.said: dict[str, float] = {}
        self.position = np.array([0.45, 0.0, 0.25])
        self.phase, self.end_reason = "running", "open"
        self.safety = "ok"
        self.encoded = 0
        self._gripper_m = 0.04
        self._owner = ownership.begin(Ownership(), time.monotonic_ns())
        self._frame_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "StandIn":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def mode(self) -> Mode:
        return self._owner.mode

    def seen(self) -> Seen:
        return Seen(self._owner.mode.value, self.phase, str(self.episode), (self._gripper_m,))

    def facts(self) -> Mapping[str, Any]:
        return {"station": "stand-in", "turns": False, "camera_frame": "scene", "grippers": [[0.0, 0.04, "m"]]}

    def state(self) -> Mapping[str, Any]:
        since_s = (time.monotonic_ns() - self._owner.since_ns) * 1e-9
        return {
            "author": {
                "owner": self._owner.owner.name.lower(),
                "mode": self._owner.mode.value,
                "intervention_id": self._owner.intervention_id,
            },
            "policy": {"version": 3, "age_s": None, "said": self.said} if self._owner.mode is Mode.AUTO else None,
            "owner_s": since_s,
            "safety": self.safety,
            "episode": {
                "id": str(self.episode),
                "phase": self.phase,
                "task": "stand-in",
                "end_reason": self.end_reason,
            },
            "episode_s": since_s,
            "tcp_m": self.position,
            "gripper_m": self._gripper_m,
        }

    def frame(self, camera: str, after: int) -> Frame | None:
        seq = int((time.monotonic() - self._frame_at) * 30.0)
        if seq <= after:
            return None
        self.encoded += 1
        image = np.full((480, 640, 3), (34, 40, 48) if camera == "scene" else (48, 40, 34), np.uint8)
        x, y, z = self.position
        cv2.circle(image, (round(320 - y * 700), round(240 + (x - 0.45) * 600)), round(20 + z * 60), (90, 170, 255), -1)
        return Frame(seq, self._frame_at + seq / 30.0, encode_image(image, jpeg_quality=80))

    def time_ns(self) -> int:
        return time.time_ns()

    def send(self, packet: OperatorInput) -> None:
        self.sent.append((time.monotonic(), packet))

    def command(self, name: str) -> None:
        self.commands.append(name)
        if name == "stop":
            self.safety = "latched"
        if name == "reset":
            self.safety = "ok"
            self._owner = ownership.clear_safety(self._owner, time.monotonic_ns())
        if name in ("start", "demonstrate"):
            self.phase, self.end_reason, self.episode = "running", "open", self.episode + 1
            self._owner = ownership.begin(self._owner, time.monotonic_ns(), autonomous=name == "start")

    def withdraw(self, episode_id: str) -> None:
        self.withdrawn.append(episode_id)

    def _run(self) -> None:
        rate = RateKeeper(RATE_HZ)
        while not self._stopping.is_set():
            rate.wait()
            self._tick(time.monotonic())

    def _tick(self, now_s: float) -> None:
        heard_s, packet = self.sent[-1] if self.sent else (-np.inf, None)
        self._owner = ownership.advance(
            PAGE_RULES,
            self._owner,
            time_ns=round(now_s * 1e9),
            operator=packet,
            operator_age_s=now_s - heard_s,
            fault=self.safety != "ok",
        )
        if packet and self._owner.is_human and packet.engaged:
            self.position = self.position + np.array(packet.twist[:3]) / RATE_HZ
            self._gripper_m = packet.gripper if packet.gripper is not None else self._gripper_m
        elif self._owner.mode is Mode.AUTO:
            self.position = self.position + np.array([0.0, 0.1 * np.cos(now_s) / RATE_HZ, 0.0])
            self._owner = ownership.count_policy_tick(self._owner)
        if packet and packet.mark in (Mark.SUCCESS, Mark.FAILURE) and self.phase == "running":
            self.phase, self.end_reason = "ended", packet.mark.name.lower()
            self._owner = replace(self._owner, mode=Mode.ENDED)


def until(is_so: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not so within {timeout_s} s"
        time.sleep(0.02)
