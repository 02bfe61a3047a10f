"""Replay memory for transitions with images: every image is kept once, as uint8, in memory or in a mapped file.

A transition refers to the images of its two states by place. Two states n steps apart share what lies between them with
other transitions, so a transition costs one image per camera, not two.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.replay import Replay
from robot.errors import CheckpointMismatch, ConfigError

Images = Mapping[str, np.ndarray]


class ImageReplay:
    """A ring of transitions beside a ring of images; where either overwrites the oldest, that transition goes.

    Args:
        layout: fields of a transition beside its images, as in `Replay`.
        shapes: (height, width, channels) by camera.
        capacity: transitions.
        ends: images beyond one per transition: each episode has one more state than steps.
        folder: where the images lie as one mapped file per camera; None: in memory.
    """

    def __init__(
        self,
        layout: Mapping[str, int],
        shapes: Mapping[str, tuple[int, ...]],
        capacity: int,
        *,
        ends: int = 0,
        folder: Path | None = None,
    ) -> None:
        if not shapes or ends < 0:
            raise ConfigError(f"an image replay needs cameras and ends >= 0, got {dict(shapes)} and {ends}")
        self.replay = Replay(layout, capacity)
        self.shapes, self.seen = dict(shapes), 0
        self._places = np.zeros((capacity, 2), np.int64)  # of the images of state and next state, counted from 0
        self._images = {name: _zeros((capacity + ends, *shape), name, folder) for name, shape in shapes.items()}
        self._tensors = {name: torch.from_numpy(images.reshape(len(images), -1)) for name, images in self.images()}
        self._first = 0  # the oldest transition whose images are still there, counted from 0

    def images(self) -> list[tuple[str, np.ndarray]]:
        return list(self._images.items())

    def __len__(self) -> int:
        return self.replay.added - self._first

    @property
    def bytes_per_transition(self) -> float:
        """Bytes of everything that is kept, by the transitions that fit."""
        arrays = [self.replay.rows, self._places, *self._images.values()]
        return sum(array.nbytes for array in arrays) / len(self.replay.rows)

    def see(self, images: Images) -> int:
        """Keep what the cameras saw in one state; return its place, which transitions refer to."""
        for name, kept in self._images.items():
            kept[self.seen % len(kept)] = images[name]
        self.seen += 1
        self._forget()
        return self.seen - 1

    def add(self, place: int, next_place: int, /, **fields: np.ndarray | float) -> None:
        """Append one transition between two states that were seen; ConfigError where an image is gone by now."""
        oldest = self.seen - self._room
        if not oldest <= min(place, next_place) or max(place, next_place) >= self.seen:
            raise ConfigError(f"images {place} and {next_place}: only {max(oldest, 0)} to {self.seen - 1} are kept")
        self._places[self.replay.added % len(self._places)] = place, next_place
        self.replay.add(**fields)
        self._forget()

    @property
    def _room(self) -> int:
        return len(next(iter(self._images.values())))

    def _forget(self) -> None:
        """Pass over the transitions that were overwritten, or whose images were; constant time on average."""
        self._first = max(self._first, self.replay.added - len(self.replay.rows))
        while self._first < self.replay.added:
            if self._places[self._first % len(self._places)].min() >= self.seen - self._room:
                break
            self._first += 1

    def sample(self, count: int, generator: torch.Generator) -> dict[str, Any]:
        """Draw transitions uniformly: fields (count, width), `images` and `next_images` (count, H, W, C) by camera."""
        if len(self) == 0:
            raise ConfigError("the replay is empty: nothing to sample")
        rows = (torch.randint(len(self), (count,), generator=generator) + self._first) % len(self.replay.rows)
        places = torch.from_numpy(self._places)[rows] % self._room
        fields = self.replay.split(torch.from_numpy(self.replay.rows).index_select(0, rows))
        return fields | {"images": self._gather(places[:, 0]), "next_images": self._gather(places[:, 1])}

    def _gather(self, places: Tensor) -> dict[str, Tensor]:
        return {
            name: images.index_select(0, places).view(-1, *self.shapes[name]) for name, images in self._tensors.items()
        }

    def state(self) -> dict[str, Any]:
        kept = min(self.seen, self._room)
        return {
            "replay": self.replay.state(),
            "places": self._places[: self.replay.size],
            "images": {name: images[:kept] for name, images in self._images.items()},
            "seen": self.seen,
            "first": self._first,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        found = {name: images.shape[1:] for name, images in state["images"].items()}
        if found != self.shapes or any(len(images) > self._room for images in state["images"].values()):
            raise CheckpointMismatch(f"image replay: expected at most {self._room} of {self.shapes}, found {found}")
        self.replay.restore(state["replay"])
        self._places[: self.replay.size] = state["places"]
        for name, images in state["images"].items():
            self._images[name][: len(images)] = images
        self.seen, self._first = state["seen"], state["first"]


def _zeros(shape: tuple[int, ...], name: str, folder: Path | None) -> np.ndarray:
    if folder is None:
        return np.zeros(shape, np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    return np.memmap(folder / f"{name.replace('/', '-')}.raw", np.uint8, "w+", shape=shape)
