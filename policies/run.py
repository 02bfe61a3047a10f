"""The folder of one run: resolved config, provenance, metrics, curve and checkpoints."""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from robot.errors import ConfigError
from robot.verb import json_line

PACKAGES = ("tandem-robotics", "torch", "numpy", "gymnasium", "mujoco", "safetensors", "metaworld")
CODE = (":(top)", ":(top,exclude)benchmarks/results")


def _git(folder: Path, *words: str) -> str:
    answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def provenance(folder: Path = Path(__file__).parent) -> dict[str, Any]:
    """Return the commit, whether the tree differs from it (measured results aside), and package versions."""
    return {
        "commit": _git(folder, "rev-parse", "HEAD"),
        "is_dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no", "--", *CODE)),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping atomically, indented."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(json.loads(json_line(value)), indent=2) + "\n")
    draft.replace(path)


def new_folder(parent: Path, name: str) -> Path:
    """Return a folder path that does not exist yet: `<parent>/<date>-<name>`."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name.replace('/', '-')}"
    for suffix in ("", *(f"-{i}" for i in range(2, 100))):
        if not (parent / (stem + suffix)).exists():
            return parent / (stem + suffix)
    raise ConfigError(f"{parent} already holds 99 runs named {stem}")


class Run:
    """One run folder. Metrics go to `metrics.jsonl` and TensorBoard, the curve to `curve.json`."""

    METRICS = "metrics.jsonl"

    def __init__(self, folder: Path, *, tensorboard: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._tensorboard = tensorboard
        self._writer: Any = None

    @property
    def state_path(self) -> Path:
        return self.folder / "training_state.safetensors"

    @property
    def policy_path(self) -> Path:
        return self.folder / "policy.safetensors"

    @property
    def best_path(self) -> Path:
        """The policy with the highest success in the loop; `policy_path` is the last one."""
        return self.folder / "best.safetensors"

    def write_config(self, verb: str, config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Write the verb's flags, the settings they resolved to, and where the code came from."""
        write_json(self.folder / "config.json", {"verb": verb, "config": config, "settings": settings, **provenance()})

    @staticmethod
    def read_config(folder: Path, verb: str) -> dict[str, Any]:
        """Return the config a run was started with; ConfigError when the folder is no run of this verb."""
        path = folder / "config.json"
        if not path.is_file():
            raise ConfigError(f"{folder} is no run folder (no config.json): give the folder the first run printed")
        stored = json.loads(path.read_text())
        if stored["verb"] != verb:
            raise ConfigError(f"{folder} is a run of `tandem {stored['verb']}`: resume it with that verb")
        return stored["config"]

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line of metrics."""
        with (self.folder / self.METRICS).open("a") as file:
            file.write(json_line({"step": step, **metrics}) + "\n")
        if self._tensorboard:
            if self._writer is None:
                from torch.utils.tensorboard.writer import SummaryWriter

                folder = self.folder / "tensorboard"
                # What an interrupted run logged beyond the state it resumes from is logged again.
                self._writer = SummaryWriter(str(folder), purge_step=step if folder.exists() else None)
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def resumed(config: Any, verb: str) -> Any:
    """Return the configuration a run was started with where `resume` is given, else the configuration itself."""
    if config.resume is None:
        return config
    stored = Run.read_config(config.resume, verb)
    paths = {field.name for field in fields(config) if "Path" in str(field.type)}
    values = {
        name: Path(value) if name in paths and value is not None else tuple(value) if isinstance(value, list) else value
        for name, value in stored.items()
    }
    return type(config)(**{**values, "out": config.resume, "resume": None})
