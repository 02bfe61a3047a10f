"""Franka arms (FR3) with the Franka Hand through franky-control: libfranka runs the 1 kHz loop, we move its reference.

Commands become the reference of one joint impedance controller, with their velocity fed forward. Against franky-sim
this lagged 30 ms, and an arm told to stand at 0.5 rad/s was below 0.05 rad/s after 0.18 s; planning a new waypoint for
every command (Ruckig) lagged 115-130 ms. The gains are somewhat below those of Franka's joint impedance example: with
twice the damping an arm that was folded, and so of little inertia about joint 1, shook itself out of control. The
controller follows whatever it is given, so the speed limits are those of the arm process's filter, from the station.

The robot's own joint limits (from the description that it serves) are compared with the station's: a station may ask
for a little less than the arm can, never for more.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np

from hardware.arm_drivers import arm_options
from hardware.grippers.franka_hand import FrankaHand
from hardware.real_time import own_scheduling, start_at_fixed_priority
from robot.devices import DeviceLife, DeviceState, Features, JointReading, check_command
from robot.errors import ActionRejected, ConfigError, DeviceDisconnected, DeviceNotFound, MissingDependency
from robot.specs import StationSpec
from robot.types import Array

Seven = tuple[float, float, float, float, float, float, float]
JOINTS = 7
POLL_S = 0.002
LOST_S = 0.5  # without a new state the connection counts as lost; the arm process stops following after 3 periods
NEWS_S = 0.01  # a reading waits for a new state; three without one are the end of following (30 ms, then)
COMMAND_S = 0.08  # without a new command the reference stands still
STOP_LEAD_S = 0.05  # an arm that is to stand is let roll so far, instead of being pulled back
STOP_S = 2.0
SETTLE_S = 0.5
LIMIT_SLACK = 1e-3  # [rad, rad/s], of limits that were rounded on their way
NARROWER_RAD = 0.2  # system 5.9 widened the FR3's limits by up to 0.16 rad; the older ones are safe on a newer robot


@dataclass(frozen=True)
class FrankaOptions:
    """`arm: options:` of a station with a Franka arm.

    `realtime: ignore` is for simulators and for trials without a real-time kernel; on a real arm expect
    `communication_constraints_violation` then. `dynamics_factor` scales motions that the robot plans by itself.
    """

    realtime: Literal["enforce", "ignore"] = "enforce"
    dynamics_factor: float = 0.05
    stiffness_nm_rad: Seven = (400.0, 400.0, 400.0, 400.0, 250.0, 150.0, 50.0)
    damping_nms_rad: Seven = (40.0, 45.0, 40.0, 35.0, 20.0, 15.0, 10.0)
    collision_torque_nm: float = 20.0
    collision_force_n: float = 30.0

    def __post_init__(self) -> None:
        if not 0.0 < self.dynamics_factor <= 1.0:
            raise ConfigError(f"dynamics_factor is {self.dynamics_factor}; allowed: above 0, up to 1")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the robot last said, and when that came [monotonic ns]."""

    time_ns: int
    counter: int  # the robot's own clock [ms]
    position: Array
    velocity: Array
    mode: str
    errors: tuple[str, ...]
    success_rate: float


def make_arm(station: StationSpec) -> "FrankaArm":
    """Return the station's Franka arm, not yet connected."""
    return FrankaArm(station, arm_options(station, FrankaOptions))


