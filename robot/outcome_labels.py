"""How an episode counts, decided after it was sealed: facts beside the store, one line each, the last one counts.

    outcomes.jsonl         appended to: episode, outcome, who said so and when

The recording itself, its ticks, rewards and end reason, is never changed; `outcome_of` is what readers ask.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from robot.episode import EpisodeInfo
from robot.errors import StoreError, unknown_name
from robot.journal import store_error
from robot.types import EndReason

LABELS = "outcomes.jsonl"
AS_RECORDED = "as_recorded"
WITHDRAWN = EndReason.OPERATOR_ABORT.name.lower()  # the operator ended it and says no more what came of it
OUTCOMES = ("success", "failure", "discard", WITHDRAWN, AS_RECORDED)


@dataclass(frozen=True, slots=True)
class OutcomeLabel:
    """What a person said of an episode afterwards; `outcome` is one of `OUTCOMES`."""

    episode_id: str
    outcome: str
    by: str
    time_ns: int


def read_labels(root: Path) -> dict[str, OutcomeLabel]:
    """Return the label that counts of each episode that has one; StoreError names a line that cannot be read."""
    path, labels = Path(root) / LABELS, {}
    if not path.exists():
        return {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            facts = json.loads(line)
            label = OutcomeLabel(
                str(facts["episode_id"]), str(facts["outcome"]), str(facts["by"]), int(facts["time_ns"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}, line {number} is not a label ({error!r}); mend or remove that line") from None
        labels[label.episode_id] = label
    return {name: label for name, label in labels.items() if label.outcome in OUTCOMES[:-1]}


def add_label(root: Path, episode_id: str, outcome: str, by: str) -> OutcomeLabel:
    """Say how an episode counts from now on; it need not be sealed yet. `AS_RECORDED` takes earlier labels back."""
    if outcome not in OUTCOMES:
        raise unknown_name("outcome", outcome, OUTCOMES)
    label = OutcomeLabel(episode_id, outcome, by, time.time_ns())
    path = Path(root) / LABELS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(label)) + "\n")
    except OSError as error:
        raise store_error("write the label", path, error, "The episode counts as before.") from error
    return label


def outcome_of(info: EpisodeInfo, labels: Mapping[str, OutcomeLabel]) -> EndReason:
    """Return how an episode counts: as labelled, else as recorded; DISCARD where it is to be left out."""
    label = labels.get(info.episode_id)
    if label is not None:
        return EndReason[label.outcome.upper()]
    return EndReason.DISCARD if info.is_discarded else info.end_reason
