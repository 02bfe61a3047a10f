"""The Franka stand-in as a process, for as long as a context lasts, with a station that leads to it."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any, Self

from robot.errors import RobotError
from robot.specs import StationSpec, load_station

MODULE = "hardware.stand_ins.franky"


class FrankyProcess:
    """One robot of `hardware.stand_ins.franky`; `words` are its command line."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", MODULE, *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address: str = self._receive()["address"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def station(self, name: str = "fr3", **options: Any) -> StationSpec:
        """Return a station whose arm is this robot; no real-time kernel is asked for."""
        station = load_station(name)
        options = {**station.arm.options, "realtime": "ignore", **options}
        return replace(station, arm=replace(station.arm, address=self.address, options=options))

    def tell(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the true state after it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._receive()
        if "error" in answer:
            raise RobotError(answer["error"])
        return answer

    def unplug(self) -> None:
        """End it without a word, as a pulled cable does."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

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