class FrankaArm(DeviceLife):
    """One arm with its hand. A thread of its own keeps the newest state, since asking the robot may block for 1 s."""

    def __init__(self, station: StationSpec, options: FrankaOptions) -> None:
        super().__init__()
        if len(station.arm.joints) != JOINTS:
            raise ConfigError(f"{station.name} has {len(station.arm.joints)} joints; a Franka arm has {JOINTS}")
        self.features = Features("arm", station.joint_names, station.arm.state_rate_hz, (JOINTS + 1,))
        self._station, self._options = station, options
        self._robot: Any = None
        self._motion: Any = None  # the impedance controller, None before the first command
        self._hand = FrankaHand(station)
        self._snapshot: Snapshot | None = None
        self._lost, self._returned = "", -1
        self._news = threading.Condition()
        self._reference, self._velocity = np.zeros(JOINTS), np.zeros(JOINTS)
        self._commanded_s = 0.0
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def connect(self) -> None:
        """Connect arm and hand, read, and compare with the station.

        Raises:
            MissingDependency: franky-control is not installed.
            DeviceNotFound: nobody answers, the FCI is not activated, or the versions do not fit.
            ConfigError: the station has no address, or there is no real-time kernel where one is asked for.
        """
        if self._state is not DeviceState.DISCONNECTED:
            return
        self._open()
        super().connect()

    def _open(self) -> None:
        self._robot = connect_robot(self._station, self._options)
        self.mismatches = compare_limits(self._station, self._robot.model_urdf)
        self._hand.connect()
        self._snapshot, self._motion, self._lost = take(self._robot.state), None, ""
        self._closing.clear()
        self._threads = [
            threading.Thread(target=loop, args=(self._robot,), name=loop.__name__, daemon=True)
            for loop in (self._watch_state, self._watch_commands)
        ]
        for thread in self._threads:
            thread.start()

    def read(self) -> JointReading:
        """Return the newest measurement; where there is none since the last call, wait for one, at most 10 ms."""
        self.require()
        with self._news:
            self._news.wait_for(lambda: self._lost or self._newest().counter != self._returned, NEWS_S)
        self._check()
        said = self._newest()
        self._returned = said.counter
        velocity = np.append(said.velocity, self._hand.speed_m_s)
        return JointReading(said.time_ns, said.counter, self._position(), velocity)

    def command(self, position: Array, velocity: Array) -> None:
        self.require(DeviceState.CONNECTED, DeviceState.ACTIVE, DeviceState.HOLDING)
        if self.mismatches:
            raise ActionRejected("this arm is not the one of the station file: " + "; ".join(self.mismatches))
        self._check()
        self.require(DeviceState.CONNECTED, DeviceState.ACTIVE, DeviceState.HOLDING)
        check_command(self._station, position, self._position(), is_first=self._motion is None)
        with self._lock:
            self._commanded_s = time.monotonic()
            self._reference, self._velocity = np.array(position[:JOINTS]), np.array(velocity[:JOINTS])
            try:
                self._send()
            except Exception as error:  # libfranka's own classes have no common base that is public
                self._fail(f"the robot does not take the command: {error}")
                raise DeviceDisconnected(self.fault) from None
            self._state = DeviceState.ACTIVE
        self._hand.go_to(float(position[JOINTS]))

    def hold(self) -> None:
        with self._lock:
            if self._state is DeviceState.ACTIVE:
                low, high = self._station.position_lower[:JOINTS], self._station.position_upper[:JOINTS]
                self._reference = np.clip(self._reference + STOP_LEAD_S * self._velocity, low, high)
                self._velocity = np.zeros(JOINTS)
                self._send()
                self._state = DeviceState.HOLDING

    def recover(self) -> None:
        if self._state is not DeviceState.FAULT:
            return
        if self._lost:
            self._let_go()
            self._open()
        elif self._newest().mode == "UserStopped":
            raise DeviceDisconnected(f"still at fault: {self.fault}; no program clears it, release it at the robot")
        self._ended()  # franky keeps the error that ended a motion, and raises it at the next one
        try:
            self._robot.recover_from_errors()  # what it returns is of a state from before
            self._settle()
        except Exception as error:  # as in command
            raise DeviceDisconnected(f"still at fault: {self.fault}; the robot does not recover: {error}") from None
        if reason := complaint(self._newest()):
            raise DeviceDisconnected(f"still at fault: {reason}; look at Desk for the cause")
        self._motion = None
        self.fault, self._state = "", DeviceState.CONNECTED

    def close(self) -> None:
        """Come to a stand, then give the robot back to its own controller, which holds it."""
        if self._state is DeviceState.DISCONNECTED:
            return
        self.hold()
        self._let_go()
        super().close()

    def health(self) -> Mapping[str, object]:
        said = self._snapshot
        facts = {"address": self._station.arm.address}
        if said is None:
            return facts
        return {
            **facts,
            "mode": said.mode,
            "errors": ", ".join(said.errors) or "none",
            "command_success_rate": said.success_rate,
            "state_age_ms": (time.monotonic_ns() - said.time_ns) / 1e6,
            **self._hand.health(),
        }

    def _send(self) -> None:
        """Give the controller its reference; the first one starts it, at the measured position."""
        import franky

        reference = franky.JointReference(self._reference, self._velocity)
        if self._motion is None:
            self._motion = franky.JointImpedanceTrackingMotion(
                stiffness=np.array(self._options.stiffness_nm_rad),
                damping=np.array(self._options.damping_nms_rad),
                lower_joint_limits=self._station.position_lower[:JOINTS],
                upper_joint_limits=self._station.position_upper[:JOINTS],
            )
            self._motion.set_reference(reference)
            # libfranka's control thread: it takes a priority by itself only where `realtime` is enforced
            start_at_fixed_priority(partial(self._robot.move, self._motion, asynchronous=True))
        else:
            self._motion.set_reference(reference)

    def _settle(self) -> None:
        """Read until the robot's states are of after its recovery, at most half a second."""
        deadline_s = time.monotonic() + SETTLE_S
        self._snapshot = take(self._robot.state)
        while complaint(self._snapshot) and time.monotonic() < deadline_s:
            self._snapshot = take(self._robot.state)

    def _position(self) -> Array:
        return np.append(self._newest().position, self._hand.finger_m)

    def _newest(self) -> Snapshot:
        assert self._snapshot is not None, "connect first"
        return self._snapshot

    def _check(self) -> None:
        """Fault where the robot reports one or is lost; DeviceDisconnected where it is lost."""
        said = self._newest()
        age_s = (time.monotonic_ns() - said.time_ns) / 1e9
        silence = f"it has said nothing new for {age_s:.2f} s" if age_s > LOST_S else ""
        self._lost = self._lost or self._hand.failure or silence
        if self._lost:
            self._fail(f"the connection to {self._station.arm.address} is lost: {self._lost}")
            raise DeviceDisconnected(self.fault)
        if self._state is not DeviceState.FAULT and (reason := complaint(said) or self._ended()):
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        if self._state is not DeviceState.FAULT:
            self.fault, self._state = reason, DeviceState.FAULT

    def _ended(self) -> str:
        """Return why the controller is no longer in control, although nobody stopped it."""
        if self._motion is None or self._robot.is_in_control:
            return ""
        try:
            self._robot.poll_motion()
        except Exception as error:  # as in command
            return f"the robot ended the motion: {error}"
        return "the robot ended the motion without giving a reason"

    def _watch_state(self, robot: Any) -> None:
        while not self._closing.wait(POLL_S):
            try:
                said = take(robot.state)
            except Exception as error:  # as in command
                with self._news:
                    self._lost = str(error)
                    self._news.notify_all()
                return
            if said.counter != self._newest().counter:  # franky repeats the last state while none comes
                with self._news:
                    self._snapshot = said
                    self._news.notify_all()

    def _watch_commands(self, _: Any) -> None:
        """Let the arm stand when commands stop coming, also where the thread that sends them is frozen."""
        while not self._closing.wait(COMMAND_S / 4):
            if self._state is DeviceState.ACTIVE and time.monotonic() - self._commanded_s > COMMAND_S:
                self.hold()

    def _let_go(self) -> None:
        import franky

        if self._motion is not None and self._robot.is_in_control:
            try:
                self._robot.move(franky.TorqueStopMotion(), asynchronous=True)
                self._robot.join_motion(STOP_S)
            except Exception as error:  # as in command; a lost robot has stopped by itself
                self._lost = self._lost or str(error)
        self._closing.set()
        for thread in self._threads:
            thread.join(STOP_S)
        self._hand.close()
        self._robot = self._motion = None


