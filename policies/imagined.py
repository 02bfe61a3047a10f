"""Name the imagined counterpart of a world; who imagines is found by name (the suite `imagined`), never imported."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from robot.errors import ConfigError
from robot.worlds import suite_names

World = Literal["simulated", "imagined"]
SUITE = "imagined"


def check_world(world: World, model: Path | None) -> None:
    """Raise ConfigError where an imagined world has no model, or a model is given that nobody imagines with."""
    if world == "imagined" and model is None:
        raise ConfigError("--world imagined needs --world-model FOLDER (train one: tandem imagine train)")
    if world == "imagined" and SUITE not in suite_names():
        raise ConfigError(f"--world imagined needs the suite '{SUITE}' of world_models; installed: {suite_names()}")
    if world != "imagined" and model is not None:
        raise ConfigError(f"--world-model {model} is for --world imagined; add it, or leave the model out")


def env_in(world: World, env_id: str, model: Path | None) -> str:
    """Return the id of the world that is meant: the given one, or the same as a model imagines it."""
    check_world(world, model)
    if world != "imagined":
        return env_id
    return f"{SUITE}/{env_id}{'&' if '?' in env_id else '?'}{urlencode({'model': model})}"
