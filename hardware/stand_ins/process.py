"""A stand-in as a process of its own, and how to talk to it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from robot.errors import RobotError


class StandInProcess:
    """A stand-in for as long as the context lasts: it prints a JSON line when it is ready, then answers one per line.

    Args:
        module: of the stand-in.
        words: its command line.
    """

    def __init__(self, module: str, words: Sequence[str]) -> None:
        command = [sys.executable, "-m", module, *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.greeting = self._receive()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, **request: Any) -> dict[str, Any]:
        """Send a request that the stand-in's module documents, and return the true state after it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._receive()
        if "error" in answer:
            raise RobotError(answer["error"])
        return answer

    def state(self) -> dict[str, Any]:
        return self.tell(state=True)

    def close(self) -> None:
        """End the process by closing its standard input."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=5.0)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RobotError(f"the stand-in ended with {self._process.wait(timeout=5.0)}; its reason is above")
        return json.loads(line)


class BusProcess(StandInProcess):
    """A stand-in of a servo bus behind `port`.

    Args:
        module: `hardware.stand_ins.feetech_bus` or another with the same command line.
        station: the name or file of the station that it stands in for.
    """

    def __init__(self, module: str, station: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tandem-bus-")
        self.port = str(Path(self._folder.name) / "port")
        super().__init__(module, ["--station", station, "--link", self.port])

    def close(self) -> None:
        """End the process; the port is gone."""
        super().close()
        self._folder.cleanup()
