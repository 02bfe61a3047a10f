"""The verbs train, finetune and eval, as a person types them, on a small world registered for the test."""

import json
from pathlib import Path
from typing import Any

import pytest

from robot.cli import main

ENV = "gates/blocked-peg"


pytestmark = pytest.mark.usefixtures("small_world")


def tandem(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out.strip().rpartition("\n")[2])


def train(capsys: pytest.CaptureFixture[str], out: Path, *words: str) -> dict[str, Any]:
    code, result = tandem(
        capsys,
        "train",
        "--env",
        ENV,
        "--preset",
        "debug",
        "--demos",
        "6",
        "--eval-episodes",
        "10",
        "--out",
        str(out),
        *words,
    )
    assert code == 0, result
    return result


def test_train_then_finetune_then_eval(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = train(capsys, tmp_path / "base")
    assert base["success"]["n"] == 10
    code, tuned = tandem(
        capsys, "finetune", "--env", ENV, "--base", base["policy"], "--recipe", "resfit", "--preset", "debug",
        "--data", str(tmp_path / "base/demos.safetensors"), "--eval-episodes", "10", "--curve-episodes", "5",
        "--out", str(tmp_path / "run"), "--set", "evaluate_every=100",
    )  # fmt: skip
    assert code == 0, tuned
    for key in ("base_success", "final_success"):
        assert tuned[key].keys() == {"value", "n", "low", "high"}
        assert tuned[key]["low"] <= tuned[key]["value"] <= tuned[key]["high"]
    assert tuned["base_success"]["value"] == base["success"]["value"]
    assert [point[0] for point in tuned["curve"]] == list(range(0, tuned["env_steps"] + 1, 100))
    assert all(point[2] == 5 for point in tuned["curve"])
    assert tuned["curve_min"]["success"] == min(point[1] for point in tuned["curve"][1:])
    assert tuned["gradient_updates"] > 0
    assert tuned["human_ticks"] == base["human_ticks"] > 0
    assert tuned["demonstrations_sha256"] == base["demonstrations_sha256"]
    assert tuned["base_sha256"] == base["policy_sha256"]
    assert json.loads((tmp_path / "run/result.json").read_text())["curve"] == tuned["curve"]
    stored = json.loads((tmp_path / "run/config.json").read_text())
    assert stored["settings"]["evaluate_every"] == 100
    assert stored["packages"]["torch"]
    code, evaluated = tandem(
        capsys, "eval", "--policy", str(tmp_path / "run"), "--env", ENV, "--episodes", "10", "--against", base["policy"]
    )
    assert code == 0
    assert evaluated["success"] == tuned["final_success"]
    assert evaluated["against"] == tuned["base_success"]


def test_an_interrupted_finetune_resumes_with_the_run_folder_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["finetune", "--env", ENV, "--base-preset", "debug", "--preset", "debug", "--demos", "5",
             "--eval-episodes", "8", "--curve-episodes", "4", "--set", "checkpoint_every=50"]  # fmt: skip
    code, whole = tandem(capsys, *words, "--out", str(tmp_path / "whole"))
    assert code == 0, whole
    from policies.recipes.resfit import ResFiT

    original = ResFiT.next

    def fails_once(self: ResFiT) -> Any:
        if self.progress == 180:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(ResFiT, "next", fails_once)
    assert main([*words, "--out", str(tmp_path / "parts")]) == 130
    monkeypatch.setattr(ResFiT, "next", original)
    code, parts = tandem(capsys, "finetune", "--resume", str(tmp_path / "parts"))
    assert code == 0, parts
    for key in ("base_success", "final_success", "curve", "gradient_updates", "policy_sha256", "demonstrations_sha256"):
        assert parts[key] == whole[key], key


def test_wrong_names_are_told_with_the_nearest_ones(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cases = [
        (["finetune", "--recipe", "resfitt"], "did you mean 'resfit'"),
        (["finetune", "--env", ENV, "--preset", "cpuu"], "did you mean 'cpu'"),
        (["finetune", "--env", ENV, "--set", "sgima=0.1"], "did you mean 'sigma'"),
        (["finetune", "--env", ENV, "--set", "heads=many"], "expected int"),
        (["train", "--base", "bcc"], "did you mean 'bc'"),
        (["train", "--preset", "debug"], "give --env"),
        (["eval", "--policy", str(tmp_path / "none.safetensors")], "no checkpoint file"),
        (["finetune", "--resume", str(tmp_path)], "no run folder"),
        (["finetune", "--env", ENV, "--base", "none"], "resfit stands on a base"),
    ]
    for words, expected in cases:
        out = [] if "--resume" in words or words[0] == "eval" else ["--out", str(tmp_path / "out")]
        code, answer = tandem(capsys, *words, *out)
        assert code == 2, (words, answer)
        assert expected in answer["error"], (words, answer)


def test_a_recipe_without_a_base_needs_none_and_its_run_is_reported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, tuned = tandem(
        capsys, "finetune", "--env", ENV, "--base", "none", "--recipe", "rlpd", "--preset", "debug", "--demos", "3",
        "--steps", "100", "--eval-episodes", "4", "--curve-episodes", "2", "--set", "evaluate_every=50",
        "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert code == 0, tuned
    absent = ("base_success", "difference", "base_checkpoint", "base_sha256")
    assert [tuned[name] for name in absent] == [None] * 4
    assert tuned["final_success"]["n"] == 4
    assert [point[0] for point in tuned["curve"]] == [0, 50, 100]
    code, evaluated = tandem(capsys, "eval", "--policy", str(tmp_path / "run"), "--env", ENV, "--episodes", "4")
    assert (code, evaluated["success"]) == (0, tuned["final_success"])
    assert tandem(capsys, "report", str(tmp_path / "run"))[0] == 0


@pytest.mark.parametrize("base", ["act", "diffusion", "flow"])
def test_every_kind_of_base_is_trained_by_name_and_fine_tuned(
    base: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trained = train(capsys, tmp_path / "base", "--base", base, "--steps", "30")
    assert (trained["base"], trained["gradient_updates"], trained["success"]["n"]) == (base, 30, 10)
    code, tuned = tandem(
        capsys, "finetune", "--env", ENV, "--base", base, "--base-preset", "debug", "--preset", "debug",
        "--data", str(tmp_path / "base/demos.safetensors"), "--steps", "110", "--eval-episodes", "5",
        "--curve-episodes", "2", "--out", str(tmp_path / "run"), "--set", "critic_only_updates=5",
    )  # fmt: skip
    assert code == 0, tuned
    assert tuned["env_steps"] == 110
    assert tuned["final_success"]["n"] == 5


def test_a_base_that_sees_is_trained_evaluated_and_fine_tuned(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Images of the simulated station and two vectors; the target of the reach is only in the images."""
    seen = ["--images", "scene", "--image-size", "32", "--fields", "joint_position", "tcp_position"]
    code, base = tandem(
        capsys, "train", "--env", "tandem/reach", "--base", "flow", "--preset", "debug", "--steps", "10",
        "--demos", "2", "--eval-episodes", "1", "--out", str(tmp_path / "base"), *seen,
    )  # fmt: skip
    assert code == 0, base
    from policies.checkpoint import load_policy

    shapes = load_policy(base["policy"]).spec.observation_shapes
    assert list(shapes) == ["joint_position", "tcp_position", "image/scene"]
    assert shapes["image/scene"] == (32, 32, 3)
    code, tuned = tandem(
        capsys, "finetune", "--env", "tandem/reach", "--base", base["policy"], "--preset", "debug",
        "--data", str(tmp_path / "base/demos.safetensors"), "--steps", "101", "--eval-episodes", "1",
        "--curve-episodes", "1", "--out", str(tmp_path / "run"),
        "--set", "critic_only_updates=2", "evaluate_every=0", "batch_size=8",
    )  # fmt: skip
    assert code == 0, tuned
    assert load_policy(tuned["policy"]).spec.observation_shapes == shapes
    code, answer = tandem(
        capsys, "train", "--env", ENV, "--images", "scene", "--preset", "debug", "--out", str(tmp_path / "none")
    )
    assert code == 2
    assert "gives no images" in answer["error"]
