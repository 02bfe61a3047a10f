"""Turn an observation dict into what networks read: the declared vectors as one flat state, the images as they are.

`image/<camera>` is uint8 HWC RGB; `depth/<camera>` is uint16 HW in millimetres, 0 where nothing was measured.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from robot.errors import CheckpointMismatch, unknown_name
from robot.worlds import Interface

Shapes = Mapping[str, tuple[int, ...]]
IMAGE, DEPTH = "image/", "depth/"


def is_image(name: str) -> bool:
    return name.startswith((IMAGE, DEPTH))


def float_fields(interface: Interface) -> dict[str, tuple[int, ...]]:
    """Return the fields of a world that are vectors, images left out, in declared order."""
    return vector_shapes(interface.observation_shapes)


def vector_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in shapes.items() if not is_image(name)}


def image_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in shapes.items() if is_image(name)}


def cameras(shapes: Shapes) -> tuple[str, ...]:
    """Return the cameras whose colour images are among the fields, in declared order."""
    return tuple(name.removeprefix(IMAGE) for name in shapes if name.startswith(IMAGE))


def state_size(shapes: Shapes) -> int:
    return sum(int(np.prod(shape)) for shape in vector_shapes(shapes).values())


def flatten(observation: Mapping[str, np.ndarray], shapes: Shapes) -> np.ndarray:
    """Concatenate the vectors of one observation to shape (state_size,), float64."""
    names = vector_shapes(shapes)
    parts = [np.ravel(_field(observation, name, shapes)) for name in names]
    return np.concatenate([np.zeros(0), *parts], dtype=np.float64)


def flatten_batch(observations: Mapping[str, np.ndarray], shapes: Shapes) -> np.ndarray:
    """Concatenate vectors with one leading batch axis to shape (batch, state_size)."""
    count = len(next(iter(observations.values())))
    parts = [np.reshape(_field(observations, name, shapes), (count, -1)) for name in vector_shapes(shapes)]
    return np.concatenate([np.zeros((count, 0)), *parts], axis=1, dtype=np.float64)


def unflatten(state: np.ndarray, shapes: Shapes) -> dict[str, np.ndarray]:
    """Return the vectors a flat state was made of, by field."""
    vectors = vector_shapes(shapes)
    sizes = [int(np.prod(shape)) for shape in vectors.values()]
    parts = np.split(state, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(vectors.items(), parts, strict=True)}


def images_of(observation: Mapping[str, np.ndarray], shapes: Shapes) -> dict[str, np.ndarray]:
    """Return the images of an observation that are among the fields."""
    return {name: _field(observation, name, shapes) for name in image_shapes(shapes)}


def columns_of(shapes: Shapes, wanted: Iterable[str]) -> np.ndarray:
    """Return which columns of the flat state belong to the wanted vectors, in their order."""
    vectors = vector_shapes(shapes)
    ends = dict(zip(vectors, np.cumsum([int(np.prod(shape)) for shape in vectors.values()]), strict=True))
    columns = []
    for name in wanted:
        if name not in vectors:
            raise unknown_name("observation field", name, vectors)
        columns.append(np.arange(ends[name] - int(np.prod(vectors[name])), ends[name]))
    return np.concatenate(columns)


def _field(observation: Mapping[str, np.ndarray], name: str, shapes: Shapes) -> np.ndarray:
    if name not in observation:
        raise CheckpointMismatch(
            f"observation field '{name}' is missing: the policy reads {list(shapes)}, "
            f"the world gave {list(observation)}"
        )
    return observation[name]
