"""The command `tandem`: finds its verbs by name and imports none before it is used."""

import ast
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires, version
from importlib.util import find_spec
from pathlib import Path

from robot.errors import ConfigError, MissingDependency, RobotError, unknown_name

GROUP = "tandem.verbs"
DISTRIBUTION = "tandem-robotics"
MISUSE, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code: 0, 1 (a target was missed), 2 (cannot do that), 130 (interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    words = [word for word in words if word != "--json"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(version(DISTRIBUTION))
        return 0
    return _guarded(words[0], words[1:], as_json)


def _guarded(name: str, args: Sequence[str], as_json: bool) -> int:
    """Turn the ways a verb can end into one clear line and an exit code."""
    try:
        return _run(name, args, as_json)
    except RobotError as error:
        return _complain(" ".join(str(error).split()), name, as_json, MISUSE)
    except KeyboardInterrupt:
        return _complain("interrupted", name, as_json, INTERRUPTED)
    except Exception as error:
        missing = missing_package(error)
        if missing:
            return _complain(str(missing), name, as_json, MISUSE)
        if as_json:
            _complain(f"{type(error).__name__}: {error}", name, as_json, 1)
        raise


def _run(name: str, args: Sequence[str], as_json: bool) -> int:
    from robot.verb import Verb, run_verb

    entry = find_verb(name)
    if not any(os.environ.get(display) for display in ("DISPLAY", "WAYLAND_DISPLAY")):  # else MuJoCo wants a window
        os.environ.setdefault("MUJOCO_GL", "egl")
    verb = entry.load()
    if not isinstance(verb, Verb):
        raise ConfigError(f"its entry point leads to {type(verb).__name__!r}, not to a robot.verb.Verb")
    return run_verb(verb, name, args, as_json)


def _complain(message: str, name: str, as_json: bool, code: int) -> int:
    print(f"tandem {name}: {message}", file=sys.stderr, flush=True)
    if as_json:
        from robot.verb import json_line

        print(json_line({"error": message}), flush=True)
    return code


def find_verb(name: str) -> EntryPoint:
    """Return the entry point of a verb; ConfigError names the nearest ones."""
    verbs = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in verbs:
        raise unknown_name("verb", name, verbs)
    if _source(verbs[name]) is None:
        raise ConfigError(f"its module {verbs[name].module} is not in this installation; install again: pip install .")
    return verbs[name]


def missing_package(error: Exception) -> MissingDependency | None:
    """Say which extra brings the package an import did not find; None for any other error."""
    package = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else ""
    if not package or find_spec(package):
        return None
    extra = extra_of(package)
    install = f"'.[{extra}]'" if extra else dashed(package)
    return MissingDependency(f"needs the package '{package}', which is not installed: pip install {install}")


def extra_of(package: str) -> str | None:
    """Return the extra of this distribution that requires a package, by the package's import name."""
    names = {dashed(prefix + package) for prefix in ("", "ros-", "ros-jazzy-")}
    for line in _requirements():
        requirement, _, marker = line.partition(";")
        found = re.search(r"extra == [\"'](.+?)[\"']", marker)
        if found and dashed(requirement) in names:
            return found[1]
    return None


def _requirements() -> list[str]:
    try:
        return requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []


def dashed(requirement: str) -> str:
    """Return the distribution's name of a requirement, in the one spelling the index compares."""
    return re.split(r"[<>=!~\[ ]", requirement.strip())[0].lower().replace("_", "-")


def overview() -> str:
    """List the verbs with the first line of their modules, read from source so that nothing of them is imported."""
    entries = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    width = max((len(entry.name) for entry in entries), default=0)
    verbs = [f"  {entry.name:<{width}}  {_first_line(entry)}" for entry in entries]
    usage = "usage: tandem VERB [flags]     every verb has --help and --json"
    return "\n".join([usage, "", "verbs:", *verbs])


def _first_line(entry: EntryPoint) -> str:
    path = _source(entry)
    if path is None:
        return "(not in this installation)"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (docstring or "(no description)").partition("\n")[0]


def _source(entry: EntryPoint) -> Path | None:
    """Find a module's file through its top package alone; importing the package in between could load anything."""
    top, *rest = entry.module.split(".")
    spec = find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder).joinpath(*rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


if __name__ == "__main__":
    sys.exit(main())
