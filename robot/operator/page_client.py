"""A page without a browser: speaks the page's packets over a real web socket, for whoever measures or scripts one.

It sends as the page does: its whole state twenty times a second while it drives, ten otherwise, and at once when that
changes.
"""

import json
import random
import socket
import struct
import threading
import time
from collections import deque
from typing import Any, Self
from urllib.parse import urlsplit

from robot.errors import DeviceDisconnected, MissingDependency
from robot.operator.server import FRAME_HEADER
from robot.operator.wire import STILL, PagePacket, pack

try:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
    from websockets.typing import Origin
except ImportError as error:
    raise MissingDependency(f"a page's client needs websockets ({error}): pip install '.[operator]'") from None

PERIOD_S = 0.05
ACKNOWLEDGED_S = 0.5  # an edge is repeated for so long


class PageClient:
    """One open page that holds the controls, if it gets them.

    Args:
        address: as the operator page prints it, with its token.
        loss: share of its packets that never leave, drawn by seed 0.
    """

    def __init__(self, address: str, loss: float = 0.0) -> None:
        place = urlsplit(address)
        self._socket = connect(
            f"ws://{place.netloc}/control?{place.query}",
            origin=Origin(f"http://{place.netloc}"),
            proxy=None,
            max_size=None,
        )
        hello = json.loads(self._socket.recv(timeout=10.0))["hello"]
        self._key, self._sides = int(hello["key"]), tuple(hello["sides"])
        self._loss, self._random = loss, random.Random(0)
        self._seq = self._edge = 0
        self._edges: list[tuple[int, str, float]] = []
        self._state: dict[str, Any] = {"engaged": False, "move": STILL, "watching": True, "wants_control": True}
        self._shown = 0
        self.image_ages_s: deque[float] = deque(maxlen=5000)
        self._lock = threading.Lock()
        self._closing, self.is_silent = threading.Event(), False
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._send_all, self._hear)]
        for thread in self._threads:
            thread.start()

    def set(self, edge: str = "", **state: Any) -> None:
        """Change what the page sends, `engaged`, `move`, `watching`, `wants_control`, and send it at once."""
        with self._lock:
            self._state |= state
            if edge:
                self._edge += 1
                self._edges.append((self._edge, edge, time.monotonic()))
            self._send()

    def cut(self) -> None:
        """Break the connection off without a word, as the kernel does for a browser that was killed."""
        self._closing.set()
        raw = self._socket.socket
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()

    def close(self) -> None:
        self._closing.set()
        self._socket.close()
        for thread in self._threads:
            thread.join(timeout=3.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self) -> None:
        now_s = time.monotonic()
        self._edges = [edge for edge in self._edges if now_s - edge[2] < ACKNOWLEDGED_S]
        self._seq += 1
        edges = tuple((number, name) for number, name, _ in self._edges)
        packet = PagePacket(self._seq, now_s, edges=edges, shown=self._shown, key=self._key, **self._state)
        if not self.is_silent and self._random.random() >= self._loss:
            try:
                self._socket.send(pack(packet, self._sides))
            except ConnectionClosed as error:
                raise DeviceDisconnected(f"the operator page has closed the connection: {error}") from error

    def _send_all(self) -> None:
        while not self._closing.wait(PERIOD_S if self._state["engaged"] else 2 * PERIOD_S):
            with self._lock:
                try:
                    self._send()
                except (DeviceDisconnected, OSError):
                    return

    def _hear(self) -> None:
        """Take in images, and note how old each is; states are not needed."""
        while not self._closing.is_set():
            try:
                message = self._socket.recv(timeout=0.2)
            except TimeoutError:
                continue
            except (ConnectionClosed, OSError):
                return
            if isinstance(message, bytes):
                self._shown, _, captured_s = FRAME_HEADER.unpack_from(message)
                self.image_ages_s.append(time.monotonic() - captured_s)
