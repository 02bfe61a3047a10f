"""The parent's end of a capture process: start it, tell it, hear it, end it. Nothing here waits for it."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hardware.cameras.frame_ring import FrameRing
from robot.specs import CameraSpec

MODULE = "hardware.cameras.capture_process"
_CHUNK = 65536


class Child:
    """One running capture process."""

    def __init__(
        self, source: str, spec: CameraSpec, ring: FrameRing, step: str, environment: Mapping[str, str]
    ) -> None:
        """Start the process, which performs `step` first; `source` is `module:function` of a `Source`'s maker."""
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._rest = b""
        settings = {
            "source": source,
            "camera": asdict(spec),
            "shape": asdict(ring.shape),
            "memory": ring.descriptor,
            "socket": theirs.fileno(),
            "parent": os.getpid(),
            "step": step,
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                pass_fds=(ring.descriptor, theirs.fileno()),
                env={**os.environ, **environment},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def tell(self, command: str) -> None:
        with contextlib.suppress(OSError):  # a dead or stuck one is noticed by its silence
            self._socket.send(f"{command}\n".encode())

    def hear(self, timeout_s: float) -> list[dict[str, Any]]:
        """Return what it said, after waiting for it for so long."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return []
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            self._rest += self._socket.recv(_CHUNK)
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self, patience_s: float) -> bool:
        """End it, by force where it has not gone within `patience_s`; return whether it went by itself."""
        self._socket.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True
