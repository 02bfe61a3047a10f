"""The cell as the page draws it: lines of the arms, the way back, how near the demonstrations are. No ROS, no sockets.

Several threads ask (the web server's, its workers, the node's timer), so everything here holds one lock.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robot.episode import Episode
from robot.kinematics.stick_figure import StickFigure
from robot.operator.familiarity import CELL_PX, Familiarity, demonstrated
from robot.operator.library import Library
from robot.operator.projection import Projection
from robot.operator.rewind import Rewind
from robot.outcome_labels import outcome_of, read_labels
from robot.specs import StationSpec
from robot.types import Array, EndReason

REFRESH_S = 10.0
DEMONSTRATIONS = 100  # of the newest, that count
Lines = list[list[list[float]]]  # of each arm its points


@dataclass(frozen=True, slots=True)
class Placed:
    """The arms at one joint vector, in the cell's frame: of each side tcp (3,) [m] and axes (3, 3), and its points."""

    tcps_m: tuple[Array, ...]
    rotations: tuple[Array, ...]
    lines: Lines


class CellView:
    """What is drawn of one station; `demonstrations` is a store's folder, which need not exist yet."""

    def __init__(self, station: StationSpec, demonstrations: Path | None = None) -> None:
        self.station = station
        self.rewind = Rewind(len(station.sides))
        self._figure = StickFigure(station)
        self._lock = threading.Lock()
        views = [camera for camera in station.cameras if camera.mount == "world"]
        self.projection = Projection(views[0]) if views else None
        self._shelf = Library(demonstrations, self.figure) if demonstrations else None
        self._known: Familiarity | None = None
        self._counted, self._refreshed_s = (), -REFRESH_S

    def place(self, q: Array) -> Placed:
        """Return where the arms are at joints of the station."""
        with self._lock:
            lines = self._figure.lines(q)
            rotations = self._figure.tcp_rotations()
        return Placed(tuple(line[-1] for line in lines), tuple(rotations), _rounded(lines))

    def figure(self, q: Array) -> Lines:
        """Return the lines alone, to the millimetre."""
        return self.place(q).lines

    def note(self, now_s: float, q: Array) -> None:
        """Keep the commanded joints for the way back."""
        self.rewind.note(now_s, self.place(q).tcps_m)

    def forget_way(self) -> None:
        """Drop the way back: the scene was reset, and the arm with it."""
        self.rewind.forget()

    def familiar(self, tcp_m: Array) -> dict[str, Any] | None:
        """Return how far the first arm's nearest demonstration is and how the arms stood there; None without any."""
        known = self._known
        if known is None or not len(known):
            return None
        distance_m, joints = known.nearest(tcp_m)
        with self._lock:
            ghost = self._figure.lines(joints)
        return {
            "distance_m": distance_m,
            "score": known.score(distance_m),
            "ghost": _rounded(ghost),
            "ghost_px": [self.projection.pixels(line).round(1).tolist() for line in ghost] if self.projection else [],
        }

    def aid(self) -> Mapping[str, Any]:
        """Return the heat-map of the demonstrations, read anew when there are more; blocks on the disk."""
        self._refresh()
        known, view = self._known, self.projection
        if known is None or view is None or not len(known):
            return {"cells": []}
        size = {"camera": view.name, "width": view.width, "height": view.height, "cell_px": CELL_PX}
        return {**size, "poses": len(known), "cells": known.cells(view)}

    def _refresh(self) -> None:
        if self._shelf is None or time.monotonic() - self._refreshed_s < REFRESH_S:
            return
        self._refreshed_s = time.monotonic()
        labels = read_labels(self._shelf.root)
        infos = [info for info in self._shelf.infos() if outcome_of(info, labels) is EndReason.SUCCESS and info.steps]
        names = tuple(info.episode_id for info in infos[:DEMONSTRATIONS])
        if names == self._counted:
            return
        episodes = [Episode(info.path) for info in infos[:DEMONSTRATIONS]]
        self._known, self._counted = demonstrated(episodes, 0, len(self.station.joint_names)), names


def _rounded(lines: list[Array]) -> Lines:
    return [np.round(line, 3).tolist() for line in lines]
