"""`tandem bench`: agreed rows in, one verdict out."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from robot import bench
from robot.errors import ConfigError

ROW = {"metric": "rate", "value": 5.0, "unit": "1/s", "reference": 2.0, "ratio": 2.5, "target": 2.0, "ok": True}
results: dict[str, Any] = {}


def quick() -> Any:
    return results["quick"]


def slow() -> Any:
    return results["slow"]


@pytest.fixture(autouse=True)
def two_benches(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint(name, f"{__name__}:{name}", bench.GROUP) for name in ("quick", "slow")]
    monkeypatch.setattr(bench, "entry_points", lambda group: entries)
    results.update(quick={"rows": [ROW]}, slow={"rows": [ROW, {**ROW, "metric": "memory", "ok": False}]})


def test_a_row_that_misses_makes_the_whole_miss(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(bench.Bench("quick"))["ok"] is True
    assert bench.run(bench.Bench("slow"))["ok"] is False
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISS")]
    assert len(lines) == 1
    assert "memory" in lines[0]


def test_all_names_where_each_row_comes_from() -> None:
    result = bench.run(bench.Bench())
    assert [row["metric"] for row in result["rows"]] == ["quick/rate", "slow/rate", "slow/memory"]
    assert result["ok"] is False
    assert result["machine"]["cores"] >= 1


def test_the_result_is_written_as_strict_json(tmp_path: Path) -> None:
    results["quick"] = {"rows": [{**ROW, "value": float("nan"), "ok": False}]}
    out = tmp_path / "deep" / "quick.json"
    bench.run(bench.Bench("quick", out))
    assert json.loads(out.read_text())["rows"][0]["value"] is None


def test_a_wrong_name_is_answered_with_the_near_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        bench.run(bench.Bench("quik"))


@pytest.mark.parametrize("answer", [None, {}, {"rows": []}, {"rows": [{"metric": "rate", "value": 1.0}]}])
def test_a_benchmark_that_measured_nothing_is_no_success(answer: Any) -> None:
    results["quick"] = answer
    with pytest.raises(ConfigError, match="quick"):
        bench.run(bench.Bench("quick"))
