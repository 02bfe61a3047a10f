"""The source files of the house, as paths relative to its root."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("robot", "hardware", "policies", "world_models", "sim")


def python_files(*folders: str) -> list[Path]:
    """List the Python files under the folders, sorted."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts)


def module_name(path: Path) -> str:
    """Return the import name of a file: `robot/ros/__init__.py` is `robot.ros`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
