"""franky-sim as a robot that can fail: Franka's network protocol over a MuJoCo FR3, a process of its own.

    python -m hardware.stand_ins.franky [--address 127.0.0.5] [--panda] [--version 9]

prints one JSON line, `{"address": ...}`, and then answers JSON lines on its standard input, one line each, until that
closes. A request is an object with one key:

    {"reflex": true}      a joint reflex: the motion is aborted and the robot refuses new ones until it is recovered
    {"user_stop": true}   the user stop is pressed; false releases it. Recovering does not help while it is pressed
    {"silent": true}      no states are sent any more; false speaks again
    {"frozen": true}      the last state is sent again and again
    {"slow": 0.05}        it speaks and listens only so often [s], while the arm moves on
    {"state": true}       joints, velocities and the hand's width as they really are

franky-sim itself never reports an error; the errors and modes are put into the states it sends. It would go on with
the last torque when commands no longer come; here it stops with `communication_constraints_violation`, as a robot does.
`--panda` describes a Panda's limits instead of an FR3's, `--version` is the libfranka version that it claims to need.
"""

import argparse
import contextlib
import json
import math
import os
import select
import struct
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

JOINT_REFLEX, COMMUNICATION = 6, 25  # of libfranka's errors, in their order
PERIOD_S = 0.001
HELD_UP_S = 0.005  # a longer period is one in which this process was held up: the commands were not
PATIENCE_S = 0.1  # without a command before a moving robot stops itself; a real one waits 20 ms
PANDA_LIMITS = (  # lower, upper [rad], velocity [rad/s]; Franka's control parameters specification
    (-2.8973, 2.8973, 2.175), (-1.7628, 1.7628, 2.175), (-2.8973, 2.8973, 2.175), (-3.0718, -0.0698, 2.175),
    (-2.8973, 2.8973, 2.61), (-0.0175, 3.7525, 2.61), (-2.8973, 2.8973, 2.61),
)  # fmt: skip


class FaultyRobot:
    """franky-sim's server with faults put between it and its client."""

    def __init__(self, address: str | None, *, is_panda: bool, version: int | None) -> None:
        from franky_sim import SimulationServer
        from franky_sim.mujoco_simulator import MujocoSimulator

        self._simulator = MujocoSimulator()
        self._simulator.init()
        self._robot = self._simulator.add_robot()
        self._server = SimulationServer(self._simulator, *([[address]] if address else []))
        self.slow_s, self._last = 0.0, b""
        self.is_silent = self.is_frozen = self.is_stopped_by_user = False
        self.errors: set[int] = set()
        self._stepped_s, self._waited_s = time.monotonic(), 0.0
        _answer_with_faults(self, panda_urdf() if is_panda else None, version)

    def start(self) -> str:
        """Open the ports and return the address."""
        self._server.init()
        (server,) = self._server.robot_servers
        self._end: Any = server
        self._truth, self._send = self._end._get_state_bytes, self._end.send_state
        self._end._get_state_bytes = self._state_bytes
        self._end.send_state = self._send_state
        return str(self._robot.hostname)

    def _state_bytes(self) -> bytes:
        if not (self.is_frozen and self._last):
            self._last = self._with_faults(self._end.robot_state).pack_state() if self.has_fault else self._truth()
        return self._last

    def _send_state(self) -> None:
        if not self.is_silent:
            self._send()
        if self.is_frozen:
            self._end._FrankaServer__message_id -= 1  # the same message again, not a new one of the same content

    @property
    def has_fault(self) -> bool:
        return bool(self.errors) or self.is_stopped_by_user

    def step(self) -> None:
        """Run one control period, and stop as a robot does whose commands no longer come."""
        self._server.run_once()
        now_s = time.monotonic()
        step_s, self._stepped_s = min(now_s - self._stepped_s, max(HELD_UP_S, self.slow_s)), now_s
        is_heard = self._end._FrankaRobotServer__has_new_command or not self._end.current_motion_id
        self._waited_s = 0.0 if is_heard else self._waited_s + step_s
        if self._waited_s > PATIENCE_S:
            self.errors.add(COMMUNICATION)
            self._abort()

    def move_on(self) -> None:
        """Run one period of the arm alone: it goes on as it was last told, and nothing is said or heard."""
        self._end._pre_process_commands()
        self._end._post_process_commands()
        self._simulator.step()
        time.sleep(PERIOD_S)

    def obey(self, request: dict[str, Any]) -> None:
        """Carry out a request; ValueError for an unknown one."""
        ((name, value),) = request.items()
        if name == "reflex":
            self.errors = {JOINT_REFLEX} if value else set()
        elif name == "user_stop":
            self.is_stopped_by_user = bool(value)
        elif name == "silent":
            self.is_silent = bool(value)
        elif name == "frozen":
            self.is_frozen = bool(value)
        elif name == "slow":
            self.slow_s = float(value)
        elif name != "state":
            raise ValueError(f"unknown request {name}: reflex, user_stop, silent, frozen, slow or state")
        if self.has_fault and value and name in ("reflex", "user_stop"):
            self._abort()

    def truth(self) -> dict[str, object]:
        state = self._robot.inner_state
        return {"position": list(state.q), "velocity": list(state.dq), "width_m": self._robot.hand_width}

    def _abort(self) -> None:
        """End a running motion as a robot does that stops by itself."""
        from franky_sim.franka_robot_protocol import MoveStatus, RobotCommand
        from franky_sim.franka_server import BaseCommand

        motion = self._end.current_motion_id
        self._end.stop_motion(send_preemption_signal=False)
        self._end.reset_current_motion_id()
        if motion:
            status = MoveStatus.kReflexAborted if self.errors else MoveStatus.kEmergencyAborted
            BaseCommand.send_response(self._end._tcp_socket, RobotCommand.kMove, motion, status)

    def _with_faults(self, state: Any) -> Any:
        from franky_sim.franka_robot_protocol import RobotMode

        errors = tuple(i in self.errors for i in range(41))
        mode = RobotMode.kUserStopped if self.is_stopped_by_user else RobotMode.kReflex
        return state.replace(robot_mode=mode, errors=errors, reflex_reason=errors)


