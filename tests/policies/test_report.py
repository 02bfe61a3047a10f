"""The report: one file, nothing outside it, every figure of the run in it."""

import itertools
import json
import re

import pytest

from policies.report_verb import ReportConfig, run
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.lockstep_recording import record_lockstep
from robot.worlds import make_operator

FINETUNE = {
    "env": "tandem/reach",
    "recipe": "resfit",
    "base_success": {"value": 0.42, "n": 200, "low": 0.35, "high": 0.49},
    "final_success": {"value": 0.98, "n": 200, "low": 0.95, "high": 0.99},
    "curve": [[0, 0.42, 50], [1000, 0.36, 50], [2000, 0.98, 50]],
    "env_steps": 2000,
    "policy_sha256": "ab" * 32,
    "run": "runs/x",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = EpisodeStore(tmp_path_factory.mktemp("store"))
    operator = make_operator("tandem/reach", demonstrate=True)
    images = ("scene", "wrist")
    next(record_lockstep("tandem/reach", store, itertools.count(), operator=operator, images=images))
    return store


def test_a_finetune_run_becomes_one_page(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(FINETUNE))
    page = run(ReportConfig(tmp_path))["report"].read_text()
    assert "98.0 %" in page
    assert "worst 36 %" in page or "worst" in page
    assert "ab" * 32 in page
    assert "<svg" in page


def test_a_page_needs_nothing_outside_itself(tmp_path, store):
    results = {"finetune": FINETUNE, "graph_final": {"store": str(store.root), "success": FINETUNE["final_success"]}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    page = run(ReportConfig(tmp_path))["report"].read_text()
    assert "data:image/webp;base64," in page
    assert not re.findall(r'(?:src|href)=["\'](?!data:|#)', page)
    assert "tick period" in page


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="demo or finetune"):
        run(ReportConfig(tmp_path))
