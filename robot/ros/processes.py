"""Start, watch and stop the processes of a graph."""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from robot.errors import RobotError
from robot.ros.description import RESPAWN_DELAY_S, NodeSpec, node_environment

STOP_S = 5.0  # from SIGINT to SIGTERM, and from SIGTERM to SIGKILL
POLL_S = 0.05
LINES_KEPT = 200
PARENT = "TANDEM_PARENT_PID"  # as in robot.ros.node, which needs ROS


class GraphFailed(RobotError, RuntimeError):
    """A node without which the graph cannot run has ended."""


class NodeProcess:
    """One node's process and what it printed."""

    def __init__(self, spec: NodeSpec, environment: Mapping[str, str], heard: Callable[[str, str], None]) -> None:
        self.spec = spec
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.ended_s: float | None = None
        self._heard = heard
        self._popen = subprocess.Popen(
            spec.argv(),
            env={**environment, **node_environment(spec, environment)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # a terminal's Ctrl-C goes to the launcher alone, which stops the nodes in order
        )
        threading.Thread(target=self._read, name=f"output of {spec.name}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        """Return the exit code, None while it runs."""
        code = self._popen.poll()
        if code is not None and self.ended_s is None:
            self.ended_s = time.monotonic()
        return code

    def send(self, number: int) -> None:
        if self.exit_code() is None:
            self._popen.send_signal(number)

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self.lines.append(line.rstrip())
            self._heard(self.spec.name, line.rstrip())


class Processes:
    """The processes of one graph, by node name."""

    def __init__(
        self,
        specs: Iterable[NodeSpec],
        environment: Mapping[str, str],
        *,
        log_dir: Path | None = None,
        echo: Callable[[str, str], None] | None = None,
    ) -> None:
        self._environment = {**environment, PARENT: str(os.getpid())}
        self._log_dir, self._echo = log_dir, echo
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self.nodes = {spec.name: self._start(spec) for spec in specs}

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    def check(self) -> None:
        """Start again what may be; GraphFailed when a required node has ended."""
        for name, node in self.nodes.items():
            code = node.exit_code()
            if code is None:
                continue
            if node.spec.required:
                raise GraphFailed(f"{name} has ended with exit code {code}: {' | '.join(list(node.lines)[-3:])}")
            if node.spec.respawn and time.monotonic() - (node.ended_s or 0.0) > RESPAWN_DELAY_S:
                self.restart(name)

    def restart(self, name: str) -> NodeProcess:
        """Start a node again that has ended."""
        self.nodes[name] = self._start(self.nodes[name].spec)
        return self.nodes[name]

    def add(self, spec: NodeSpec) -> NodeProcess:
        self.nodes[spec.name] = self._start(spec)
        return self.nodes[spec.name]

    def stop(self) -> dict[str, int]:
        """Stop every node and return the exit codes: SIGINT, after 5 s SIGTERM, after 5 s more SIGKILL."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for node in self.nodes.values():
                node.send(number)
                node.send(signal.SIGCONT)
            if self._wait(STOP_S):
                break
        return {name: node.exit_code() or 0 for name, node in self.nodes.items()}

    def _wait(self, timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while any(node.exit_code() is None for node in self.nodes.values()):
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)
        return True

    def _start(self, spec: NodeSpec) -> NodeProcess:
        return NodeProcess(spec, self._environment, self._hear)

    def _hear(self, name: str, line: str) -> None:
        if self._log_dir is not None:
            with self._lock, (self._log_dir / f"{name}.log").open("a") as log:
                log.write(line + "\n")
        if self._echo is not None:
            self._echo(name, line)
