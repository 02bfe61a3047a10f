"""Rows of a report in the form of a benchmark, and the targets they are held to."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robot.errors import ConfigError, unknown_name
from robot.rows import row
from world_models.metrics.video import Estimate

TARGETS = Path(__file__).parents[2] / "benchmarks" / "targets.toml"


def read_targets(tier: str) -> dict[str, float]:
    """Return the limits of one tier by `<check>_<metric>`; ConfigError where the tier is unknown."""
    if not TARGETS.is_file():
        raise ConfigError(f"no {TARGETS}: the targets stand in the source tree; run from a checkout")
    tiers = tomllib.loads(TARGETS.read_text())["imagine"]
    if tier not in tiers:
        raise unknown_name("tier of targets", tier, tiers)
    return tiers[tier]


@dataclass
class Report:
    """Rows as they are found. A row without a target says something and decides nothing."""

    targets: Mapping[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        check: str,
        metric: str,
        value: float | Estimate,
        unit: str,
        *,
        key: str = "",
        reference: float | None = None,
        is_measurable: bool = True,
        **more: Any,
    ) -> None:
        """Add a row.

        Args:
            check: A1 to A18.
            metric: in words.
            value: what was found; of an estimate its interval and count are kept too.
            unit: of the value.
            key: of the target, after the check's name; "": none. A list is a range, a name ending in `_max` an upper
                limit, any other a lower limit.
            reference: what a baseline gives on the same clips.
            is_measurable: whether what measures meets the target on true frames; else the row is told, not held.
            more: further facts of the row.
        """
        if isinstance(value, Estimate):
            more = {"low": value.low, "high": value.high, "n": value.n} | more
            value = value.value
        name = f"{check}_{key}" if key else ""
        target = self.targets.get(name) if is_measurable else None
        if not is_measurable and name in self.targets:
            more = {"not_measurable": self.targets[name]} | more
        self.rows.append(
            row(
                f"{check} {metric}",
                value,
                unit,
                target=target,
                ok=target is None or _holds(value, target, name),
                reference=reference,
            )
            | {"check": check}
            | more
        )

    def failed(self) -> list[str]:
        """Return the checks with a row that misses its target."""
        return sorted({row["check"] for row in self.rows if not row["ok"]})

    def unmeasured(self) -> list[str]:
        """Return the checks with a row that nothing here could measure."""
        return sorted({row["check"] for row in self.rows if "not_measurable" in row})

    def holds(self, name: str, value: float) -> bool:
        """Return whether a value meets a target; one that is not there is met by all."""
        return name not in self.targets or _holds(value, self.targets[name], name)


def _holds(value: float, target: Any, name: str) -> bool:
    if isinstance(target, list):
        return bool(target[0] <= value <= target[1])
    return bool(value <= target) if name.endswith("_max") else bool(value >= target)


def in_words(row: Mapping[str, Any]) -> str:
    """Return one row as a line: verdict, metric, value with its interval, target and baseline."""
    verdict = ("ok  " if row["ok"] else "MISS") if row["target"] is not None else "    "
    verdict = "n/m " if "not_measurable" in row else verdict
    interval = f"  ({row['low']:.3g} to {row['high']:.3g}, n = {row['n']})" if "low" in row else ""
    target = "" if row["target"] is None else f"  target {row['target']}"
    baseline = "" if row["reference"] is None else f"  reference {row['reference']:.4g}"
    return f"{verdict} {row['metric']:<56} {row['value']:>9.4g} {row['unit']:<7}{interval}{target}{baseline}"
