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


def test_cells_of_the_leaderboard_become_a_table_and_two_figures(tmp_path):
    for arm, success in (("rlif", 0.25), ("rac", 0.75)):
        for seed in (0, 1):
            told = {"final_success": {"value": success, "n": 100}, "base_success": {"value": 0.4, "n": 100}}
            costs = {"human_ticks": 600, "env_steps": 3000 + 500 * seed}
            curve = [[0, 0.4, 50, 0], [3000, success, 50, 600]]
            cell = {"arm": arm, "seed": seed, "curve": curve, **told, **costs}
            (tmp_path / f"leaderboard-{arm}-{seed}.json").write_text(json.dumps(cell))
    page = run(ReportConfig(tmp_path))["report"].read_text()
    assert page.index("<td>rac</td><td>75 %</td>") < page.index("<td>rlif</td><td>25 %</td>"), "the best first"
    assert "<td>40 %</td><td>200</td><td>2</td><td>600</td><td>3,250</td>" in page
    assert page.count("<svg") == 2