def take(state: Any) -> Snapshot:
    """Copy what we need of franky's state."""
    errors = state.current_errors
    return Snapshot(
        time_ns=time.monotonic_ns(),
        counter=state.time.to_msec(),
        position=np.array(state.q),
        velocity=np.array(state.dq),
        mode=state.robot_mode.name,
        errors=tuple(name for name in error_names(type(errors)) if getattr(errors, name)),
        success_rate=state.control_command_success_rate,
    )


@cache
def error_names(kind: type) -> tuple[str, ...]:
    """Return the names of libfranka's errors, which are properties of one class."""
    return tuple(name for name in dir(kind) if not name.startswith("_"))


def complaint(said: Snapshot) -> str:
    """Return why this robot may not be commanded; empty where it may."""
    if said.mode == "UserStopped":
        return "the user stop is pressed (or the enabling device is not)"
    if said.errors or said.mode == "Reflex":
        return f"the robot reports {', '.join(said.errors) or 'a reflex'}"
    if said.mode == "Guiding":
        return "the robot is being guided by hand"
    return ""


def connect_robot(station: StationSpec, options: FrankaOptions) -> Any:
    """Return franky's robot; its errors become ours, with what to do."""
    address = station.arm.address
    if not address:
        raise ConfigError(f"{station.name} has no arm address: write the robot's, as in address: 172.16.0.2")
    try:
        import franky
    except ImportError as error:
        raise MissingDependency(
            f"the franka driver needs franky-control ({error}): pip install '.[franka]'; "
            "of the system it needs glibc 2.34 or newer"
        ) from None
    config = franky.RealtimeConfig.Enforce if options.realtime == "enforce" else franky.RealtimeConfig.Ignore
    try:
        with own_scheduling():  # libfranka gives its caller, and all it starts later, the highest priority there is
            return franky.Robot(
                address,
                relative_dynamics_factor=options.dynamics_factor,
                default_torque_threshold=options.collision_torque_nm,
                default_force_threshold=options.collision_force_n,
                realtime_config=config,
            )
    except franky.IncompatibleVersionException as error:
        raise DeviceNotFound(
            f"the robot at {address} speaks another version of libfranka ({error}); "
            "install the build of franky-control for its system version"
        ) from None
    except franky.NetworkException as error:
        raise DeviceNotFound(
            f"no robot answers at {address} ({error}); check the cable, unlock the brakes and activate the FCI "
            "in Desk, and end any other client"
        ) from None
    except franky.RealtimeException as error:
        raise ConfigError(
            f"realtime is 'enforce' and this machine cannot ({error}); boot a PREEMPT_RT kernel and allow rtprio 99, "
            "or write realtime: ignore for a trial at low speed"
        ) from None


