"""Turn an observation dict into the flat vector a state policy reads: the declared float fields, in order."""

from collections.abc import Mapping

import numpy as np

from robot.errors import CheckpointMismatch
from robot.worlds import Interface

Shapes = Mapping[str, tuple[int, ...]]


def float_fields(interface: Interface) -> dict[str, tuple[int, ...]]:
    """Return the fields of a world that are vectors, images left out, in declared order."""
    return {name: tuple(shape) for name, shape in interface.observation_shapes.items() if not name.startswith("image/")}


def state_size(shapes: Shapes) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def flatten(observation: Mapping[str, np.ndarray], shapes: Shapes) -> np.ndarray:
    """Concatenate one observation to shape (state_size,), float64."""
    try:
        return np.concatenate([np.ravel(observation[name]) for name in shapes], dtype=np.float64)
    except KeyError as error:
        raise CheckpointMismatch(
            f"observation field {error} is missing: the policy reads {list(shapes)}, the world gave {list(observation)}"
        ) from error


def flatten_batch(observations: Mapping[str, np.ndarray], shapes: Shapes) -> np.ndarray:
    """Concatenate fields with one leading batch axis to shape (batch, state_size)."""
    return np.concatenate([np.reshape(observations[name], (len(observations[name]), -1)) for name in shapes], axis=1)


def unflatten(state: np.ndarray, shapes: Shapes) -> dict[str, np.ndarray]:
    """Return the observation dict a flat state was made of."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    parts = np.split(state, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
