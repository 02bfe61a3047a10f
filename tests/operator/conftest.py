"""The browser that a file's tests of the page share."""

from collections.abc import Iterator

import pytest

from tests.operator.chromium import Chromium, find_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    executable = find_chromium()
    assert executable is not None
    with Chromium(executable) as browser:
        yield browser
