"""The operator page's server: starlette and uvicorn around an `OperatorSession`. No ROS.

One web socket per page. Up: binary packets (`robot.operator.wire`), each the page's whole state. Down: once a JSON
greeting with what does not change, then JSON state and binary images. Nothing is ever queued: of each camera the newest
image goes out, once the page has shown those before. What is malformed, oversized, replayed or of another connection is
refused, logged and counted, and moves nothing.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from robot.errors import ConfigError, MissingDependency
from robot.operator.door import Door
from robot.operator.session import OperatorSession, Seen
from robot.operator.wire import EDGES, FRAMES, MAX_BYTES, PacketError, unpack
from robot.types import OperatorInput
from robot.verb import json_line

try:
    import uvicorn
    import websockets  # noqa: F401 - what uvicorn speaks web sockets with, only when the first page opens
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, PlainTextResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    from robot.operator.library_routes import LibraryRoutes, Shelves
except ImportError as error:
    raise MissingDependency(f"the operator page needs its web packages ({error}): pip install '.[operator]'") from None

PAGE = Path(__file__).parent / "page"
KINDS = {".js": "text/javascript", ".css": "text/css"}
FILES = {path.name: KINDS[path.suffix] for path in PAGE.iterdir() if path.suffix in KINDS}
RATE_HZ = 20.0
IMAGE_RATE_HZ = 15.0
ROUNDS_AHEAD = 2  # images of each camera that may be on their way to one page
FRAME_HEADER = struct.Struct("<IId")  # number of the image on this socket, camera index, capture time [s]
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
log = logging.getLogger("tandem.operator")


@dataclass(frozen=True, slots=True)
class Frame:
    """The newest image of a camera; `captured_s` is on `time.monotonic()`."""

    seq: int
    captured_s: float
    jpeg: bytes


class Cockpit(Protocol):
    """What the page shows and steers: the graph, or a stand-in. Nothing here may block for long."""

    @property
    def cameras(self) -> Sequence[str]: ...

    def seen(self) -> Seen: ...

    def facts(self) -> Mapping[str, Any]:
        """Return what a page is told once."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Return what the page prints."""
        ...

    def frame(self, camera: str, after: int) -> Frame | None:
        """Return the newest image if its `seq` is above `after`; called from worker threads."""
        ...

    def time_ns(self) -> int: ...

    def send(self, packet: OperatorInput) -> None: ...

    def command(self, name: str) -> None:
        """Carry out one of `wire.COMMANDS`; return at once."""
        ...

    def withdraw(self, episode_id: str) -> None:
        """Take back the label with which an episode ended; return at once."""
        ...


