"""What happens when an arm's device breaks while the arm moves: `tandem bench device_faults`.

For each device and each fault, on its stand-in and through the vendor's SDK: the arm process's own control follows a
moving command, the device breaks, and the stand-in, which knows where the joints really are, is the witness. Reaction:
from the fault until the control has latched. Stop: until no joint that has torque moves any more. Then the cause is
taken away and commands go on: nothing may move before a reset.
"""

import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.arm_drivers import ArmStandIn, make_arm
from hardware.stand_ins.franky_arm import FrankyStandIn, franka
from hardware.stand_ins.servo_arms import HOT_C, TEMPERATURE, ServoStandIn, dynamixel, feetech
from robot.arm_control import ArmControl
from robot.errors import RobotError
from robot.machine import machine
from robot.types import Array, Command, Owner

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
PERIOD_S, COMMAND_S = 0.01, 0.05
SPEED = 0.5  # [rad/s] of the first joint, before the fault and, as far as anybody follows, after it
MOVING_S, BROKEN_S, MENDED_S = 0.5, 1.2, 0.6
STARTS = 5  # attempts to have a healthy arm moving before it is broken
MOVED = 0.003  # [rad, m] from one look to the next: more than a servo's rounding
STALE = 0.05  # [rad] between what a reading says and where the joint was while it was taken


def _ids(kind: str, **more: Any) -> Callable[[ServoStandIn], object]:
    return lambda stand_in: stand_in.bus.tell(fault=kind, id=stand_in.options.ids[2], **more)


def _hot(stand_in: ServoStandIn) -> None:
    register = {"address": TEMPERATURE[stand_in.station.arm.driver], "size": 1, "value": HOT_C}
    stand_in.bus.tell(set={"id": stand_in.options.ids[1], **register})


SERVO_FAULTS: Mapping[str, Callable[[ServoStandIn], object]] = {
    "silent": _ids("silent"),
    "late": _ids("late", s=0.12),
    "short": _ids("short"),
    "corrupt": _ids("corrupt"),
    "duplicate": _ids("duplicate"),
    "frozen": lambda stand_in: stand_in.bus.tell(frozen=True),
    "unplugged": lambda stand_in: stand_in.bus.tell(plugged=False),
    "power cut": lambda stand_in: stand_in.bus.tell(power=False),
    "overload": lambda stand_in: stand_in.bus.tell(overload=stand_in.options.ids[-1]),
    "overheated": _hot,
    "limit hit": lambda stand_in: stand_in.bus.tell(blocked=stand_in.options.ids[0]),
}
FRANKA_FAULTS: Mapping[str, Callable[[FrankyStandIn], object]] = {
    "reflex": lambda stand_in: stand_in.robot.tell(reflex=True),
    "user stop": lambda stand_in: stand_in.robot.tell(user_stop=True),
    "silent": lambda stand_in: stand_in.robot.tell(silent=True),
    "frozen": lambda stand_in: stand_in.robot.tell(frozen=True),
    "slow": lambda stand_in: stand_in.robot.tell(slow=0.05),
    "very slow": lambda stand_in: stand_in.robot.tell(slow=0.12),
}


class Broken(ArmStandIn, Protocol):
    """A stand-in that also says which of its joints are under power."""

    def powered_joints(self) -> tuple[Array, NDArray[np.bool_]]: ...


@dataclass(frozen=True)
class Device:
    """What is broken, and how."""

    open: Callable[[], AbstractContextManager[Any]]
    faults: Mapping[str, Callable[[Any], object]]


DEVICES: Mapping[str, Device] = {
    "feetech": Device(feetech, SERVO_FAULTS),
    "dynamixel": Device(dynamixel, SERVO_FAULTS),
    "franka": Device(franka, FRANKA_FAULTS),
}


@dataclass
class Outcome:
    """What one fault did. Times from the fault [s]; `moved` is after it was mended, without a reset [rad]."""

    reaction_s: float = float("inf")
    stop_s: float = 0.0
    stale_as_fresh: int = 0
    moved: float = 0.0
    recovered: bool = False
    reason: str = ""


