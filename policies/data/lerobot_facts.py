"""`meta/tandem.json` of a dataset that we exported: what lerobot's files have no place for, and the hash of each file.

lerobot's files carry no checksums: a damaged column or video can read as another one. An export is therefore taken back
only as it was written; one that was edited on purpose comes in as a foreign dataset, without this file.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robot.errors import ConfigError
from robot.journal import encode_json

FACTS = Path("meta") / "tandem.json"
ADVICE = f"restore it from a copy; or, if it was changed on purpose, remove {FACTS} to import it as a foreign dataset"


def hash_files(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a dataset, by its path in it; the facts themselves excluded."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path != root / FACTS)
    return {path.relative_to(root).as_posix(): _sha256(path) for path in files}


def seal_facts(facts: Mapping[str, Any]) -> bytes:
    """Return the file's bytes: the facts, with a hash of their own."""
    return json.dumps({**facts, "sha256": _hash_facts(facts)}).encode()


def read_facts(root: Path) -> dict[str, Any]:
    """Read the facts of an export and hold every file against its hash; ConfigError names the first that differs."""
    path = root / FACTS
    try:
        facts = json.loads(path.read_bytes())
        seal = facts.pop("sha256")
        if seal != _hash_facts(facts):
            raise ConfigError(f"{path} is not what was written; {ADVICE}")
        files = dict(facts["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is damaged ({error!r}); {ADVICE}") from None
    for name, expected in files.items():
        if not (root / name).is_file():
            raise ConfigError(f"{root / name} is missing; {ADVICE}")
        if _sha256(root / name) != expected:
            raise ConfigError(f"{root / name} is not what was exported; {ADVICE}")
    return facts


def _hash_facts(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(encode_json(dict(facts))).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