def _answer_with_faults(robot: FaultyRobot, urdf: str | None, version: int | None) -> None:
    """Let the protocol's commands see the faults; the classes are this process's own."""
    protocol: Any = import_module("franky_sim.franka_robot_protocol")
    franka_server: Any = import_module("franky_sim.franka_server")
    move = protocol.MoveCommand.handle
    not_possible = protocol.AutomaticErrorRecoveryStatus.kCommandNotPossibleRejected

    def move_unless_faulty(command: Any, server: Any) -> None:
        if robot.has_fault:
            command.reply(protocol.MoveStatus.kCommandNotPossibleRejected)
        else:
            move(command, server)

    def recover_unless_stopped(command: Any, _: Any) -> None:
        if not robot.is_stopped_by_user:
            robot.errors.clear()
        command.reply(not_possible if robot.is_stopped_by_user else protocol.AutomaticErrorRecoveryStatus.kSuccess)

    def refuse_version(command: Any, _: Any, command_type_struct: str = "I") -> None:
        status = franka_server.ConnectStatus.kIncompatibleLibraryVersion
        header = franka_server.MessageHeader(command.command_type, command.command_id, 8)
        words = header.to_bytes(command_type_struct=command_type_struct) + struct.pack("<HH4x", status, version)
        command.client_socket.sendall(words)

    protocol.MoveCommand.handle = move_unless_faulty
    protocol.AutomaticErrorRecoveryCommand.handle = recover_unless_stopped
    if urdf is not None:
        protocol.GetRobotModelCommand.handle = lambda command, _: command.reply(0, payload=urdf.encode("ascii"))
    if version is not None:
        franka_server.ConnectCommand.handle = refuse_version


def panda_urdf() -> str:
    """Return franky-sim's description with the limits of a Panda."""
    from xml.etree import ElementTree

    from franky_sim.urdf import FR3_URDF

    tree = ElementTree.fromstring(FR3_URDF)
    joints = [joint for joint in tree.iter("joint") if joint.get("type") == "revolute"]
    for joint, values in zip(joints, PANDA_LIMITS, strict=True):
        limit = joint.find("limit")
        assert limit is not None
        for name, value in zip(("lower", "upper", "velocity"), values, strict=True):
            limit.set(name, str(value))
    return ElementTree.tostring(tree, encoding="unicode")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(description="A Franka robot that is not there.")
    parser.add_argument("--address", help="a loopback address; the first free one by default")
    parser.add_argument("--panda", action="store_true")
    parser.add_argument("--version", type=int)
    given = parser.parse_args(arguments)
    with contextlib.suppress(PermissionError):  # a robot's controller does not share its processor with us
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # franky-sim prints too
    robot = FaultyRobot(given.address, is_panda=given.panda, version=given.version)
    answers.write(json.dumps({"address": robot.start()}) + "\n")
    spoke_s = -math.inf
    while True:
        if time.monotonic() - spoke_s >= robot.slow_s:
            spoke_s = time.monotonic()
            robot.step()
        else:
            robot.move_on()
        if not select.select([sys.stdin], [], [], 0.0)[0]:
            continue
        line = sys.stdin.readline()
        if not line:
            return 0
        try:
            robot.obey(json.loads(line))
            answer = robot.truth()
        except ValueError as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
