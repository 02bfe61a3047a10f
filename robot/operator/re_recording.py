"""Which episode begins anew: one that a person threw away in order to record it again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PAUSE_S = 1.0  # from its end to the next one: the recorder still joins its last ticks


@dataclass(slots=True)
class ReRecording:
    """Follows `episode/state` (its JSON object) from the mark to the moment when the next episode may begin."""

    _asked: str = ""  # the episode that is to be recorded anew
    _due_s: float = math.inf

    def ask(self, episode: Mapping[str, Any]) -> None:
        """Note that the running episode is thrown away; the mark may be repeated."""
        if episode.get("phase") == "running":
            self._asked = str(episode.get("id", ""))

    def forget(self, episode_id: str) -> None:
        """Take that back."""
        if self._asked == episode_id:
            self._asked, self._due_s = "", math.inf

    def hear(self, episode: Mapping[str, Any], now_s: float) -> None:
        """Take a state in. Where the episode ended in another way, or somebody began the next one, that is all."""
        if not self._asked:
            return
        is_same, is_over = episode.get("id") == self._asked, episode.get("phase") == "ended"
        if not is_same or (is_over and episode.get("end_reason") != "discard"):
            self.forget(self._asked)
        elif is_over:
            self._due_s = min(self._due_s, now_s + PAUSE_S)

    def is_due(self, now_s: float) -> bool:
        """Say, once, that the next episode may begin."""
        if now_s < self._due_s:
            return False
        self.forget(self._asked)
        return True
