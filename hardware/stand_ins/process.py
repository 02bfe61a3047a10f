"""A stand-in as a process of its own, and how to talk to it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

from robot.errors import RobotError


class BusProcess:
    """A stand-in of a servo bus for as long as the context lasts.

    Args:
        module: `hardware.stand_ins.feetech_bus` or another with the same command line.
        station: the name or file of the station that it stands in for.
    """

    def __init__(self, module: str, station: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tandem-bus-")
        self.port = str(Path(self._folder.name) / "port")
        words = [sys.executable, "-m", module, "--station", station, "--link", self.port]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._receive()

    def tell(self, **request: Any) -> dict[str, Any]:
        """Send a request of `hardware.stand_ins.servo_bus` and return the true state of the servos after it."""
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
        """End the process; the port is gone."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=5.0)
        self._process.stdout.close()
        self._folder.cleanup()

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
