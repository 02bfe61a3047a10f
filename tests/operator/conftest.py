"""The browser that a file's tests of the page share, and a page over a stand-in for the robot."""

from collections.abc import Iterator

import pytest

from robot.operator.door import open_door
from robot.operator.server import OperatorPage, PageServer
from robot.operator.session import OperatorSession
from robot.specs import load_station
from tests.operator.chromium import Chromium, Tab, find_chromium
from tests.operator.stand_in import StandIn


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    executable = find_chromium()
    assert executable is not None
    with Chromium(executable) as browser:
        yield browser


@pytest.fixture
def cockpit() -> Iterator[StandIn]:
    with StandIn() as cockpit:
        yield cockpit


@pytest.fixture
def server(cockpit: StandIn) -> Iterator[PageServer]:
    with PageServer(OperatorPage(cockpit, OperatorSession(load_station("fr3_sim")), open_door(port=0))) as server:
        yield server


@pytest.fixture
def tab(browser: Chromium, server: PageServer) -> Iterator[Tab]:
    with browser.tab() as tab:
        tab.resize(1280, 900)
        tab.open(server.door.address)
        tab.wait_for("document.body.dataset.owner === 'policy'")
        yield tab
        assert tab.errors == []
