"""One file for nested state: tensors in safetensors, everything else as JSON in its header. No pickle.

A tree is made of dicts, lists, tensors, numpy arrays and JSON scalars. The content hash is stored beside it
and checked on reading.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from policies.data.image_rows import ImageRows
from robot.checkpoint_file import OWN_ENTRY, read_file
from robot.errors import CheckpointMismatch

_TENSOR, _ARRAY, _ITEMS = "$tensor", "$array", "$items"


def _split(node: Any, tensors: dict[str, Tensor | ImageRows]) -> Any:
    """Return the JSON skeleton of a tree and collect its tensors; images that lie on disk are not read yet."""
    if isinstance(node, ImageRows):
        name = f"{len(tensors):05d}"
        tensors[name] = node
        return {_ARRAY: [name, *_layout(node)]}
    if isinstance(node, np.ndarray | Tensor):
        name = f"{len(tensors):05d}"
        tensor = torch.from_numpy(np.ascontiguousarray(node)) if isinstance(node, np.ndarray) else node.detach()
        tensors[name] = kept = tensor.cpu().contiguous().clone()
        return {_ARRAY if isinstance(node, np.ndarray) else _TENSOR: [name, *_layout(kept)]}
    if isinstance(node, dict):
        if all(isinstance(key, str) for key in node):
            return {key: _split(value, tensors) for key, value in node.items()}
        return {_ITEMS: [[key, _split(value, tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return [_split(value, tensors) for value in node]
    return node.item() if isinstance(node, np.generic) else node


def _layout(tensor: Tensor | ImageRows) -> tuple[str, list[int]]:
    """Return what the bytes of a tensor do not say; it stands in the skeleton, which the hash covers."""
    like = tensor if isinstance(tensor, Tensor) else torch.from_numpy(np.empty(0, tensor.dtype))
    return str(like.dtype), list(tensor.shape)


def _read(tensor: Tensor | ImageRows) -> Tensor:
    return tensor if isinstance(tensor, Tensor) else torch.from_numpy(np.asarray(tensor))


def _join(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_join(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {_TENSOR}:
        return _look_up(node[_TENSOR], tensors)
    if node.keys() == {_ARRAY}:
        return _look_up(node[_ARRAY], tensors).numpy()
    if node.keys() == {_ITEMS}:
        return {key: _join(value, tensors) for key, value in node[_ITEMS]}
    return {key: _join(value, tensors) for key, value in node.items()}


def _look_up(place: list[Any] | str, tensors: dict[str, Tensor]) -> Tensor:
    """Return the tensor of a place in the skeleton; files of before the first release name it without its layout."""
    name, *layout = [place] if isinstance(place, str) else place
    if name not in tensors or (layout and layout != [*_layout(tensors[name])]):
        found = _layout(tensors[name]) if name in tensors else "nothing"
        raise CheckpointMismatch(f"tensor {name}: expected {layout}, found {found}; copy the file again")
    return tensors[name]


def _digest(text: str, tensors: Mapping[str, Tensor | ImageRows]) -> str:
    """Return the hash of a tree; of what lies on disk one array at a time is in memory."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(_read(tensors[name]).flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tree_hash(tree: Any) -> str:
    """Return the sha256 of a tree's content."""
    tensors: dict[str, Tensor | ImageRows] = {}
    return _digest(json.dumps(_split(tree, tensors)), tensors)


def write_tree(path: Path, tree: Any) -> str:
    """Write a tree so that a crash leaves the old file or the new one; return its sha256."""
    found: dict[str, Tensor | ImageRows] = {}
    text = json.dumps(_split(tree, found))
    tensors = {name: _read(tensor) for name, tensor in found.items()}
    digest = _digest(text, tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(save(tensors, metadata={OWN_ENTRY: json.dumps({"sha256": digest, "tree": text})}))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _remove_drafts_of_the_dead(path)
    return digest


def _remove_drafts_of_the_dead(path: Path) -> None:
    """Remove what processes that were killed while they wrote this file left beside it."""
    for draft in path.parent.glob(f".{path.name}.*"):
        process = draft.name.rpartition(".")[2]
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            draft.unlink(missing_ok=True)


def read_tree(path: Path) -> Any:
    """Read a tree; CheckpointMismatch when the file is absent, foreign or damaged."""
    skeleton = read_file(path).skeleton
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointMismatch(f"{path} is not a readable checkpoint: {error}; copy it again") from error
    try:
        return _join(skeleton, tensors)
    except CheckpointMismatch as mismatch:
        raise CheckpointMismatch(f"{path} is damaged: {mismatch}") from None
