"""Models that cells share: found again only by what made them, and made by one cell at a time."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gate_models
from benchmarks.gate_models import alone, model_folder
from benchmarks.gates import targets_of
from world_models.settings import PRESETS

PROFILE = targets_of("imagination")["profile"]


def test_another_preset_other_views_and_another_seed_are_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [model_folder("model", 0, PROFILE), model_folder("model", 1, PROFILE), model_folder("mean", 0, PROFILE)]
    folders.append(model_folder("model", 0, PROFILE | {"training": PROFILE["training"] | {"views": ["scene"]}}))
    monkeypatch.setitem(PRESETS, "cpu", replace(PRESETS["cpu"], weight_decay=0.5))
    folders.append(model_folder("model", 0, PROFILE))
    assert len(set(folders)) == len(folders)
    monkeypatch.undo()
    assert model_folder("model", 0, PROFILE) == folders[0]


def test_both_gates_name_one_model() -> None:
    other = targets_of("imagined_policies")["profile"]
    assert model_folder("model", 0, other) == model_folder("model", 0, PROFILE)


def test_the_files_a_model_depends_on_are_there() -> None:
    assert all((gate_models.ROOT / name).is_file() for name in gate_models.MODEL_FILES)


def test_a_second_cell_waits_for_the_first(tmp_path: Path) -> None:
    entered = threading.Event()

    def second() -> None:
        with alone(tmp_path / "model"):
            entered.set()

    thread = threading.Thread(target=second)
    with alone(tmp_path / "model"):
        thread.start()
        assert not entered.wait(0.2)
    thread.join(timeout=5.0)
    assert entered.is_set()
