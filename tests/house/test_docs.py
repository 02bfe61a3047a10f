"""What the documents show is run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

from tests.house.sources import ROOT

EXTENDING = (ROOT / "docs" / "extending.md").read_text()


def test_the_verb_of_the_page_works_as_the_page_says(tmp_path: Path) -> None:
    code, toml = (re.search(rf"```{kind}\n(.*?)```", EXTENDING, re.DOTALL) for kind in ("python", "toml"))
    assert code
    assert toml
    (tmp_path / "greetings").mkdir()
    (tmp_path / "greetings" / "__init__.py").touch()
    (tmp_path / "greetings" / "hello.py").write_text(code[1])
    info = tmp_path / "greetings-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1\n")
    name, value = re.findall(r'(\w+) = "(.+)"', toml[1])[0]
    (info / "entry_points.txt").write_text(f"[tandem.verbs]\n{name} = {value}\n")

    def tandem(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "robot.cli", *words]
        return subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60)

    assert "Say hello, as often as wanted." in tandem("--help").stdout
    assert tandem("hello", "--times", "2", "--json").stdout == '{"greetings": 2}\n'
    refused = tandem("hello", "--times", "0")
    assert refused.returncode == 2
    assert "--times is 0" in refused.stderr


def test_every_entry_point_group_is_explained() -> None:
    groups = re.findall(r'entry-points\."([\w.]+)"', (ROOT / "pyproject.toml").read_text())
    assert groups
    assert [group for group in groups if f"`{group}`" not in EXTENDING] == []
