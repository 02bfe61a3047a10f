"""Simulated devices: the contracts of `robot.devices` over a `SimWorld` whose time is the machine's."""

from collections import deque
from typing import Any

import numpy as np

from robot.clock import Clock, MonotonicClock
from robot.control_loop import Outcome
from robot.devices import DeviceLife, DeviceState, Features, JointReading, check_command
from robot.types import NS_PER_S, Array
from sim.scene import TIMESTEP_S
from sim.world import SimWorld

LONGEST_CATCH_UP_S = 0.05
STEP_NS = round(TIMESTEP_S * NS_PER_S)


class SimulatedArm(DeviceLife):
    """The arm of a `SimWorld` in real time: every `read` brings the physics up to now.

    Where the process was kept from running for longer than 50 ms, physics skips that time as if it had been paused.
    When commands stop for `stop_s`, the arm comes to a stand by itself, as a robot's own controller does.
    """

    def __init__(self, world: SimWorld, clock: Clock | None = None, stop_s: float = 0.1) -> None:
        super().__init__()
        station = world.station
        self.features = Features("arm", station.joint_names, station.state_rate_hz, (len(station.joint_names),))
        self.world = world
        self._clock = clock or MonotonicClock()
        self._stop_ns = round(stop_s * NS_PER_S)
        self._target, self._velocity = station.home.copy(), np.zeros(len(station.joint_names))
        self._late: deque[tuple[int, Array, Array]] = deque()  # commands on their way, and when they arrive
        self._time_ns = self._commanded_ns = 0
        self._counter = 0

    def connect(self) -> None:
        super().connect()
        self._time_ns = self._clock.now_ns()
        self._stand()

    def read(self) -> JointReading:
        self.require()
        now_ns = self._clock.now_ns()
        if self._state is DeviceState.ACTIVE and now_ns - self._commanded_ns > self._stop_ns:
            self.hold()
        self._time_ns = max(self._time_ns, now_ns - round(LONGEST_CATCH_UP_S * NS_PER_S))
        steps = (now_ns - self._time_ns) // STEP_NS
        if steps > 0:
            self._advance(steps)
            self._counter += 1
        state = self.world.robot_state()
        return JointReading(self._time_ns, self._counter, state.position, state.velocity)

    def command(self, position: Array, velocity: Array) -> None:
        self.require(DeviceState.CONNECTED, DeviceState.ACTIVE, DeviceState.HOLDING)
        measured = self.world.robot_state().position
        check_command(self.world.station, position, measured, is_first=self._state is DeviceState.CONNECTED)
        self._commanded_ns = self._clock.now_ns()
        self._state = DeviceState.ACTIVE
        if self.world.command_latency_s:
            due_ns = self._commanded_ns + round(self.world.command_latency_s * NS_PER_S)
            self._late.append((due_ns, position, velocity))
        else:
            self._target, self._velocity = position, velocity

    def _advance(self, steps: int) -> None:
        """Bring the physics forward; a late command takes hold at the step in which it arrives."""
        while self._late and steps:
            due_ns, position, velocity = self._late[0]
            before = min(steps, max(0, -(-(due_ns - self._time_ns) // STEP_NS)))
            self._drive(before)
            steps -= before
            if self._time_ns < due_ns:
                return
            self._target, self._velocity = position, velocity
            self._late.popleft()
        self._drive(steps)

    def _drive(self, steps: int) -> None:
        if steps:
            self.world.drive(self._target, self._velocity, steps)
            self._time_ns += steps * STEP_NS

    def hold(self) -> None:
        self._late.clear()
        self._velocity = np.zeros_like(self._velocity)  # the target stays the last setpoint: no jump, no sag
        if self._state is DeviceState.ACTIVE:
            self._state = DeviceState.HOLDING

    def recover(self) -> None:
        """Return at once: a simulated arm has no faults of its own."""

    def reset_scene(self, seed: int | None) -> None:
        """Begin an episode: arm and objects are placed anew, as a person would between episodes."""
        self.world.reset(seed)
        self._time_ns, self._counter = self._clock.now_ns(), self._counter + 1
        self._stand()

    def object_state(self) -> Array:
        return self.world.task.object_state(self.world.data)

    def scene_state(self) -> Array:
        """Return what a `SceneRenderer` needs to draw this moment."""
        return self.world.sim_state()

    def domain_facts(self) -> dict[str, Any]:
        """Return what was drawn for the present scene, as the metadata of its episode; nothing in a plain world."""
        world = self.world
        return {"randomize": list(world.aspects), "drawn": dict(world.drawn)} if world.aspects else {}

    def outcome(self) -> Outcome:
        return self.world.outcome()

    def _stand(self) -> None:
        self._late.clear()
        self._target, self._velocity = self.world.robot_state().position, np.zeros_like(self._velocity)
        if self._state is DeviceState.ACTIVE:
            self._state = DeviceState.HOLDING
