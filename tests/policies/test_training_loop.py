"""The one loop: interrupted by a signal, the curve and the best policy, what it logs, draws and films."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from policies.base.behavior_cloning import BehaviorCloning, train_base
from policies.checkpoint import read_content
from policies.data.chunks import ChunkSource
from policies.data.demonstrations import Demonstrations, collect
from policies.rollout_video import film
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from policies.training_figures import draw_curves, read_metrics
from robot.cli import main
from tests.policies.rig import TINY_BASE

SUCCESS = {0: 0.0, 40: 0.5, 80: 0.9, 120: 0.9, 160: 0.7, 200: 0.8}


def steps_of(path: Path) -> int:
    return read_content(path).metadata["gradient_steps"]


def evaluated(folder: Path, demonstrations: Demonstrations) -> tuple[Run, list[Any]]:
    """Train with made-up evaluations that also say which policy they were given."""
    run, asked = Run(folder, tensorboard=False), []

    def evaluate(step: int, policy: Path) -> list[float]:
        asked.append((step, steps_of(policy)))
        return [step, SUCCESS[step], 20]

    train_base(demonstrations, TINY_BASE, run, seed=0, evaluate=evaluate, evaluate_every=40)
    return run, asked


def test_the_best_policy_is_the_latest_with_the_highest_success_and_the_last_is_the_last(
    demonstrations: Demonstrations, tmp_path: Path
) -> None:
    run, asked = evaluated(tmp_path, demonstrations)
    assert asked == [(step, step) for step in SUCCESS], "each evaluation sees the policy of its own step"
    assert steps_of(run.best_path) == 120
    assert steps_of(run.policy_path) == TINY_BASE.steps == 200
    assert read_content(run.best_path).sha256 != read_content(run.policy_path).sha256
    assert [value for _, value in read_metrics(tmp_path)["success"]] == list(SUCCESS.values())


def interrupt_at(monkeypatch: pytest.MonkeyPatch, progress: int, number: signal.Signals) -> None:
    original = ChunkSource.next

    def interrupted(self: ChunkSource) -> Any:
        batch = original(self)
        if self.progress == progress:
            os.kill(os.getpid(), number)
        return batch

    monkeypatch.setattr(ChunkSource, "next", interrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_iteration_and_the_resumed_run_equals_an_uninterrupted_one(
    demonstrations: Demonstrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    whole, _ = evaluated(tmp_path / "whole", demonstrations)
    handler = signal.getsignal(number)
    with monkeypatch.context() as patched:
        interrupt_at(patched, 97, number)
        with pytest.raises(KeyboardInterrupt):
            evaluated(tmp_path / "parts", demonstrations)
    assert signal.getsignal(number) is handler
    assert read_tree(tmp_path / "parts/training_state.safetensors")["loop"]["updates"] == 97
    parts, asked = evaluated(tmp_path / "parts", demonstrations)
    assert [step for step, _ in asked] == [120, 160, 200]
    states = [read_tree(run.state_path) for run in (whole, parts)]
    for state in states:
        state["loop"].pop("wall_s")
    assert tree_hash(states[0]) == tree_hash(states[1])
    assert parts.best_path.read_bytes() == whole.best_path.read_bytes()
    assert parts.policy_path.read_bytes() == whole.policy_path.read_bytes()


def train_words(out: Path) -> list[str]:
    return ["train", "--env", "gates/blocked-peg", "--preset", "debug", "--demos", "5", "--eval-episodes", "6",
            "--curve-episodes", "4", "--out", str(out)]  # fmt: skip


@pytest.mark.usefixtures("small_world")
def test_an_interrupted_train_resumes_with_the_run_folder_alone(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tandem(*words: str) -> dict[str, Any]:
        assert main([*words, "--json"]) == 0
        out = capfd.readouterr().out
        assert out.count("\n") == 1, "one line of JSON and nothing else"
        return json.loads(out)

    whole = tandem(*train_words(tmp_path / "whole"))
    with monkeypatch.context() as patched:
        interrupt_at(patched, 60, signal.SIGINT)
        assert main(train_words(tmp_path / "parts")) == 130
    said = capfd.readouterr()
    assert "saved at 60 of 100" in said.out
    assert "Traceback" not in said.err
    parts = tandem("train", "--resume", str(tmp_path / "parts"))
    for key in ("success", "curve", "gradient_updates", "policy_sha256", "demonstrations_sha256"):
        assert parts[key] == whole[key], key
    assert [point[0] for point in parts["curve"]] == [0, 25, 50, 75, 100]
    assert json.loads((tmp_path / "parts/curve.json").read_text())["curve"] == parts["curve"]
    check_tensorboard(tmp_path / "parts/tensorboard", parts["curve"])
    with Image.open(parts["curves"]) as image:
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image))) > 20, "something is drawn"


def check_tensorboard(folder: Path, curve: list[list[float]]) -> None:
    """Both parts of the run are one series, in which every step occurs once."""
    events = EventAccumulator(str(folder))
    events.Reload()
    loss = events.Scalars("loss")
    assert [event.step for event in loss] == list(range(1, 101))
    assert loss[-1].value < loss[0].value
    assert [[event.step, event.value] for event in events.Scalars("success")] == [point[:2] for point in curve]


def test_of_a_step_that_was_logged_twice_the_last_counts(tmp_path: Path) -> None:
    run = Run(tmp_path, tensorboard=False)
    for step, loss in [(10, 3.0), (20, 2.0), (30, float("nan")), (20, 2.5), (30, 1.0)]:
        run.log(step, {"loss": loss})
    assert read_metrics(tmp_path) == {"loss": [(10, 3.0), (20, 2.5), (30, 1.0)]}
    assert draw_curves(tmp_path) == tmp_path / "curves.png"
    assert draw_curves(tmp_path / "empty") is None


def test_a_rollout_is_filmed_where_the_world_draws_itself(tmp_path: Path) -> None:
    run = Run(tmp_path, tensorboard=False)
    policy, _ = train_base(collect("tandem/reach", 1, 0), TINY_BASE, run, seed=0)
    assert isinstance(policy, BehaviorCloning)
    (path,) = film("tandem/reach", run.policy_path, [5], tmp_path / "rollouts")
    assert path.name in ("0-success.webp", "0-failure.webp")
    with Image.open(path) as video:
        assert video.format == "WEBP"
        assert 2 < video.n_frames <= 100
        first = np.asarray(video.convert("RGB")).astype(int)
        video.seek(video.n_frames - 1)
        assert np.abs(np.asarray(video.convert("RGB")) - first).max() > 50, "the arm has moved"


@pytest.mark.usefixtures("small_world")
def test_a_world_that_does_not_draw_gives_no_video(tmp_path: Path) -> None:
    assert film("gates/blocked-peg", tmp_path / "none", [0], tmp_path) == []
