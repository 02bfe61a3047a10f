"""Training chunks: for every step the actions of the next `horizon` steps, never across an episode's end."""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from policies.data.image_rows import ImageRows, Images, joined, without_last
from policies.data.trajectories import Trajectory
from policies.normalization import ActionLimits, StateNormalizer

AHEAD = 2  # batches


@dataclass(frozen=True)
class ChunkDataset:
    """Rows of (state, chunk, mask). Past an episode's end the last action repeats and the mask is 0.

    `seen` holds, for policies that see several observations, which rows each row sees, oldest first; before an
    episode's beginning its first row repeats. None: each row sees itself.
    """

    states: np.ndarray  # (n, state)
    chunks: np.ndarray  # (n, horizon, action), station units
    mask: np.ndarray  # (n, horizon)
    images: Mapping[str, Images] = field(default_factory=dict)  # (n, H, W[, 3]) per camera field
    seen: np.ndarray | None = None  # (n, obs_horizon), row numbers

    @classmethod
    def cut(cls, trajectories: Sequence[Trajectory], horizon: int, obs_horizon: int = 1) -> "ChunkDataset":
        chunks, masks = zip(*(cut_chunks(trajectory.actions, horizon) for trajectory in trajectories), strict=True)
        states = np.concatenate([trajectory.states[:-1] for trajectory in trajectories])
        names = trajectories[0].images
        images = {name: joined([without_last(item.images[name]) for item in trajectories]) for name in names}
        seen = rows_seen([len(trajectory) for trajectory in trajectories], obs_horizon) if obs_horizon > 1 else None
        return cls(states, np.concatenate(chunks), np.concatenate(masks), images, seen)

    @property
    def actions(self) -> np.ndarray:
        return self.chunks[:, 0]

    def __len__(self) -> int:
        return len(self.states)


def cut_chunks(actions: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Return chunks (T, horizon, action) and their mask (T, horizon) of one episode."""
    due = np.arange(len(actions))[:, None] + np.arange(horizon)[None]
    return actions[np.minimum(due, len(actions) - 1)], (due < len(actions)).astype(np.float32)


def rows_seen(lengths: Sequence[int], obs_horizon: int) -> np.ndarray:
    """Return which rows each row of consecutive episodes sees, shape (sum of lengths, obs_horizon), oldest first."""
    begins = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)[:, None]
    wanted = np.arange(sum(lengths))[:, None] + np.arange(1 - obs_horizon, 1)[None]
    return np.maximum(wanted, begins)


@dataclass(frozen=True)
class ChunkBatch:
    """Normalised tensors of one gradient step; images as the cameras gave them.

    With obs_horizon > 1 states and images have an axis of time behind that of the batch.
    """

    states: Tensor
    chunks: Tensor
    mask: Tensor  # (batch, horizon, 1)
    images: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: str) -> "ChunkBatch":
        images = {name: image.to(device) for name, image in self.images.items()}
        return ChunkBatch(self.states.to(device), self.chunks.to(device), self.mask.to(device), images)


class ChunkSource:
    """Endless random batches of a dataset; `progress` counts batches handed out.

    Where images lie on disk one thread reads `AHEAD` batches ahead of the learner. What is handed out depends on the
    seed and on nothing else; the state is that of the batch next in turn.
    """

    def __init__(
        self, dataset: ChunkDataset, states: StateNormalizer, actions: ActionLimits, *, batch_size: int, seed: int
    ) -> None:
        self.states = torch.from_numpy(states.normalize(dataset.states))
        self.chunks = torch.from_numpy(actions.normalize(dataset.chunks).astype(np.float32))
        self.mask = torch.from_numpy(dataset.mask)[..., None]
        self.images = {name: _readable(images) for name, images in dataset.images.items()}
        self.seen = None if dataset.seen is None else torch.from_numpy(dataset.seen)
        self.batch_size, self.progress = batch_size, 0
        self.generator = torch.Generator().manual_seed(seed)
        self._queue: deque[tuple[Tensor, Future[ChunkBatch]]] = deque()  # with the generator's state before each
        self._pool = None
        if any(isinstance(images, ImageRows) for images in self.images.values()):
            self._pool = ThreadPoolExecutor(1, "read ahead")
            finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)

    def next(self) -> ChunkBatch:
        """Return the next batch; blocks while its images are read."""
        self.progress += 1
        if self._pool is None:
            return self._read(self._draw())
        while len(self._queue) <= AHEAD:
            before = self.generator.get_state()
            self._queue.append((before, self._pool.submit(self._read, self._draw())))
        return self._queue.popleft()[1].result()

    def _draw(self) -> Tensor:
        return torch.randint(len(self.states), (self.batch_size,), generator=self.generator)

    def _read(self, index: Tensor) -> ChunkBatch:
        seen = index if self.seen is None else self.seen[index]
        images = {name: _taken(images, seen) for name, images in self.images.items()}
        return ChunkBatch(self.states[seen], self.chunks[index], self.mask[index], images)

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        generator = self._queue[0][0] if self._queue else self.generator.get_state()
        return {"generator": generator, "progress": self.progress}

    def restore(self, state: dict[str, Any]) -> None:
        for _, reading in self._queue:
            reading.cancel()
        self._queue.clear()
        self.generator.set_state(state["generator"])
        self.progress = state["progress"]

    def close(self) -> None:
        """End the reading thread, which otherwise ends with the source."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _readable(images: Images) -> Tensor | ImageRows:
    return torch.from_numpy(images) if isinstance(images, np.ndarray) else images


def _taken(images: Tensor | ImageRows, index: Tensor) -> Tensor:
    return images[index] if isinstance(images, Tensor) else torch.from_numpy(images[index.numpy()])
