"""What the page fetches beside its socket: recorded episodes and their labels, learning curves, the heat-map.

Everything comes in through the same door as the page. What reads the disk runs in worker threads.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from robot.errors import RobotError
from robot.operator.door import Door
from robot.operator.library import Library
from robot.verb import json_line

MAX_BODY = 1024
NO_STORE = "No episode is recorded here: start the graph with --record FOLDER."
NO_RUNS = "No folder of runs is known here: start the graph with --runs FOLDER."
Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Shelves:
    """What there is to show; None where nothing is. `aid` gives the heat-map of the demonstrations."""

    library: Library | None = None
    runs: Path | None = None
    aid: Callable[[], Mapping[str, Any]] | None = None


class LibraryRoutes:
    """The routes around `Shelves`."""

    def __init__(self, door: Door, shelves: Shelves, headers: Mapping[str, str]) -> None:
        self._door, self._shelves, self._headers = door, shelves, dict(headers)
        self.routes = [
            Route("/episodes", self._guarded(self._list)),
            Route("/episodes/{id}", self._guarded(self._replay)),
            Route("/episodes/{id}/label", self._guarded(self._label), methods=["POST"]),
            Route("/episodes/{id}/image/{camera}/{row:int}", self._guarded(self._image)),
            Route("/curves", self._guarded(self._curves)),
            Route("/aid", self._guarded(self._aid)),
        ]

    def _guarded(self, answer: Answer) -> Answer:
        async def guarded(request: Request) -> Response:
            reason = self._door.refuses(request)
            if reason:
                return PlainTextResponse(f"Refused: {reason}\n", 403, self._headers)
            try:
                return await answer(request)
            except RobotError as error:
                return PlainTextResponse(f"{error}\n", 404, self._headers)

        return guarded

    def _json(self, value: Mapping[str, Any]) -> Response:
        return Response(json_line(value), media_type="application/json", headers=self._headers)

    def _text(self, text: str, status: int) -> Response:
        return PlainTextResponse(text, status, self._headers)

    async def _list(self, _: Request) -> Response:
        library = self._shelves.library
        if library is None:
            return self._text(NO_STORE, 404)
        return self._json({"episodes": await run_in_threadpool(library.entries)})

    async def _replay(self, request: Request) -> Response:
        library = self._shelves.library
        if library is None:
            return self._text(NO_STORE, 404)
        return self._json(await run_in_threadpool(library.replay, request.path_params["id"]))

    async def _image(self, request: Request) -> Response:
        library, asked = self._shelves.library, request.path_params
        if library is None:
            return self._text(NO_STORE, 404)
        blob, kind = await run_in_threadpool(library.image, asked["id"], asked["camera"], asked["row"])
        return Response(blob, media_type=kind, headers=self._headers)

    async def _label(self, request: Request) -> Response:
        library = self._shelves.library
        if library is None:
            return self._text(NO_STORE, 404)
        body = await _body(request)
        try:
            outcome = str(json.loads(body)["outcome"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._text(f"not a label: {body[:80]!r}; needed: an object with `outcome`", 400)
        episode_id = request.path_params["id"]
        counts_as = await run_in_threadpool(library.label, episode_id, outcome, "page")
        return self._json({"id": episode_id, "outcome": counts_as})

    async def _curves(self, _: Request) -> Response:
        runs = self._shelves.runs
        if runs is None:
            return self._text(NO_RUNS, 404)
        return self._json({"folder": str(runs), "runs": await run_in_threadpool(read_curves, runs)})

    async def _aid(self, _: Request) -> Response:
        aid = self._shelves.aid
        return self._json(await asyncio.to_thread(aid) if aid else {"cells": []})


async def _body(request: Request) -> bytes:
    """Return the first bytes of a request's body; a longer one is not read on."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            break
    return body[:MAX_BODY]


def read_curves(runs: Path) -> list[dict[str, Any]]:
    """Return name and curve, a list of [steps, success, n], of every run in a folder that has one, the newest first."""
    files = sorted(runs.glob("**/curve.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    found = []
    for path in files[:100]:
        try:
            curve = [[float(value) for value in point[:3]] for point in json.loads(path.read_text())["curve"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or of somebody else
        if curve and all(len(point) == 3 for point in curve):
            found.append({"name": str(path.parent.relative_to(runs)), "curve": curve})
    return found