@dataclass
class Witness:
    """The control of one arm, stepped with the stand-in's own account before and after every step."""

    stand_in: Broken
    control: ArmControl
    place: Array
    stale: int = 0
    seq: int = 0
    _counter: int = -1
    _commanded_s: float = 0.0
    _looked: Array = field(default_factory=lambda: np.zeros(0))
    moved_s: float = 0.0

    def run(self, seconds: float, *, speed: float) -> Iterator[str]:
        """Step for a while under commands that go on at `speed`; yield the state after every step."""
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            if now_s - self._commanded_s >= COMMAND_S:
                self.place = self.place.copy()
                self.place[0] += speed * COMMAND_S
                self.seq += 1
                self.control.follow(Command(self.seq, 0, self.place, Owner.POLICY))
                self._commanded_s = now_s
            yield self._step()
            time.sleep(max(0.0, now_s + PERIOD_S - time.monotonic()))

    def _step(self) -> str:
        before = self.look()
        status = self.control.step()
        after = self.look()
        is_new, self._counter = status.reading.counter > self._counter, status.reading.counter
        if is_new:
            low, high = np.minimum(before, after) - STALE, np.maximum(before, after) + STALE
            self.stale += int(((status.reading.position < low) | (status.reading.position > high)).any())
        return status.state

    def look(self) -> Array:
        """Return where the joints are, and note whether one under torque moved since the last look."""
        joints, powered = self.stand_in.powered_joints()
        if self._looked.size and (np.abs(joints - self._looked)[powered] > MOVED).any():
            self.moved_s = time.monotonic()
        self._looked = joints
        return joints


@contextmanager
def moving_arm(name: str) -> Iterator[Witness]:
    """Yield an arm on its stand-in that is following commands."""
    with DEVICES[name].open() as stand_in, make_arm(stand_in.station) as arm:
        control = ArmControl(arm, stand_in.station)
        for _ in range(STARTS):
            control.step()
            control.reset()
            witness = Witness(stand_in, control, arm.read().position.copy())
            states = list(witness.run(MOVING_S, speed=SPEED))
            if states[-1] in ("ok", "limited"):
                yield witness
                return
        raise RobotError(f"{name}: this machine is too busy to keep a healthy arm moving: {control.reason}")


def break_and_mend(name: str, fault: str) -> Outcome:
    """Run one fault from motion to recovery."""
    outcome = Outcome()
    with moving_arm(name) as witness:
        broken_s = witness.moved_s = time.monotonic()
        DEVICES[name].faults[fault](witness.stand_in)
        for state in witness.run(BROKEN_S, speed=SPEED):
            if state.startswith("fault") and outcome.reaction_s == float("inf"):
                outcome.reaction_s, outcome.reason = time.monotonic() - broken_s, witness.control.reason
        outcome.stop_s = witness.moved_s - broken_s
        witness.stand_in.mend()
        mended = witness.look()
        for _ in witness.run(MENDED_S, speed=SPEED):
            pass
        joints, powered = witness.stand_in.powered_joints()
        outcome.moved = float(np.abs(joints - mended)[powered].max(initial=0.0))
        outcome.stale_as_fresh = witness.stale
        outcome.recovered, text = witness.control.reset()
        outcome.reason = f"{outcome.reason}; then: {text}"
    return outcome


def run() -> dict[str, Any]:
    """Break every device in every way; takes two minutes."""
    targets = tomllib.loads(TARGETS.read_text())["device_faults"]
    rows: list[dict[str, Any]] = []
    for name, device in DEVICES.items():
        outcomes = {fault: break_and_mend(name, fault) for fault in device.faults}
        for fault, outcome in outcomes.items():
            limit = targets["blocked_reaction_s"] if fault == "limit hit" else targets["reaction_s"]
            rows.append(_row(f"{name}/{fault}/reaction", outcome.reaction_s, "s", limit))
            rows.append(_row(f"{name}/{fault}/stop", outcome.stop_s, "s", targets["stop_s"]))
        rows += [
            _row(f"{name}/stale_as_fresh", sum(one.stale_as_fresh for one in outcomes.values()), "readings", 0),
            _row(f"{name}/moved_without_recover", max(one.moved for one in outcomes.values()), "rad", targets["moved"]),
            _row(f"{name}/not_recovered", sum(not one.recovered for one in outcomes.values()), "faults", 0),
        ]
    return {"name": "device_faults", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def _row(metric: str, value: float, unit: str, target: float) -> dict[str, Any]:
    return {
        "metric": metric, "value": value, "unit": unit, "reference": None, "ratio": None, "target": target,
        "ok": bool(value <= target),
    }  # fmt: skip
