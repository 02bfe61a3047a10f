"""What a check of this machine or of a station found, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `advice` is empty where nothing needs doing."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def show(findings: Iterable[Finding]) -> list[str]:
    """Print every finding and return the names of those that failed."""
    failed = []
    for finding in findings:
        print(f"{finding.status:<4} {finding.name:<16} {finding.found}")
        if finding.advice:
            print(f"     {'':<16} -> {finding.advice}")
        if finding.status == "fail":
            failed.append(finding.name)
    return failed
