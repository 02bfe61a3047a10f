"""The rules of style that ruff does not know, each a function of one source file."""

import ast
import re
from collections.abc import Iterator

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
FORBIDDEN_TEXT = {
    "a path of one machine": re.compile(r"(?<![\w.])/(work|root|home)/\w"),
    "a package registry": re.compile(r"--(extra-)?index-url|--find-links|https?://\S*/simple\b"),
    "unfinished": re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b"),
    "a silent except": re.compile(r"except( (Base)?Exception)?( as \w+)?:\s*(#[^\n]*\n\s*)?pass\b"),
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def too_long(source: str) -> Iterator[str]:
    """Yield what is longer than a reader can hold."""
    lines = source.count("\n") + 1
    if lines > MAX_FILE_LINES + 1:
        yield f"file has {lines - 1} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES:
            size = (node.end_lineno or 0) - node.lineno + 1
            yield f"line {node.lineno}: {node.name} has {size} lines, at most {MAX_FUNCTION_LINES}"


def forbidden_text(source: str) -> Iterator[str]:
    """Yield text that has no place in the project."""
    for what, pattern in FORBIDDEN_TEXT.items():
        for match in pattern.finditer(source):
            line = source.count("\n", 0, match.start()) + 1
            yield f"line {line}: {what}: {match.group(0)!r}"


def old_words(source: str) -> Iterator[str]:
    """Yield arguments, fields and members of a step's answer named `done`: terminated and truncated are never one."""
    for node in ast.walk(ast.parse(source)):
        for name in _named(node):
            if name in ("done", "dones"):
                yield f"line {getattr(node, 'lineno', 0)}: a name '{name}': say terminated or truncated"


def _named(node: ast.AST) -> list[str | None]:
    if isinstance(node, (ast.arg, ast.keyword)):
        return [node.arg]
    if isinstance(node, ast.AnnAssign):
        return [getattr(node.target, "id", None)]
    if isinstance(node, ast.Tuple) and len(node.elts) >= 4:
        return [getattr(element, "id", None) for element in node.elts]
    return []


def unannotated(source: str) -> Iterator[str]:
    """Yield public functions and methods whose arguments or result have no type."""
    yield from _unannotated_in(ast.parse(source), in_class=False)


def _unannotated_in(node: ast.AST, in_class: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _unannotated_in(child, in_class=True)
        elif isinstance(child, Function) and (not child.name.startswith("_") or child.name == "__init__"):
            missing = [arg.arg for arg in _arguments(child, in_class) if arg.annotation is None]
            if child.returns is None:
                missing.append("return")
            if missing:
                yield f"line {child.lineno}: {child.name} has no type for {', '.join(missing)}"


def _arguments(function: Function, in_class: bool) -> list[ast.arg]:
    spec = function.args
    listed = [*spec.posonlyargs, *spec.args]
    is_static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    if in_class and not is_static:
        listed = listed[1:]
    return [*listed, *spec.kwonlyargs, *(arg for arg in (spec.vararg, spec.kwarg) if arg)]
