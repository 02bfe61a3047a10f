"""A running graph with a page, somebody who listens to it, and the waiting that tests of both need."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robot.ros.running_graph import RunningGraph
from tests.operator.chromium import Tab

if TYPE_CHECKING:
    from tests.operator.watcher import Watcher


@dataclass
class Bench:
    """The graph, somebody who listens to it, and where it records."""

    graph: RunningGraph
    watcher: "Watcher"
    store: Path

    def until(self, is_so: Callable[[], bool], what: str, timeout_s: float = 8.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            said = f"{self.watcher.safety}, {list(self.watcher.authors)[-3:]}, {self.watcher.episode}"
            assert time.monotonic() < deadline_s, f"{what}: not so within {timeout_s} s; {said}"
            self.graph.check()
            time.sleep(0.01)

    def until_mode(self, mode: str) -> None:
        """Wait for who decides; a busy machine may leave the arbiter without an observation, and then the arm holds."""
        self.until(lambda: self.watcher.author["mode"].startswith(mode), mode)

    def until_policy(self) -> None:
        """Wait until the policy drives."""
        self.until(lambda: self.watcher.author["owner"] == "policy", "the policy drives")

    def start(self, tab: Tab, command: str) -> str:
        """Start an episode with the page's buttons and return its id once it runs."""
        before = self.watcher.episode["id"]
        if self.watcher.episode["phase"] == "running":
            self.click_until(tab, "command-end", lambda: self.watcher.episode["phase"] == "ended")
        self.click_until(
            tab,
            f"command-{command}",
            lambda: self.watcher.episode["phase"] == "running" and self.watcher.episode["id"] != before,
        )
        return str(self.watcher.episode["id"])

    def click_until(self, tab: Tab, button: str, is_so: Callable[[], bool]) -> None:
        """Click again after a while: a node that has just come up may not be heard yet."""
        deadline_s, clicked_s = time.monotonic() + 20.0, -np.inf
        while not is_so():
            assert time.monotonic() < deadline_s, f"{button} did nothing within 20 s"
            if time.monotonic() - clicked_s > 3.0 and not tab.evaluate(f"document.getElementById('{button}').disabled"):
                clicked_s = time.monotonic()
                tab.click(button)
            time.sleep(0.02)
