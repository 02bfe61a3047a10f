"""Drive an arm with an operator device: on its graph, or with `--sim` in a simulated world without one."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot.env import TandemEnv
from robot.errors import ConfigError
from robot.local_teleoperation import local_operator
from robot.operator_devices import make_operator_device, operator_device_names, read_options
from robot.ros.description import GraphOptions, describe, named_task
from robot.specs import StationSpec, load_station
from robot.types import Observation
from robot.verb import Verb
from robot.worlds import make_env

SHOWN_S = 0.25
ENDLESS = 10**9  # steps


@dataclass(frozen=True)
class TeleopConfig:
    """Nothing is recorded here: `tandem record --teleop DEVICE` does."""

    device: str = "keyboard"
    """spacemouse, gamepad, keyboard, leader, or one beside another, as leader+keyboard."""
    option: tuple[str, ...] = ()
    """Of the device, as controls.frame=tool or station=my_leader.yaml."""
    station: str = "fr3_sim"
    task: str = ""
    """Scene of a simulated station, peg-insert by default."""
    sim: bool = False
    """Without ROS: a simulated world in this process, in real time; no cameras, no page."""
    page: bool = True
    """The operator page beside the device, with the cameras."""
    cameras: tuple[str, ...] | None = None
    """Cameras to start; all of the station by default, none for an empty list."""
    seed: int = 0
    """Of the first scene with --sim."""
    domain_id: int | None = None
    limit_s: float = 0.0
    """Stop by itself after so long; 0 is never."""


def run_teleop(config: TeleopConfig) -> dict[str, Any]:
    """Drive until Ctrl-C, or until the limit."""
    station = load_station(config.station)
    options = read_options(config.option)
    make_operator_device(config.device, station, options)  # what is wrong with it is said before anything starts
    print(f"{config.device} drives {station.name}; {hint(config.device)}", flush=True)
    return _in_simulation(config, options) if config.sim else _on_graph(config, station, options)


def hint(device: str) -> str:
    """Return how to take over with a device."""
    hints = {
        "keyboard": "keys w s a d r f move, g grips, t owns the arm, h hands back, x stops: docs/teleoperation.md",
        "gamepad": "hold the right bumper to own the arm",
        "spacemouse": "moving it takes over, letting go lets go",
        "leader": "moving it takes over; beside a keyboard (leader+keyboard) t owns the arm",
    }
    return hints.get(device.partition("+")[0], f"devices: {', '.join(operator_device_names())}")


def _in_simulation(config: TeleopConfig, options: dict[str, Any]) -> dict[str, Any]:
    task = named_task(config.task, load_station(config.station))
    env = make_env(f"tandem/{task}?station={config.station}", max_steps=ENDLESS).unwrapped
    if not isinstance(env, TandemEnv):
        raise ConfigError(f"'{task}' has no tick to drive: only tandem/* worlds have")
    begun_s, ticks, human, ends = time.monotonic(), 0, 0, []
    line = _StatusLine(lambda: env.loop.state.ownership.mode.value if env.loop.state else "")
    try:
        with local_operator(env.loop, config.device, options, line.show) as operator:
            while not _is_over(config, begun_s):
                for _, record in env.loop.run_episode(None, config.seed + len(ends), operator):
                    ticks, human = ticks + 1, human + (record.intervention_id >= 0)
                    if _is_over(config, begun_s):
                        break
                else:
                    ends.append(record.end_reason)
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
    finally:
        env.close()
    return {"device": config.device, "ticks": ticks, "human_ticks": human, "episodes": ends}


def _is_over(config: TeleopConfig, begun_s: float) -> bool:
    return 0.0 < config.limit_s <= time.monotonic() - begun_s


def _on_graph(config: TeleopConfig, station: StationSpec, options: dict[str, Any]) -> dict[str, Any]:
    from robot.ros.running_graph import choose_domain, running_graph
    from robot.ros.teleoperation import teleoperation

    nodes = describe(
        GraphOptions(
            station=config.station,
            task=config.task,
            operator="page" if config.page else "device",
            cameras=config.cameras,
        )
    )
    print(f"starting {len(nodes)} nodes: {', '.join(node.name for node in nodes)}", flush=True)
    begun_s = time.monotonic()
    with running_graph(nodes, domain_id=choose_domain(config.domain_id)) as graph:
        if graph.page_address:
            print(f"open {graph.page_address} to see the cameras", flush=True)
        if not station.is_simulated:
            print("the arm is latched until a person releases it: reset on the page", flush=True)
        with teleoperation(graph.client, station, config.device, options) as hand:
            line, waiting = _StatusLine(lambda: str(graph.client.author.get("mode", ""))), threading.Event()
            try:
                while not _is_over(config, begun_s):
                    graph.check()
                    if hand.robot is not None:
                        line.print(hand.robot.position, hand.pump.complaint)
                    waiting.wait(SHOWN_S)
            except KeyboardInterrupt:
                print("\nstopped", flush=True)
            return {"device": config.device, "packets": hand.pump.sent, "losses": hand.pump.losses}


class _StatusLine:
    """One line on a terminal that says who drives and where the joints are; nothing where there is none."""

    def __init__(self, mode: Callable[[], str]) -> None:
        self._mode, self._shown_s = mode, 0.0
        self._is_terminal = sys.stderr.isatty()

    def show(self, observation: Observation) -> None:
        if time.monotonic() - self._shown_s >= SHOWN_S:
            self.print(observation.robot.position)

    def print(self, position: np.ndarray, complaint: str = "") -> None:
        self._shown_s = time.monotonic()
        if self._is_terminal:
            joints = " ".join(f"{value:+.2f}" for value in position)
            print(f"\r{self._mode():<17} {joints} {complaint[:60]:<60}", end="", file=sys.stderr, flush=True)


VERB = Verb(TeleopConfig, run_teleop, "Drive an arm with an operator device.")
