"""Save and load policies: tensors, settings, spec, normaliser and metadata in one file, loadable without any config."""

from dataclasses import asdict, dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor

from policies.state_file import read_tree, tree_hash, write_tree
from robot.checkpoint_file import find_policy, spec_from
from robot.errors import CheckpointMismatch, unknown_name
from robot.policy import Policy, PolicySpec

FORMAT_VERSION = 1


@dataclass(frozen=True)
class PolicyContent:
    """All that is needed to build a policy again. `kind` names its entry point, `parts` holds policies inside it."""

    kind: str
    config: dict[str, Any]
    spec: PolicySpec
    tensors: dict[str, Tensor]
    statistics: dict[str, Any]
    parts: dict[str, "PolicyContent"] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return tree_hash(self._tree())

    def _tree(self) -> dict[str, Any]:
        tree = {name: getattr(self, name) for name in ("kind", "config", "tensors", "statistics", "metadata")}
        return tree | {"spec": asdict(self.spec), "parts": {name: part._tree() for name, part in self.parts.items()}}

    @classmethod
    def _from_tree(cls, tree: dict[str, Any]) -> "PolicyContent":
        parts = {name: cls._from_tree(part) for name, part in tree["parts"].items()}
        return cls(**{**tree, "spec": spec_from(tree["spec"]), "parts": parts})


class SavablePolicy(Policy, Protocol):
    """A policy that can be written to a file."""

    def content(self) -> PolicyContent: ...


def module_entries(*groups: str) -> dict[str, EntryPoint]:
    """Return the entry points of the given groups by name."""
    return {entry.name: entry for group in groups for entry in entry_points(group=group)}


def load_module(kind: str, name: str, *groups: str) -> Any:
    """Import the module registered under `name`, or raise with the nearest known names."""
    entries = module_entries(*groups)
    if name not in entries:
        raise unknown_name(kind, name, entries)
    return entries[name].load()


def save_policy(path: Path, policy: SavablePolicy, **metadata: Any) -> str:
    """Write a policy atomically; return the sha256 of the file's content."""
    content = policy.content()
    tree = content._tree() | {"metadata": {**content.metadata, **metadata}}
    return write_tree(path, {"format": FORMAT_VERSION, "policy": tree})


def read_content(path: Path) -> PolicyContent:
    """Read what a checkpoint holds without building the policy."""
    tree = read_tree(path)
    if not isinstance(tree, dict) or "policy" not in tree:
        raise CheckpointMismatch(f"{path} holds no policy (a training state?): give the policy file of the run")
    if tree["format"] != FORMAT_VERSION:
        raise CheckpointMismatch(f"{path}: format expected {FORMAT_VERSION}, found {tree['format']}")
    return PolicyContent._from_tree(tree["policy"])


def restore_policy(content: PolicyContent) -> Policy:
    """Build the policy a content describes; CheckpointMismatch where its settings are of another version."""
    module = load_module("policy kind", content.kind, "tandem.bases", "tandem.recipes", "tandem.policies")
    try:
        return cast(Policy, module.restore(content))
    except (TypeError, KeyError) as error:
        raise CheckpointMismatch(
            f"a policy of kind '{content.kind}' cannot be built from this checkpoint, which another version may have "
            f"written: {error}; its settings: {sorted(content.config)}; train it again"
        ) from error


def load_policy(path: str | Path) -> Policy:
    """Load a policy from its checkpoint file, or from a run folder that holds `policy.safetensors`."""
    return restore_policy(read_content(find_policy(path)))


def check_tensors(expected: dict[str, Tensor], found: dict[str, Tensor], what: str) -> None:
    """Raise CheckpointMismatch that lists every missing, unexpected or differently shaped tensor."""
    wrong = []
    for name in sorted(expected.keys() | found.keys()):
        want = tuple(expected[name].shape) if name in expected else "nothing"
        have = tuple(found[name].shape) if name in found else "nothing"
        if want != have:
            wrong.append(f"{name}: expected {want}, found {have}")
    if wrong:
        raise CheckpointMismatch(f"{what} does not fit its checkpoint: " + "; ".join(wrong))
