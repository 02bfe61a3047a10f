"""Images by row, of a stack that may lie on disk: nothing is read before rows are taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Stack(Protocol):
    """Images one behind the other: an array, one mapped from a file, or recorded ones decoded when taken."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (count, H, W[, 3])."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, places: np.ndarray, /) -> np.ndarray:
        """Return the images at these places, (n, H, W[, 3]), as an array of its own."""
        ...


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Rows of images of a stack. Several rows may show the same image; `[]` reads, `of` and `joined` do not."""

    stack: Stack
    places: np.ndarray  # (n,) of each row in the stack

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.places), *self.stack.shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.stack.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stack.dtype

    @property
    def nbytes(self) -> int:
        """Return the size of all rows, were they read."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, rows: int | slice | np.ndarray | Sequence[int]) -> np.ndarray:
        """Read rows: one image for a number, else an array of the index's shape + (H, W[, 3])."""
        places = np.asarray(self.places[rows])
        return np.asarray(self.stack[places.reshape(-1)]).reshape(*places.shape, *self.stack.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        read = self[:]
        return read if dtype is None else read.astype(dtype, copy=False)

    def of(self, rows: slice | np.ndarray | Sequence[int]) -> "ImageRows":
        """Return some of the rows, unread."""
        return ImageRows(self.stack, self.places[rows])


Images = np.ndarray | ImageRows


def without_last(images: Images) -> Images:
    """Return all rows but the last, uncopied."""
    return images[:-1] if isinstance(images, np.ndarray) else images.of(slice(-1))


def joined(parts: Sequence[Images]) -> Images:
    """Return the rows of all parts: unread where they are of one stack, else as one array in memory."""
    rows = [part for part in parts if isinstance(part, ImageRows)]
    if len(rows) == len(parts) and all(part.stack is rows[0].stack for part in rows):
        return ImageRows(rows[0].stack, np.concatenate([part.places for part in rows]))
    return np.concatenate([np.asarray(part) for part in parts])
