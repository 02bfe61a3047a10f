"""The simulated arm and its scene as a node: the arm process over MuJoCo, plus what only a simulation can tell.

It also places the scene anew for every episode, says what came of the task and publishes what camera processes draw.
In barrier mode it advances one control period per command instead of following the wall clock.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from robot.arm_control import ArmControl, ArmStatus
from robot.arm_servo import LocalServo
from robot.control_loop import Outcome
from robot.ros import topics
from robot.ros.arm_process import ArmNode
from robot.ros.episode_state import EpisodeState, episode_state_from
from robot.ros.messages import from_command, from_json, to_joint_state, to_json, to_object_state
from robot.ros.node import NodeParameters, run_node
from robot.specs import StationSpec
from robot.types import Command, Observation
from sim.devices import SimulatedArm
from sim.task import make_task
from sim.world import SimWorld

OBJECT_RATE_HZ = 100.0
SCENE_RATE_HZ = 60.0
T = TypeVar("T")


@dataclass(frozen=True)
class SimArmParameters(NodeParameters):
    """`seed` places the scene before the first episode. `randomize` is what every episode draws anew: `all`, or aspects
    of `sim.randomization` with commas between."""

    task: str = "reach"
    seed: int = 0
    randomize: str = ""


def make_arm(station: StationSpec, parameters: SimArmParameters) -> SimulatedArm:
    """Return the arm of a new scene."""
    aspects = [name.strip() for name in parameters.randomize.split(",") if name.strip()]
    randomize = True if aspects == ["all"] else aspects
    world = SimWorld(station, make_task(parameters.task, station.robot), randomize=randomize)
    world.reset(parameters.seed)
    return SimulatedArm(world)


class SimArmNode(ArmNode[SimArmParameters]):
    """`sim` is the same device as `arm`, with its scene."""

    def __init__(self) -> None:
        super().__init__(SimArmParameters, lambda station, given: LocalServo(make_arm(station, given), station))
        assert isinstance(self.servo, LocalServo) and isinstance(self.servo.arm, SimulatedArm)
        self.sim = self.servo.arm
        self._max_steps = make_task(self.parameters.task, self.station.robot).max_steps
        rate_hz = self.station.state_rate_hz
        self._object_every = max(1, round(rate_hz / OBJECT_RATE_HZ))
        self._scene_every = max(1, round(rate_hz / SCENE_RATE_HZ))
        self._outcome_every = max(1, round(rate_hz / self.station.control_rate_hz))
        self._objects = self.publisher(topics.OBJECT_STATE)
        self._scene = self.publisher(topics.SIM_STATE)
        self._domains = self.publisher(topics.SIM_DOMAIN)
        self._outcomes = self.publisher(topics.TASK_OUTCOME)
        self._ready = self.publisher(topics.WORLD_READY)
        self._domain = "first"
        self._publish_domain()
        self._state = EpisodeState()
        self._changed = threading.Condition()
        self._command: Command | None = None  # barrier mode
        self.subscribe(topics.EPISODE_STATE, self._on_episode)

    @property
    def control(self) -> ArmControl:
        """Return what moves the arm; there from the first configuration on."""
        assert isinstance(self.servo, LocalServo)
        return self.servo.control

    def servo_loop(self) -> None:
        """Follow the wall clock, or in barrier mode the commands."""
        if self.is_barrier:
            self._run_barrier()
        else:
            super().servo_loop()

    def _on_episode(self, message: Any) -> None:
        with self._changed:
            self._state = episode_state_from(from_json(message))
            self._changed.notify_all()

    def before_step(self) -> None:
        """Place the scene of a new episode; commands made for the old one are not followed from here on."""
        state = self._state
        if state.phase != "reset" or state.id == self.episode:
            return
        self.episode = state.id
        self.sim.reset_scene(state.seed)
        self._domain = state.id
        self._publish_domain()
        reading = self.sim.read()
        self.control.restart(reading)
        stamp_ns = self.stamp_of(reading.time_ns)
        self._publish_scene(stamp_ns)
        self._say_ready(state.id, stamp_ns)

    def after_step(self, status: ArmStatus, n: int) -> None:
        stamp_ns = self.stamp_of(status.reading.time_ns)
        if n % self._object_every == 0:
            self.emit(self._objects, to_object_state(stamp_ns, self.sim.object_state()))
        if n % self._scene_every == 0:
            self._publish_scene(stamp_ns)
        if n % self._outcome_every == 0:
            self._publish_outcome(stamp_ns, self.sim.outcome())

    def _publish_scene(self, stamp_ns: int) -> None:
        """Publish what a camera has to place; its `frame_id` names the domain that it has to be drawn in."""
        state = self.sim.scene_state()
        names = [f"state_{i}" for i in range(len(state))]
        self.emit(self._scene, to_joint_state(names, stamp_ns, state, frame_id=self._domain))

    def _publish_domain(self) -> None:
        self.emit(self._domains, to_json({"id": self._domain, **self.sim.domain_facts()}))

    def _say_ready(self, episode_id: str, time_ns: int) -> None:
        self.emit(self._ready, to_json({"id": episode_id, "time_ns": time_ns, "facts": self.sim.domain_facts()}))

    def _publish_outcome(self, stamp_ns: int, outcome: Outcome) -> None:
        facts = {"reward": outcome.reward, "is_success": outcome.is_success, "is_failure": outcome.is_failure}
        self.emit(self._outcomes, to_json({"time_ns": stamp_ns, "max_steps": self._max_steps, **facts}))

    def _on_command(self, message: Any) -> None:
        if not self.is_barrier:
            super()._on_command(message)
            return
        with self._changed:
            self._command = from_command(message, self.station.joint_names)
            self._changed.notify_all()

    def _run_barrier(self) -> None:
        """Play episodes tick by tick: publish what is seen, wait for the command with its stamp, advance."""
        while self.is_running:
            self.say(self.control.state)
            with self._changed:
                self._changed.wait_for(self._is_new_episode, timeout=0.1)
            if self._is_new_episode() and self.control.is_released:
                self._play_episode(self._state)

    def _is_new_episode(self) -> bool:
        return self._state.phase == "reset" and self._state.id != self.episode

    def _play_episode(self, state: EpisodeState) -> None:
        self.episode = state.id
        observation = self.sim.world.reset(state.seed)
        self._domain = state.id
        self._publish_domain()
        self._say_ready(state.id, observation.time_ns)
        while self._await(lambda: self._state.phase == "running"):
            self._publish_tick(observation)
            command = self._await(lambda t=observation.time_ns: self._command_of(t))
            if command is None:
                return
            observation = self.sim.world.advance(command)

    def _command_of(self, time_ns: int) -> Command | None:
        return self._command if self._command is not None and self._command.time_ns == time_ns else None

    def _await(self, get: Callable[[], T]) -> T | None:
        """Wait until there is something; None when the node stops, the arm is latched or the episode is over."""
        with self._changed:
            while self._is_playing():
                self.say(self.control.state)
                if found := get():
                    return found
                self._changed.wait(timeout=0.1)
        return None

    def _is_playing(self) -> bool:
        is_same = self._state.id == self.episode and self._state.phase in ("reset", "running")
        return is_same and self.control.is_released and self.is_running

    def _publish_tick(self, observation: Observation) -> None:
        names, robot, time_ns = self.station.joint_names, observation.robot, observation.time_ns
        self._publish_outcome(time_ns, self.sim.outcome())
        self.emit(self._objects, to_object_state(time_ns, self.sim.object_state()))
        self._publish_scene(time_ns)
        self.emit(self._joints, to_joint_state(names, time_ns, robot.position, robot.velocity))


def main(args: Iterable[str] | None = None) -> int:
    return run_node(SimArmNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
