"""The README says what is there."""

import re
import xml.etree.ElementTree as ET
from importlib.metadata import entry_points

import pytest

from tests.house.sources import ROOT

README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_verb_is_in_the_table_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", section("The command"), re.MULTILINE)
    ours = {entry.name for entry in entry_points(group="tandem.verbs") if entry.dist and "tandem" in entry.dist.name}
    assert sorted(listed) == sorted(ours)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w./]+)`", section("Where things are")))))
def test_every_place_it_points_at_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", README))
    assert named
    assert named <= targets | {"install"}


def test_the_picture_is_there_and_well_formed() -> None:
    picture = re.search(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert picture
    assert ET.parse(ROOT / picture[1]).getroot().tag.endswith("svg")


def test_it_says_that_the_software_stop_is_no_safety_function() -> None:
    assert "not a safety function" in section("Safety")
    assert "hardware" in section("Safety")
