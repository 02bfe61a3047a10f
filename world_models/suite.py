"""The suite `imagined`: any other world as a world model imagines it.

`imagined/<suite>/<name>?model=RUN` begins each episode as that world's reset of the same seed shows it; with
`starts=FILE` it begins from recorded moments instead, and the world itself is never built. Light on purpose: whoever
lists the suites does not load torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot.errors import ConfigError
from robot.worlds import Expert
from robot.worlds import make_expert as make_true_expert

if TYPE_CHECKING:
    from world_models.imagined_task import ImaginedTaskEnv


def names() -> list[str]:
    """Return nothing: what is imagined depends on the models that were trained."""
    return []


def offers(name: str) -> bool:
    """Say whether a name could be that of another suite's world: it has a suite of its own before the slash."""
    return "/" in name and not name.startswith("imagined/")


def make_env(
    name: str,
    *,
    model: str = "",
    starts: str = "",
    images: Sequence[str] = (),
    image_size: int = 0,
    render_mode: str | None = None,
    imagination: dict[str, Any] | None = None,
    **options: Any,
) -> "ImaginedTaskEnv":
    """Build an imagined world.

    Args:
        name: id of the true world.
        model: folder of a trained world model (`tandem imagine train`).
        starts: file of recorded starts; "": the true world's resets.
        images: cameras a policy sees; each must be a view of the model.
        image_size: side of those images; must be the model's.
        render_mode: `rgb_array` or None.
        imagination: fields of ImaginationConfig.
        options: of the true world.
    """
    from world_models.imagined_env import ImaginationConfig
    from world_models.imagined_task import check_cameras, imagine_world, starts_of_world
    from world_models.loading import load_world_model
    from world_models.start_records import StartFile
    from world_models.trust import read_trust

    if not model:
        raise ConfigError(f"imagined/{name}: which model? add ?model=FOLDER, or --world-model FOLDER")
    trained = load_world_model(Path(model))
    check_cameras(trained.spec, images, image_size)
    chosen = StartFile.read(Path(starts), trained.spec) if starts else starts_of_world(name, trained.spec, **options)
    config = ImaginationConfig(**(imagination or {}))
    return imagine_world(trained, chosen, config, read_trust(Path(model)), render_mode)


def make_expert(name: str, **knobs: Any) -> Expert:
    """Build the true world's scripted expert; it needs what that world shows."""
    return make_true_expert(name, **knobs)
