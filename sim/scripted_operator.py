"""A scripted person: takes over by a schedule or where nothing moves, drives like the expert, labels, hands back.

Of several arms the person drives one at a time, the one that has most to do; the others stand.

What it does follows from the observations alone and their times, so it is the same person in lock-step, where it is
read once per tick, and at its own rate in a running graph.
"""

from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from robot.errors import ConfigError
from robot.specs import StationSpec
from robot.types import NS_PER_S, Array, Mark, Observation, OperatorInput, OwnerRequest
from robot.worlds import Expert

HAND_BACK_STEPS = 3  # the wish to hand back is repeated, a lost packet must not keep the arm
DEVICE = "scripted"
ARM_STEPS = 6  # of several arms a person drives one for so long at least: a hand has closed by then
SAME_GRIPPER = 2e-3  # [m] or [rad]


@dataclass(frozen=True, slots=True)
class Takeover:
    """One intervention: from step `start` of the episode, for `steps` steps."""

    start: int
    steps: int


@dataclass(frozen=True, slots=True)
class Stall:
    """When a person loses patience: the tcp moved less than `distance_m` in `steps`; they then drive for `drive`."""

    distance_m: float = 0.005
    steps: int = 20
    drive: int = 20


@dataclass(frozen=True, slots=True)
class OperatorScript:
    """What the person does in an episode; steps are control periods since its first observation.

    `demonstrate` drives from the first step to the last. `gain` is the share of the way to the expert's target that a
    twist covers in one period: the arm answers a period late, and a person who asks for all of it overshoots.
    """

    takeovers: tuple[Takeover, ...] = ()
    stall: Stall | None = None
    marks: tuple[tuple[int, Mark], ...] = ()
    demonstrate: bool = False
    gain: float = 0.5

    def __post_init__(self) -> None:
        ends = [(t.start, t.start + t.steps + HAND_BACK_STEPS) for t in self.takeovers]
        if any(t.start < 0 or t.steps < 1 for t in self.takeovers):
            raise ConfigError(f"takeovers {self.takeovers}: start must be >= 0 and steps >= 1")
        if any(end > start for (_, end), (start, _) in pairwise(ends)):
            raise ConfigError(f"takeovers {self.takeovers} must be in order, {HAND_BACK_STEPS} steps apart at least")
        if not 0.0 < self.gain <= 1.0:
            raise ConfigError(f"gain is {self.gain}, allowed: above 0, up to 1")


class ScriptedOperator:
    """The operator contract of `robot.control_loop` for one script; `seq` rises over episodes too."""

    def __init__(self, station: StationSpec, expert: Expert, script: OperatorScript) -> None:
        if any(side.action.space != "tcp_position" for side in station.sides):
            raise ConfigError(f"a scripted operator drives the tcp; station {station.name} acts in joint positions")
        self.script = script
        self._expert, self._period_ns = expert, station.period_ns
        self._top_speed_m_s = station.operator.linear_speed_m_s
        self._sides = station.side_names
        self._gripper_joints = [joints.stop - 1 for joints in station.joint_slices]
        self._seq = 0
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start an episode; its first step is the next observation."""
        self._expert.reset(seed)
        self._start_ns: int | None = None
        self._path: deque[tuple[int, Array]] = deque()
        self._driving_until = -1
        self._arm, self._arm_since_ns = 0, -NS_PER_S
        self._grippers: Array | None = None  # as last asked for, of each side
        self._marked: set[int] = set()

    def read(self, observation: Observation) -> OperatorInput:
        """Return the packet for what is seen now."""
        step = self.step_of(observation)
        packet = OperatorInput(self._seq, observation.time_ns, DEVICE, mark=self._mark(step))
        self._seq += 1
        if self._wants_to_drive(step, observation):
            return self._drive(packet, observation)
        self._grippers = None
        if 0 <= step - self._driving_until < HAND_BACK_STEPS:
            packet = replace(packet, request=OwnerRequest.HAND_BACK)
        return packet

    def hands_off(self, time_ns: int) -> OperatorInput:
        """Return the packet of a person who neither sees nor does anything."""
        packet = OperatorInput(self._seq, time_ns, DEVICE)
        self._seq += 1
        return packet

    def step_of(self, observation: Observation) -> int:
        """Return how many control periods of the episode have passed."""
        if self._start_ns is None:
            self._start_ns = observation.time_ns
        return round((observation.time_ns - self._start_ns) / self._period_ns)

    def _mark(self, step: int) -> Mark:
        """Return the mark that is due; each is given once."""
        for due, mark in self.script.marks:
            if step >= due and due not in self._marked:
                self._marked.add(due)
                return mark
        return Mark.NONE

    def _wants_to_drive(self, step: int, observation: Observation) -> bool:
        if self.script.demonstrate:
            return True
        for takeover in self.script.takeovers:
            if takeover.start <= step < takeover.start + takeover.steps:
                self._driving_until = takeover.start + takeover.steps
        if self.script.stall is not None and step >= self._driving_until and self._is_stalled(observation):
            self._driving_until = step + self.script.stall.drive
        return step < self._driving_until

    def _is_stalled(self, observation: Observation) -> bool:
        """Say whether the tcp has hardly moved for as long as the person has patience; then start to look anew."""
        stall, tcp = self.script.stall, observation.values["tcp_position"]
        assert stall is not None
        patience_ns = stall.steps * self._period_ns
        self._path.append((observation.time_ns, tcp))
        if observation.time_ns - self._path[0][0] < patience_ns:
            return False
        while observation.time_ns - self._path[0][0] > patience_ns:
            self._path.popleft()
        if max(float(np.linalg.norm(tcp - place)) for _, place in self._path) > stall.distance_m:
            return False
        self._path.clear()
        return True

    def _drive(self, packet: OperatorInput, observation: Observation) -> OperatorInput:
        """Move one arm towards the expert's target: the twist of a hand on a joystick, the clutch held."""
        wanted = self._expert.act(observation.values).reshape(len(self._sides), -1)  # tcp and gripper of each side
        offsets = wanted[:, :3] - observation.values["tcp_position"].reshape(-1, 3)
        if self._grippers is None:
            self._grippers = observation.values["joint_position"][self._gripper_joints]
        arm = self._choose_arm(offsets, wanted[:, 3] - self._grippers, observation.time_ns)
        self._grippers[arm] = wanted[arm, 3]
        linear = self.script.gain * offsets[arm] / (self._period_ns / NS_PER_S)
        linear *= min(1.0, self._top_speed_m_s / max(float(np.linalg.norm(linear)), 1e-9))
        x, y, z = (float(v) for v in linear)
        return replace(
            packet,
            engaged=True,
            request=OwnerRequest.TAKE_OVER,
            twist=(x, y, z, 0.0, 0.0, 0.0),
            gripper=float(wanted[arm, 3]),
            side=self._sides[arm],
        )

    def _choose_arm(self, offsets: Array, gripper_changes: Array, time_ns: int) -> int:
        """Stay with an arm for a moment, then go to where most is to be done: a hand to open or close before a way."""
        is_changing = np.abs(gripper_changes) > SAME_GRIPPER
        if time_ns - self._arm_since_ns >= ARM_STEPS * self._period_ns:
            arm = int(np.argmax(np.linalg.norm(offsets, axis=1) + is_changing))
            if arm != self._arm or is_changing[arm]:
                self._arm, self._arm_since_ns = arm, time_ns
        return self._arm
