"""How depth is named: `depth/<camera>` as an observation, and in a store `<camera>_depth` beside the colour images."""

from collections.abc import Iterable

from robot.specs import StationSpec

SUFFIX = "_depth"


def stored_depth(camera: str) -> str:
    """Return the name under which a store keeps a camera's depth images."""
    return f"{camera}{SUFFIX}"


def camera_of(stored: str) -> str:
    """Return the camera that depth images of a store are of."""
    return stored.removesuffix(SUFFIX)


def stored_images(station: StationSpec, cameras: Iterable[str]) -> list[str]:
    """Return the names under which a store keeps the images of cameras, their depth included."""
    found = []
    for camera in (station.camera(name) for name in cameras):
        found += [camera.name, stored_depth(camera.name)] if camera.has_depth else [camera.name]
    return found
