"""Training samples with images: state, images and the chunk of actions that follows, read ahead in a thread."""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.data.chunks import ChunkDataset, cut_chunks
from policies.data.contract import DataContract
from policies.data.episodes import flat_states, open_episodes, usable_stretches
from policies.data.images import CachedImages, ImageReader, StoredImages, check_cameras
from policies.normalization import ActionLimits, StateNormalizer
from robot.episode import Episode
from robot.errors import ConfigError
from robot.machine import usable_cores
from robot.types import EndReason

CACHE = "cache"  # the folder inside a store


@dataclass(frozen=True)
class ImageChunks:
    """Samples of a store. Sample i was taken at row `row[i]` of episode `episode[i]`."""

    samples: ChunkDataset
    episode: np.ndarray  # (n,)
    row: np.ndarray  # (n,)
    images: ImageReader
    fields: tuple[str, ...]  # of the state, in order
    contract: DataContract

    def __len__(self) -> int:
        return len(self.samples)

    def read_images(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Return the images of samples, per camera (n, H, W, 3) uint8."""
        return {name: self.images.read(name, self.episode[index], self.row[index]) for name in self.images.cameras}


def read_image_chunks(
    path: Path,
    *,
    cameras: Sequence[str],
    horizon: int,
    image_size: int = 0,
    cached: bool = True,
    task: str | None = None,
    end_reasons: Sequence[EndReason] = (EndReason.SUCCESS,),
) -> ImageChunks:
    """Read a store's samples; those before a camera's first image are left out.

    Args:
        path: folder of the store, which may be written to meanwhile.
        cameras: whose images; every episode must have them.
        horizon: actions per chunk.
        image_size: side of the square cut from the middle of each image; 0: images as recorded.
        cached: decode once into `<store>/cache` and map that, instead of decoding at every access.
        task: needed only where the store holds several.
        end_reasons: endings wanted.
    """
    chosen = open_episodes(path, task=task, end_reasons=end_reasons)
    check_cameras(chosen.episodes, cameras)
    parts = [
        (number, episode, rows)
        for number, episode in enumerate(chosen.episodes)
        for rows in seen_stretches(episode, cameras)
    ]
    if not parts:
        raise ConfigError(f"{path}: no tick executed an action while {', '.join(cameras)} had sent an image")
    chunks, masks = zip(*(cut_chunks(item.columns["executed_action"][rows], horizon) for _, item, rows in parts))
    states = np.concatenate([flat_states(episode, chosen.fields)[rows] for _, episode, rows in parts])
    if cached:
        images: ImageReader = CachedImages(path / CACHE, chosen.episodes, cameras, image_size)
    else:
        images = StoredImages(chosen.episodes, cameras, image_size, threads=usable_cores())
    return ImageChunks(
        samples=ChunkDataset(states, np.concatenate(chunks), np.concatenate(masks)),
        episode=np.concatenate([np.full(len(rows), number) for number, _, rows in parts]),
        row=np.concatenate([rows for _, _, rows in parts]),
        images=images,
        fields=tuple(chosen.fields),
        contract=chosen.contract,
    )


def seen_stretches(episode: Episode, cameras: Sequence[str]) -> list[np.ndarray]:
    """Return the runs of executed ticks, each from the first at which every camera had sent an image."""
    first = max((episode.first_image_row(camera) for camera in cameras), default=0)
    return [rows[rows >= first] for rows in usable_stretches(episode) if rows[-1] >= first]


@dataclass(frozen=True)
class ImageChunkBatch:
    """Normalised tensors of one gradient step; images stay uint8 (batch, H, W, 3) until the encoder."""

    states: Tensor
    images: Mapping[str, Tensor]
    chunks: Tensor
    mask: Tensor  # (batch, horizon, 1)


class ImageChunkSource:
    """Endless random batches, read `ahead` of the learner by one thread; `progress` counts batches handed out.

    What it hands out depends on the seed and on nothing else; its state is that of the batch next in turn.
    """

    def __init__(
        self,
        dataset: ImageChunks,
        states: StateNormalizer,
        actions: ActionLimits,
        *,
        batch_size: int,
        seed: int,
        ahead: int = 2,
    ) -> None:
        self._dataset = dataset
        self._states = torch.from_numpy(states.normalize(dataset.samples.states))
        self._chunks = torch.from_numpy(actions.normalize(dataset.samples.chunks).astype(np.float32))
        self._mask = torch.from_numpy(dataset.samples.mask)[..., None]
        self._batch_size, self._ahead, self.progress = batch_size, ahead, 0
        self._generator = torch.Generator().manual_seed(seed)
        self._pool = ThreadPoolExecutor(1, "read ahead")
        self._queue: deque[tuple[Tensor, Future[ImageChunkBatch]]] = deque()

    def next(self) -> ImageChunkBatch:
        """Return the next batch; blocks while it is being read."""
        while len(self._queue) <= self._ahead:
            before = self._generator.get_state()
            index = torch.randint(len(self._dataset), (self._batch_size,), generator=self._generator)
            self._queue.append((before, self._pool.submit(self._read, index)))
        self.progress += 1
        return self._queue.popleft()[1].result()

    def _read(self, index: Tensor) -> ImageChunkBatch:
        images = self._dataset.read_images(index.numpy())
        tensors = {name: torch.from_numpy(values) for name, values in images.items()}
        return ImageChunkBatch(self._states[index], tensors, self._chunks[index], self._mask[index])

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        generator = self._queue[0][0] if self._queue else self._generator.get_state()
        return {"generator": generator, "progress": self.progress}

    def restore(self, state: dict[str, Any]) -> None:
        self._queue.clear()
        self._generator.set_state(state["generator"])
        self.progress = state["progress"]

    def close(self) -> None:
        """End the reading thread."""
        self._pool.shutdown(cancel_futures=True)
