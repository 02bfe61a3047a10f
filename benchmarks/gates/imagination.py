"""Imagination gate: the world model that counts holds checks A1 to A12 and A18, and what is broken is noticed.

Arms: `model`, the CPU tier; `mean`, the same network without noise, which it must match; `zoo`, the model broken in
every known way, success-only trained anew. A cell trains what it needs where nobody has (`benchmarks.gate_models`).
"""

from typing import Any

import torch

from benchmarks.gate_models import MODEL_FILES, obtain_held_out, obtain_model, trained_facts
from robot.rows import row
from robot.specs import load_station
from world_models.acceptance.accept import accept
from world_models.acceptance.pose_probe import PoseProbe, fit_probe
from world_models.acceptance.rows import Report, read_targets
from world_models.acceptance.zoo import check_zoo
from world_models.episode_frames import EpisodeFrames, read_frames
from world_models.eval_verb import evidence_of, split
from world_models.loading import load_world_model
from world_models.video_model import VideoWorldModel

CELLS = [("model", 0), ("mean", 0), ("zoo", 0)]
DEPENDS = [
    *MODEL_FILES,
    "benchmarks/gate_models.py",
    "world_models/acceptance/*.py",
    "world_models/broken.py",
    "world_models/episode_frames.py",
    "world_models/metrics/following.py",
    "world_models/metrics/outcomes.py",
    "world_models/metrics/video.py",
    "world_models/rollout.py",
    "world_models/start_records.py",
    "world_models/trust.py",
]
FACTS = ("metric", "value", "unit", "reference", "ratio", "target", "ok")


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Check one model, or the zoo, on held-out episodes."""
    torch.set_num_threads(1)
    targets = read_targets("cpu")
    run = obtain_model("mean" if arm == "mean" else "model", seed, profile)
    model = load_world_model(run)
    test, probe, calibration = evidence(model, profile)
    if arm == "zoo":
        report = Report(targets)
        broken = load_world_model(obtain_model("success_only", seed, profile))
        check_zoo(model, evidence_of(model, test, probe, profile["steps"]), report, {"success_only": broken})
        return {"rows": report.rows, "targets": targets}
    found = accept(model, test, calibration, targets, probe, steps=profile["steps"])
    found.trust.write(run)
    return {
        "rows": found.report.rows,
        "not_measurable": found.report.unmeasured(),
        "reliability": found.reliability,
        "gate": found.trust.gate,
        "calibration": found.trust.calibration.kind,
        "trained": trained_facts(run),
        "targets": targets,
    }


def evidence(
    model: VideoWorldModel, profile: dict[str, Any]
) -> tuple[list[EpisodeFrames], PoseProbe, list[EpisodeFrames]]:
    """Return episodes to test on, the probe, and the episodes that it and the calibration are fitted on."""
    test, calibration = split(read_frames(obtain_held_out(model.spec, profile), model.spec))
    return test, fit_probe(model, load_station(model.spec.station), calibration), calibration


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the model's rows, its lead over the deterministic one, its training time and the zoo against the targets."""
    by_arm = {cell["arm"]: cell for cell in cells}
    rows = [{name: item[name] for name in FACTS} for arm in ("model", "zoo") for item in by_arm[arm]["rows"]]
    trained, limit = by_arm["model"]["trained"], targets["wall_s"]
    took = trained["cpu_s"]  # of one thread: what the clock shows where nothing else runs
    rows.append(row("training, recording included, processor time", took, "s", target=limit, ok=took <= limit))
    rows.append(row("training, recording included, by the clock", trained["wall_s"], "s", target=None, ok=True))
    lead = moving_gain(by_arm["model"]) - moving_gain(by_arm["mean"])
    rows.append(
        row("20-step gain on moving pixels above the mean model", lead, "dB", target=targets["mean_margin"],
            ok=lead >= targets["mean_margin"], reference=moving_gain(by_arm["mean"]))
    )  # fmt: skip
    return rows


def moving_gain(cell: dict[str, Any]) -> float:
    """Return how much nearer than a copy a model is on moving pixels after the long clip, mean of the views [dB]."""
    found = [item["value"] for item in cell["rows"] if item["check"] == "A3" and "moving" in item["metric"]]
    return sum(found) / len(found)