def compare_limits(station: StationSpec, urdf: str) -> tuple[str, ...]:
    """Return in which limits the station is for another arm than the one whose description this is."""
    joints = [joint for joint in ElementTree.fromstring(urdf).iter("joint") if joint.get("type") == "revolute"]
    limits = [limit for joint in joints if (limit := joint.find("limit")) is not None]
    if len(limits) != JOINTS:
        return (f"the robot describes {len(limits)} joints with limits, the station {JOINTS}",)
    lines = []
    for spec, limit in zip(station.arm.joints, limits, strict=True):
        lower, upper, speed = (float(limit.get(name, "nan")) for name in ("lower", "upper", "velocity"))
        inside = spec.lower_rad - lower, upper - spec.upper_rad
        if not all(-LIMIT_SLACK <= distance <= NARROWER_RAD for distance in inside):
            lines.append(
                f"{spec.name}: the robot's limits are [{lower:.4f}, {upper:.4f}] rad, "
                f"the station's [{spec.lower_rad:.4f}, {spec.upper_rad:.4f}]"
            )
        if not spec.velocity_rad_s <= speed + LIMIT_SLACK:
            lines.append(f"{spec.name}: the robot turns at {speed:.3f} rad/s, the station says {spec.velocity_rad_s}")
    return tuple(lines)