@dataclass(slots=True)
class _Visitor:
    """One open page: what it said last, what it was sent."""

    name: str
    socket: WebSocket
    key: int = field(default_factory=lambda: secrets.randbits(64))
    watching: bool = True
    echo_s: float = 0.0  # the page's clock in its newest packet
    heard_s: float = 0.0
    shown: int = 0
    sent: int = 0
    notice: str = ""
    newest: dict[str, int] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class OperatorPage:
    """The web application. Everything of the session happens in its event loop, so it needs no lock."""

    def __init__(
        self,
        cockpit: Cockpit,
        session: OperatorSession,
        door: Door,
        shelves: Shelves = Shelves(),  # noqa: B008
    ) -> None:
        self.cockpit, self.session, self.door = cockpit, session, door
        self.refused: Counter[str] = Counter()
        self._names = itertools.count(1)
        self.app = Starlette(
            routes=[
                Route("/", self._index),
                *LibraryRoutes(door, shelves, HEADERS).routes,
                Route("/{name}", self._file),
                WebSocketRoute("/control", self._control),
            ]
        )

    async def _index(self, request: Request) -> Response:
        reason = self.door.refuses(request)
        if reason:
            return PlainTextResponse(f"Refused: {reason}\n", 403, HEADERS)
        return FileResponse(PAGE / "index.html", headers=HEADERS)

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return PlainTextResponse(f"There is no {name!r} here.\n", 404, HEADERS)
        return FileResponse(PAGE / name, headers=HEADERS, media_type=FILES[name])

    async def _control(self, socket: WebSocket) -> None:
        reason = self.door.refuses(socket)
        if reason:
            self._refuse("connection", reason)
            await socket.send_denial_response(PlainTextResponse(f"Refused: {reason}\n", 403))
            return
        await socket.accept()
        visitor = _Visitor(f"page {next(self._names)}", socket)
        complaint = ""
        try:
            await socket.send_text(json_line({"hello": self._greeting(visitor)}))
            async with asyncio.TaskGroup() as tasks:
                senders = [tasks.create_task(self._send_state(visitor)), tasks.create_task(self._send_images(visitor))]
                complaint = await self._hear(visitor)
                for sender in senders:
                    sender.cancel()
        except* WebSocketDisconnect:
            pass  # a page that closes is nothing unusual
        finally:
            self.session.leave(visitor.name, time.monotonic())
            self._pass_on()
        if complaint:
            self._refuse("packet", complaint)
            with contextlib.suppress(RuntimeError):  # it closed by itself meanwhile
                await socket.close(1008, complaint[:100])

    def _greeting(self, visitor: _Visitor) -> dict[str, Any]:
        """Return what a page has to know to speak: the key of its connection as text, since a u64 is no JSON number."""
        return {
            "key": str(visitor.key),
            "edges": EDGES,
            "frames": FRAMES,
            "sides": self.session.sides,
            "cameras": list(self.cockpit.cameras),
            **self.cockpit.facts(),
        }

    def _refuse(self, what: str, why: str) -> None:
        self.refused[what] += 1
        if (
            self.refused[what].bit_count() == 1
        ):  # the 1st, 2nd, 4th, 8th: whoever floods the page shall not flood the log
            log.warning("operator page: refused a %s (%d so far): %s", what, self.refused[what], why)

    async def _hear(self, visitor: _Visitor) -> str:
        """Take packets in until the page goes; returns what was wrong with the one that ended it, if any was."""
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await visitor.socket.receive()
                if message["type"] != "websocket.receive":
                    return ""
                try:
                    self._receive(visitor, message.get("bytes") or b"")
                except PacketError as error:
                    return str(error)
        return ""

    def _receive(self, visitor: _Visitor, data: bytes) -> None:
        packet, now_s = unpack(data, self.session.sides), time.monotonic()
        if packet.key != visitor.key:
            raise PacketError("a packet with the key of another connection: it was recorded there, or made up")
        receipt = self.session.receive(visitor.name, packet, now_s, self.cockpit.seen())
        if receipt.refusal:
            self._refuse("replay", f"{receipt.refusal}, from {visitor.name}")
            return
        for name in receipt.commands:
            self.cockpit.command(name)
        if receipt.withdrawn:
            self.cockpit.withdraw(receipt.withdrawn)
        self._pass_on()
        visitor.watching, visitor.echo_s, visitor.heard_s = packet.watching, packet.sent_s, now_s
        visitor.shown, visitor.notice = packet.shown, receipt.notice or visitor.notice
        if packet.edges:
            visitor.news.set()

    def _pass_on(self) -> None:
        packet = self.session.take(time.monotonic(), self.cockpit.time_ns(), self.cockpit.seen())
        if packet is not None:
            self.cockpit.send(packet)

    async def _send_state(self, visitor: _Visitor) -> None:
        while True:
            text, visitor.notice = json_line(self._state_for(visitor)), ""
            await visitor.socket.send_text(text)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(visitor.news.wait(), 1.0 / RATE_HZ)
            visitor.news.clear()

    def _state_for(self, visitor: _Visitor) -> dict[str, Any]:
        now_s = time.monotonic()
        holder = self.session.holder(now_s)
        return {
            **self.cockpit.state(),
            "lease": "yours" if holder == visitor.name else "free" if holder is None else "taken",
            "edge": self.session.edge(visitor.name),
            "notice": visitor.notice,
            "now_s": now_s,
            "echo_s": visitor.echo_s,
            "heard_s": visitor.heard_s,
        }

    async def _send_images(self, visitor: _Visitor) -> None:
        while True:
            started_s = time.monotonic()
            for index, camera in enumerate(self.cockpit.cameras):
                if visitor.watching and visitor.sent - visitor.shown < ROUNDS_AHEAD * len(self.cockpit.cameras):
                    await self._send_image(visitor, index, camera)
            await asyncio.sleep(max(0.005, 1.0 / IMAGE_RATE_HZ - (time.monotonic() - started_s)))

    async def _send_image(self, visitor: _Visitor, index: int, camera: str) -> None:
        frame = await asyncio.to_thread(self.cockpit.frame, camera, visitor.newest.get(camera, -1))
        if frame is None:
            return
        visitor.newest[camera] = frame.seq
        visitor.sent += 1
        await visitor.socket.send_bytes(FRAME_HEADER.pack(visitor.sent, index, frame.captured_s) + frame.jpeg)


class PageServer:
    """Uvicorn in a thread of its own, from entering the context to leaving it; `door` has the port it got."""

    def __init__(self, page: OperatorPage) -> None:
        self.door = page.door
        config = uvicorn.Config(
            page.app,
            host=self.door.host,
            port=self.door.port,
            log_level="error",
            log_config=None,
            access_log=False,  # addresses hold the token
            lifespan="off",
            ws_max_size=MAX_BYTES,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="operator page", daemon=True)

    def __enter__(self) -> "PageServer":
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.02)
            if not self._thread.is_alive():
                raise ConfigError(
                    f"the operator page cannot listen on {self.door.host}, port {self.door.port}: it is in use or not "
                    "an address of this machine; choose another host or port"
                )
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.door = replace(self.door, port=port)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(5.0)

    def _run(self) -> None:
        with contextlib.suppress(SystemExit):  # uvicorn's way of saying that it could not listen
            self._server.run()
