"""A checkpoint file as bytes, without torch: find it, check it whole, and read what it declares.

The file is a safetensors file: eight bytes of length, a JSON header, the numbers. Ours carries in the header's
`__metadata__` one entry `tandem`, a JSON object with the state's skeleton and the sha256 of skeleton and numbers.
"""

import difflib
import hashlib
import json
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot.errors import CheckpointMismatch
from robot.policy import PolicySpec

POLICY_FILE = "policy.safetensors"
OWN_ENTRY = "tandem"
MAX_HEADER = 100_000_000  # bytes, as in safetensors itself
NEIGHBOURS = 500
NO_POLICY = ("training_state", "demos", ".")  # how files beside a run's policies begin


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A file whose content is what its hash says. In the skeleton a tensor is its name, dtype and shape."""

    path: Path
    sha256: str
    skeleton: Any


@dataclass(frozen=True, slots=True)
class DeclaredPolicy:
    """What a policy's file says of it."""

    path: Path
    sha256: str
    kind: str
    spec: PolicySpec


def find_policy(path: Path | str) -> Path:
    """Return the policy's file for a file or a run folder; CheckpointMismatch names the nearest existing ones."""
    path = Path(path)
    file = path / POLICY_FILE if path.is_dir() else path
    if file.is_file():
        return file
    what = f"the folder {path} holds no {POLICY_FILE}" if path.is_dir() else f"no checkpoint file at {path}"
    near = nearest_policies(path)
    hint = f"did you mean {' or '.join(map(str, near))}?" if near else "give a policy file or a run folder"
    raise CheckpointMismatch(f"{what}: {hint}")


def nearest_policies(path: Path, count: int = 3) -> list[Path]:
    """Return existing policy files and run folders that are most like a path, from its surroundings and `runs/`."""
    above = next((folder for folder in (path, *path.parents) if folder.is_dir()), Path())
    found: dict[str, Path] = {}
    for folder in (above, Path("runs")):
        for pattern in (f"*/{POLICY_FILE}", f"*/*/{POLICY_FILE}", "*.safetensors"):
            for file in sorted(folder.glob(pattern))[:NEIGHBOURS]:
                if not file.name.startswith(NO_POLICY):
                    near = file.parent if "/" in pattern else file
                    found[str(near)] = near
    names = difflib.get_close_matches(str(path), found, n=count, cutoff=0.0)
    return [found[name] for name in names]


def read_file(path: Path) -> CheckpointFile:
    """Read and check a file; CheckpointMismatch, one line, when it is absent, foreign, cut short or changed."""
    if not path.is_file():
        raise CheckpointMismatch(f"no checkpoint file at {path}")
    try:
        with path.open("rb") as file:
            if path.stat().st_size < 8:
                raise _unreadable(path, f"it has only {path.stat().st_size} bytes")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(path, data)
    except OSError as error:
        raise CheckpointMismatch(f"{path} cannot be read: {error}") from error


def _read(path: Path, data: mmap.mmap) -> CheckpointFile:
    length = int.from_bytes(data[:8], "little")
    if length > min(len(data) - 8, MAX_HEADER):
        raise _unreadable(path, _what_instead(data, length))
    try:
        header = json.loads(data[8 : 8 + length])
        own = header.pop("__metadata__", {}).get(OWN_ENTRY)
        spans = {name: tuple(map(int, entry["data_offsets"])) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(path, f"its header is no safetensors header: {error}") from None
    if own is None:
        raise CheckpointMismatch(
            f"{path} was not written by Tandem: its header has no '{OWN_ENTRY}'; give a policy that "
            "`tandem train` or `tandem finetune` wrote"
        )
    try:
        stored = json.loads(own)
        text, expected = stored["tree"], stored["sha256"]
        digest = hashlib.sha256(text.encode())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(path, f"its entry '{OWN_ENTRY}' is broken: {error}") from None
    numbers = memoryview(data)[8 + length :]
    try:
        for name in sorted(spans):
            start, end = spans[name] if len(spans[name]) == 2 else (0, -1)
            if not 0 <= start <= end <= len(numbers):
                raise _unreadable(path, f"tensor {name} lies outside the file: it was cut short")
            digest.update(numbers[start:end])
    finally:
        numbers.release()
    if digest.hexdigest() != expected:
        raise CheckpointMismatch(
            f"{path} is damaged: sha256 expected {expected}, found {digest.hexdigest()}; copy it again"
        )
    return CheckpointFile(path, expected, json.loads(text))


def _unreadable(path: Path, why: str) -> CheckpointMismatch:
    return CheckpointMismatch(f"{path} is not a readable checkpoint: {why}; copy it again or give another file")


def _what_instead(data: mmap.mmap, length: int) -> str:
    """Say what a file that begins otherwise may be."""
    if data[:2] == b"PK":
        return "it is a zip archive, as PyTorch's pickles are, and Tandem unpickles nothing"
    if data[:1] == b"\x80":
        return "it is a Python pickle, and Tandem unpickles nothing"
    return f"its header should have {length} bytes, the file has {len(data)}: cut short, or no safetensors file"


def read_declared(path: Path | str) -> DeclaredPolicy:
    """Find a policy's file, check it and return what it declares."""
    file = read_file(find_policy(path))
    tree = file.skeleton.get("policy") if isinstance(file.skeleton, dict) else None
    if not isinstance(tree, dict):
        raise CheckpointMismatch(f"{file.path} holds no policy (a training state?): give the policy file of the run")
    return DeclaredPolicy(file.path, file.sha256, str(tree.get("kind")), spec_from(tree.get("spec", {})))


def spec_from(tree: dict[str, Any]) -> PolicySpec:
    """Return the spec out of its JSON form; CheckpointMismatch where another version wrote it."""
    try:
        return PolicySpec(
            **{
                **tree,
                "observation_shapes": {name: tuple(shape) for name, shape in tree["observation_shapes"].items()},
                "action_names": tuple(tree["action_names"]),
                "joint_names": tuple(tree.get("joint_names", ())),
            }
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckpointMismatch(
            f"the checkpoint's spec is of another version of Tandem ({error}); found {sorted(tree)}: train it again"
        ) from error
