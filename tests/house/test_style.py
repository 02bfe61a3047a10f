"""Sizes, words and types, held over every file and shown to catch what they forbid."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house import style_rules
from tests.house.sources import PACKAGES, ROOT, python_files

CODE = (*PACKAGES, "launch", "tests", "benchmarks", "examples")
Rule = Callable[[str], Iterator[str]]


def broken(rule: Rule, paths: list[Path]) -> list[str]:
    return [f"{path}: {what}" for path in paths for what in rule((ROOT / path).read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("rule", "folders"),
    [
        (style_rules.too_long, CODE),
        (style_rules.old_words, CODE),
        (style_rules.unannotated, ("robot", "hardware")),
    ],
)
def test_every_file_keeps(rule: Rule, folders: tuple[str, ...]) -> None:
    found = broken(rule, python_files(*folders))
    assert not found, "\n".join(found)


def test_no_text_that_has_no_place_here() -> None:
    patterns = ("*.md", "docs/**/*.md", "Makefile", "*.toml", ".ci/*")
    written = [path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern)]
    examples_of_it = {Path("tests/house/test_style.py"), Path("tests/house/style_rules.py")}
    paths = [path for path in python_files(*CODE) if path not in examples_of_it]
    found = broken(style_rules.forbidden_text, [*paths, *written])
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        (style_rules.too_long, "def f():\n" + "    x = 1\n" * 60),
        (style_rules.too_long, "class C:\n    async def f(self):\n" + "        x = 1\n" * 60),
        (style_rules.too_long, "x = 1\n" * 401),
        (style_rules.forbidden_text, "path = '/home/ann/data'"),
        (style_rules.forbidden_text, "# see /" + "work/notes"),
        (style_rules.forbidden_text, "pip install x --index-url http://example.org/"),
        (style_rules.forbidden_text, "x = 1  # TODO later"),
        (style_rules.forbidden_text, "try:\n    f()\nexcept Exception:\n    pass\n"),
        (style_rules.forbidden_text, "try:\n    f()\nexcept BaseException as error:\n    # why not\n    pass\n"),
        (style_rules.forbidden_text, "try:\n    f()\nexcept:\n    pass\n"),
        (style_rules.old_words, "obs, reward, done, info = env.step(a)"),
        (style_rules.old_words, "def add(done): ..."),
        (style_rules.old_words, "add(dones=1)"),
        (style_rules.old_words, "class Batch:\n    done: float"),
        (style_rules.unannotated, "def f(x) -> int: ..."),
        (style_rules.unannotated, "def f(x: int): ..."),
        (style_rules.unannotated, "class C:\n    def f(self, *rest) -> int: ..."),
        (style_rules.unannotated, "class C:\n    @staticmethod\n    def f(x) -> int: ..."),
        (style_rules.unannotated, "class C:\n    def __init__(self, *, x) -> None: ..."),
    ],
)
def test_the_rule_catches(rule: Rule, bad: str) -> None:
    assert list(rule(bad))


@pytest.mark.parametrize(
    ("rule", "good"),
    [
        (style_rules.too_long, "def f():\n" + "    x = 1\n" * 59),
        (style_rules.too_long, "x = 1\n" * 400),
        (style_rules.forbidden_text, "path = Path('~/.cache') / 'robot/home/x'"),
        (style_rules.forbidden_text, "try:\n    f()\nexcept OSError as error:\n    log(error)\n"),
        (style_rules.forbidden_text, "try:\n    f()\nexcept KeyError:\n    pass\n"),
        (style_rules.old_words, "done, text = future.done(), reset()"),
        (
            style_rules.unannotated,
            "class C:\n    def f(self, x: int) -> int: ...\ndef _g(x): ...",
        ),
        (style_rules.unannotated, "def f() -> None:\n    def inner(x): ..."),
    ],
)
def test_the_rule_allows(rule: Rule, good: str) -> None:
    assert not list(rule(good))
