"""The scripted person at an operator device: publishes `teleop/input` as a joystick would, 50 times a second.

In barrier mode there is exactly one packet per tick, stamped like the observation it answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from robot.errors import ConfigError, unknown_name
from robot.ros import topics
from robot.ros.messages import to_operator
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node
from robot.ros.streams import Streams
from robot.types import Mark, Observation, OperatorInput
from robot.worlds import make_expert
from sim.scripted_operator import DEVICE, OperatorScript, ScriptedOperator, Stall, Takeover

SCRIPTS = ("watch", "demonstrate")


@dataclass(frozen=True)
class OperatorParameters(NodeParameters):
    """`takeovers` is `start+steps` in control steps, as `20+30,80+10`; `marks` is `step=label`, as `40=success`.

    `stall_steps` > 0: take over after so many steps in which the tcp hardly moved. `noise` [m] and `slowness` make
    the person a worse driver.
    """

    task: str = "reach"
    script: str = "watch"
    takeovers: str = ""
    stall_steps: int = 0
    marks: str = ""
    gain: float = 0.5
    noise: float = 0.0
    slowness: float = 1.0
    rate_hz: float = 50.0


def read_script(parameters: OperatorParameters) -> OperatorScript:
    """Return the script that the parameters describe; ConfigError where they cannot be read."""
    if parameters.script not in SCRIPTS:
        raise unknown_name("operator script", parameters.script, SCRIPTS)
    try:
        takeovers = [Takeover(*map(int, part.split("+"))) for part in parameters.takeovers.split(",") if part]
        marks = [_read_mark(part) for part in parameters.marks.split(",") if part]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"takeovers '{parameters.takeovers}' or marks '{parameters.marks}' cannot be read ({error}); "
            "write takeovers as 20+30,80+10 and marks as 40=success"
        ) from None
    stall = Stall(steps=parameters.stall_steps) if parameters.stall_steps > 0 else None
    drives_all = parameters.script == "demonstrate"
    return OperatorScript(tuple(takeovers), stall, tuple(marks), drives_all, parameters.gain)


def _read_mark(text: str) -> tuple[int, Mark]:
    step, _, mark = text.partition("=")
    return int(step), Mark[mark.strip().upper()]


class OperatorNode(RobotNode[OperatorParameters]):
    """Looks, and drives while an episode runs; between episodes its hands are off."""

    def __init__(self) -> None:
        super().__init__("operator", OperatorParameters)
        given = self.parameters
        plain = f"tandem/{given.task}"
        expert = make_expert(plain, station=given.station, noise=given.noise, slowness=given.slowness)
        self._operator = ScriptedOperator(self.station, expert, read_script(given))
        self._following = ""  # id of the episode that the operator was reset for
        self._streams = Streams(self)
        self._inputs = self.publisher(topics.TELEOP_INPUT)
        self.start_thread("drive", self._drive)

    def _drive(self) -> None:
        for observation in self._streams.observations(self.parameters.rate_hz):
            packet = self._packet(observation)
            if not self.is_barrier:
                packet = replace(packet, time_ns=self.now_ns())
            self._inputs.publish(to_operator(packet))

    def _packet(self, observation: Observation | None) -> OperatorInput:
        episode = self._streams.episode
        if observation is None or not episode.is_running(observation.time_ns):
            return self._operator.hands_off(self.now_ns())
        if episode.id != self._following:
            self._following = episode.id
            self._operator.reset(episode.seed or 0)
        return self._operator.read(observation)

    def diagnose(self) -> Diagnosis:
        if self._streams.complaint:
            return Diagnosis(Level.WARN, self._streams.complaint)
        return Diagnosis(values={"episode": self._following, "device": DEVICE})


def main(args: Iterable[str] | None = None) -> int:
    return run_node(OperatorNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
