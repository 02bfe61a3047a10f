"""The package in `examples/` adds its parts by entry points alone: installed as a user would, and held to all this."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a busy machine takes its time to import everything twice
LEARNT = """
import json, sys
from robot.cli import main
out, env = sys.argv[1], "example/touch"
code = main(["train", "--env", env, "--base", "example-linear", "--demos", "20", "--eval-episodes", "20",
             "--curve-episodes", "0", "--out", out + "/base", "--json"])
code |= main(["finetune", "--env", env, "--base", out + "/base", "--data", out + "/base/demos.safetensors",
              "--recipe", "example-offset", "--preset", "debug", "--eval-episodes", "20", "--curve-episodes", "4",
              "--out", out + "/tuned", "--json"])
sys.exit(code)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the example beside the environment, without the network."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "examples/tandem_example_robot", folder / "source")
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *words, "--target", str(folder / "site"), str(folder / "source")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return folder / "site"


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_it_passes_the_conformance_tests(installed: Path) -> None:
    answer = run(
        installed, "-m", "pytest", "tests/conformance", "-k", "example and not package", "-p", "no:cacheprovider"
    )
    assert answer.returncode == 0, answer.stdout[-3000:]
    passed = re.search(r"(\d+) passed", answer.stdout)
    assert passed and int(passed[1]) >= 17, answer.stdout[-500:]
    assert "skipped" not in answer.stdout


def test_it_trains_and_tunes_by_name(installed: Path, tmp_path: Path) -> None:
    answer = run(installed, "-c", LEARNT, str(tmp_path))
    assert answer.returncode == 0, answer.stderr[-3000:]
    trained, tuned = (json.loads(line) for line in answer.stdout.splitlines())
    assert trained["success"]["value"] >= 0.15, "a line reaches about a third; nothing learnt reaches none"
    assert (tuned["base_success"]["value"], tuned["env_steps"]) == (trained["success"]["value"], 6)
    assert [point[0] for point in tuned["curve"]] == [0, 3, 6]
    assert Path(trained["curves"]).is_file()
    assert len(trained["videos"]) == 1


def test_without_the_package_its_names_are_unknown() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "robot.cli", "train", "--env", "example/touch", "--base", "bc"],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "unknown suite 'example'" in answer.stderr
