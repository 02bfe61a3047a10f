"""The command `tandem`, run as a person or a program runs it, with verbs of a third party's package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = {
    "shop/__init__.py": "",
    "shop/buy.py": '''
"""Buy apples, or say why not."""
from dataclasses import dataclass
from pathlib import Path
import numpy as np, tyro
from robot.errors import ConfigError
from robot.types import Owner
from robot.verb import Verb, progress

@dataclass(frozen=True)
class Buy:
    """What to buy."""
    what: tyro.conf.Positional[str] = "apple"
    price_eur: float = 1.0
    """Highest price [EUR]."""
    def __post_init__(self):
        if self.price_eur < 0:
            raise ConfigError(f"--price-eur is {self.price_eur}, it must be 0 or more")

def run(config):
    print("buying", config.what)
    if config.what == "stone":
        raise ConfigError("cannot buy 'stone':\\n  known: apple")
    if config.what == "key":
        raise KeyboardInterrupt
    if config.what == "bug":
        raise RuntimeError("broken")
    if config.what == "torchless":
        import torch_that_is_not_there
    for _ in progress(range(3), "walking"):
        pass
    return {"what": config.what, "path": Path("/a"), "owner": Owner.HUMAN, "numbers": np.array([1.0, np.nan]),
            "best": np.float32(2), "worst": float("inf"), "ok": config.what != "pear"}

VERB = Verb(Buy, run, "Buy apples.")
''',
    "shop/walk.py": '''
"""Walk or run."""
from dataclasses import dataclass
from robot.verb import Verb

@dataclass(frozen=True)
class Walk:
    """Walk."""
    steps: int

@dataclass(frozen=True)
class Run:
    """Run."""
    speed_m_s: float = 3.0

VERB = Verb(Walk | Run, lambda config: {"kind": type(config).__name__}, "Walk or run.")
''',
    "shop/heavy.py": '"""Carry something heavy."""\nimport mink_of_the_north\nVERB = None\n',
    "shop/ros.py": '"""Speak to the graph."""\nimport rclpy_hidden\n',
    "shop/odd.py": '"""Offer the wrong thing."""\nVERB = 3\n',
    "shop-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: shop\nVersion: 1\n",
    "shop-1.dist-info/entry_points.txt": (
        "[tandem.verbs]\nbuy = shop.buy:VERB\nwalk = shop.walk:VERB\nheavy = shop.heavy:VERB\nodd = shop.odd:VERB\n"
        "gone = shop.gone:VERB\nlost = nowhere.at_all:VERB\n"
    ),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    for name, text in PACKAGE.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.lstrip("\n"))
    return root


def tandem(shop: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(shop)}
    return subprocess.run(
        [sys.executable, "-m", "robot.cli", *words], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_help_lists_every_verb_by_the_first_line_of_its_module_without_importing_it(shop: Path) -> None:
    answer = tandem(shop, "--help")
    assert answer.returncode == 0
    lines = {line.split()[0]: line for line in answer.stdout.splitlines() if line.startswith("  ")}
    assert lines["heavy"].endswith("  Carry something heavy.")  # importing it would fail
    assert lines["buy"].endswith("  Buy apples, or say why not.")
    assert "not in this installation" in lines["gone"]
    assert "not in this installation" in lines["lost"]
    assert "doctor" in lines
    assert tandem(shop).stdout == answer.stdout


def test_json_is_one_strict_object_and_all_of_standard_output(shop: Path) -> None:
    answer = tandem(shop, "buy", "--price-eur", "2", "--json")
    assert answer.returncode == 0, answer.stderr
    result = json.loads(one_line(answer.stdout), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert result == {
        "what": "apple",
        "path": "/a",
        "owner": "human",
        "numbers": [1.0, None],
        "best": 2.0,
        "worst": None,
        "ok": True,
    }
    assert "buying apple" in answer.stderr


def test_without_json_a_person_reads_what_the_verb_prints(shop: Path) -> None:
    answer = tandem(shop, "buy", "plum")
    assert (answer.returncode, answer.stdout) == (0, "buying plum\n")


def test_a_missed_target_is_exit_code_1(shop: Path) -> None:
    assert tandem(shop, "buy", "pear").returncode == 1
    answer = tandem(shop, "buy", "pear", "--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["ok"] is False


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["buz"], 2, ["unknown verb 'buz'", "did you mean 'buy'"]),
        (["buy", "stone"], 2, ["cannot buy 'stone': known: apple"]),
        (["buy", "--price-eur", "-1"], 2, ["--price-eur is -1.0", "0 or more"]),
        (["buy", "--price", "3"], 2, ["--price", "Perhaps you meant", "--price-eur", "tandem buy --help"]),
        (["buy", "--price-eur", "much"], 2, ["--price-eur", "'much'"]),
        (["walk"], 2, ["walk, run"]),
        (["walk", "walk"], 2, ["--steps", "required"]),
        (["heavy"], 2, ["needs the package 'mink_of_the_north'", "pip install mink-of-the-north"]),
        (["buy", "torchless"], 2, ["torch_that_is_not_there"]),
        (["gone"], 2, ["shop.gone", "not in this installation"]),
        (["odd"], 2, ["leads to 'int'"]),
        (["buy", "key"], 130, ["interrupted"]),
    ],
)
def test_every_refusal_is_one_clear_line(shop: Path, words: list[str], code: int, says: list[str]) -> None:
    plain, as_json = tandem(shop, *words), tandem(shop, *words, "--json")
    assert plain.returncode == as_json.returncode == code
    complaint = plain.stderr.splitlines()[-1]
    assert "Traceback" not in plain.stderr
    assert len(plain.stderr.splitlines()) == 1
    assert complaint.startswith(f"tandem {words[0]}: ")
    for part in says:
        assert part in complaint
    assert complaint == f"tandem {words[0]}: " + json.loads(one_line(as_json.stdout))["error"]


def test_a_bug_keeps_its_traceback_and_still_ends_in_json(shop: Path) -> None:
    answer = tandem(shop, "buy", "bug", "--json")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
    assert json.loads(one_line(answer.stdout)) == {"error": "RuntimeError: broken"}


def test_sub_verbs_come_from_a_union_of_configurations(shop: Path) -> None:
    assert json.loads(tandem(shop, "walk", "run", "--json").stdout) == {"kind": "Run"}


def test_help_of_a_verb_names_its_flags_with_units(shop: Path) -> None:
    answer = tandem(shop, "buy", "--help")
    assert answer.returncode == 0
    for part in ("--price-eur", "[EUR]", "--json"):
        assert part in answer.stdout


def test_version_is_the_distributions(shop: Path) -> None:
    from importlib.metadata import version

    assert tandem(shop, "--version").stdout.strip() == version("tandem-robotics")


@pytest.mark.parametrize(
    ("package", "extra"),
    [("torch", "learn"), ("mink", "kinematics"), ("rclpy", "ros"), ("sensor_msgs", "ros"), ("starlette", "operator")],
)
def test_a_missing_package_names_its_extra(package: str, extra: str) -> None:
    from robot.cli import extra_of

    assert extra_of(package) == extra


def test_a_package_that_is_there_is_never_called_missing() -> None:
    from robot.cli import missing_package

    assert missing_package(ModuleNotFoundError("no module numpy.nothing", name="numpy.nothing")) is None
    assert missing_package(ImportError("libEGL.so: cannot open")) is None
