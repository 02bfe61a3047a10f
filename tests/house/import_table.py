"""Who may import whom, as data, and the reader that holds a source file against it."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.sources import ROOT

OURS = {"robot", "hardware", "policies", "world_models", "sim"}
CORE = {"numpy", "scipy", "gymnasium", "zarr", "yaml", "tyro", "rich", "cv2", "PIL", "numcodecs"}
KINDS = ("std", "geometry", "sensor", "trajectory", "diagnostic", "lifecycle", "rosgraph", "control")
MESSAGES = {f"{name}_msgs" for name in KINDS}
ROS = {"rclpy", "std_srvs", "builtin_interfaces", "rcl_interfaces", "tf2_ros", "ament_index_python"} | MESSAGES
BAGS = {"rosbag2_py", "rosbags", "mcap", "mcap_ros2"}
WEB = {"starlette", "uvicorn", "websockets"}
TORCH = {"torch", "diffusers", "safetensors", "jaxtyping", "tensorboard", "matplotlib"}
HEAVY = {"torch", "diffusers", "lerobot", "mujoco", "mink", "tensorflow", "jax"} | ROS

# The longest path that a file lies under decides; the standard library is always allowed.
TABLE: dict[str, set[str]] = {
    "robot": CORE | {"robot"},
    "robot/kinematics": CORE | {"robot", "mujoco", "mink", "daqp", "qpsolvers"},
    "robot/ros": CORE | {"robot", "launch"} | ROS | BAGS,
    "robot/operator": CORE | {"robot"} | ROS | WEB,
    "hardware": CORE | {"robot"},
    "hardware/lerobot_devices": CORE | {"robot", "torch", "lerobot"},
    "sim": CORE | {"robot", "sim", "mujoco", "mink"},
    "sim/suites": CORE | {"robot", "sim", "mujoco", "mink", "metaworld", "gymnasium_robotics", "robosuite"},
    "policies": CORE | {"robot", "policies"} | TORCH,
    "policies/bench_learner": CORE | {"robot", "policies", "stable_baselines3"} | TORCH,  # the peer it measures
    "policies/actors/ray_workers": CORE | {"robot", "policies", "ray"} | TORCH,
    "policies/base/lerobot": CORE | {"robot", "policies", "lerobot"} | TORCH,
    "policies/data": CORE | {"robot", "policies", "lerobot", "h5py", "av"} | TORCH,
    "world_models": CORE | {"robot", "policies", "world_models"} | TORCH,
    "launch": {"robot", "launch", "launch_ros", "ament_index_python"},
}
for _folder in ("hardware", "hardware/lerobot_devices"):
    TABLE[_folder].add("hardware")

TOP_LEVEL = {
    *("pyproject.toml", "README.md", "robot", "policies", "world_models", "sim", "hardware", "launch", "tests"),
    *("Makefile", "constraints", "package.xml", "setup.py", "setup.cfg", "resource", "CHANGELOG.md", "LICENSE"),
    *("docs", "benchmarks", "examples", ".ci", ".gitignore", ".gitattributes", ".pre-commit-config.yaml"),
}
VAGUE_NAME = re.compile(r"(^|_)(utils?|commons?|helpers?|managers?|misc)(_|$)|_v\d+$")


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module, dynamic ones by a constant name included."""

    module: str
    line: int
    in_function: bool


@dataclass(frozen=True, slots=True)
class Violation:
    """One line that breaks one rule."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} [{self.rule}]"


def imports_of(source: str, package: str) -> list[Import]:
    """List what a source imports; `package` is the dotted package a relative import starts from."""
    return list(_walk(ast.parse(source), package, in_function=False))


def _walk(node: ast.AST, package: str, in_function: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, in_function) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child.module, child.level, package)
            yield Import(base, child.lineno, in_function)
            yield from (Import(f"{base}.{alias.name}", child.lineno, in_function) for alias in child.names)
        elif isinstance(child, ast.Call) and (name := _dynamic(child)):
            yield Import(name, child.lineno, in_function)
        yield from _walk(child, package, inside)


def _absolute(module: str | None, level: int, package: str) -> str:
    if not level:
        return module or ""
    parts = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*parts, *([module] if module else [])])


def _dynamic(call: ast.Call) -> str | None:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in ("import_module", "__import__") or not call.args:
        return None
    first = call.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def allowed_in(path: Path) -> set[str]:
    """Return the packages a file may import beside the standard library."""
    stem = path.with_suffix("").as_posix()
    folder = max((f for f in TABLE if stem == f or stem.startswith(f + "/")), key=len)
    return TABLE[folder] | (ROS if path.stem.endswith("_node") else set())


def violations(path: Path, source: str, verb_modules: set[str]) -> list[Violation]:
    """Hold one file against the table."""
    package = ".".join(path.parent.parts)
    found: list[Violation] = []
    for item in imports_of(source, package):
        where = f"{path}:{item.line}"
        top = item.module.partition(".")[0]
        if not (top in sys.stdlib_module_names or top in allowed_in(path) or _is_vendor_import(path, item)):
            found.append(Violation("table", where, f"imports {item.module}"))
        if top in OURS and (_is_node_module(item.module) or item.module in verb_modules):
            found.append(Violation("names, not imports", where, f"imports {item.module}"))
    return found


def _is_node_module(module: str) -> bool:
    """Tell `sim.camera_node` from a function called `run_node` that a module holds."""
    parent, _, name = module.rpartition(".")
    return name.endswith("_node") and not (ROOT / Path(*parent.split("."))).with_suffix(".py").is_file()


def _is_vendor_import(path: Path, item: Import) -> bool:
    """A driver may import the vendor's packages, inside the function that needs them."""
    top = item.module.partition(".")[0]
    return path.parts[0] == "hardware" and len(path.parts) > 2 and item.in_function and top not in OURS | HEAVY


def misplaced(paths: list[Path]) -> list[Violation]:
    """Hold the names of tracked files against the layout."""
    found: list[Violation] = []
    for path in paths:
        if path.parts[0] not in TOP_LEVEL:
            found.append(Violation("top level", str(path), "has no place at the root"))
        if path.suffix == ".py" and any(VAGUE_NAME.search(part.partition(".")[0]) for part in path.parts):
            found.append(Violation("names", str(path), "says nothing about what is in it"))
        if path.parts[0] == "launch" and path.suffix == ".py" and not path.name.endswith(".launch.py"):
            found.append(Violation("launch", str(path), "only *.launch.py here: a package would hide ROS 2's own"))
    return found
