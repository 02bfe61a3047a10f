"""Images of a scene from its published state, for camera processes and for environments with images."""

# MuJoCo ships no types for its enums and specs.
# pyright: reportAttributeAccessIssue=false

import atexit
import importlib
import os
import sys
import weakref

import mujoco
import numpy as np

from robot.errors import ConfigError, unknown_name
from robot.specs import StationSpec
from robot.types import Array
from sim.scene import build_scene
from sim.task import Task


def state_size(model: mujoco.MjModel) -> int:
    """Count the numbers that are enough to draw a scene."""
    return 1 + model.nq + 7 * model.nmocap


def read_state(data: mujoco.MjData) -> Array:
    """Return what `write_state` needs: the count of joint coordinates, these, and the kinematically moved bodies."""
    return np.concatenate([[data.qpos.size], data.qpos, data.mocap_pos.ravel(), data.mocap_quat.ravel()])


def write_state(model: mujoco.MjModel, data: mujoco.MjData, state: Array) -> None:
    """Place everything as in `state` without simulating; ConfigError if it belongs to another scene."""
    if state.shape != (state_size(model),) or state[0] != model.nq:
        raise ConfigError(
            f"sim state has shape {state.shape} and {state[:1]} joint coordinates, this scene needs "
            f"({state_size(model)},) and {model.nq}: start the camera with the task of the arm"
        )
    n, m = 1 + model.nq, 3 * model.nmocap
    data.qpos[:] = state[1:n]
    data.mocap_pos.ravel()[:] = state[n : n + m]
    data.mocap_quat.ravel()[:] = state[n + m :]
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)


class SceneRenderer:
    """Draws one scene through its cameras. Owns its data; use it from the thread that made it."""

    def __init__(self, station: StationSpec, task: Task) -> None:
        self.model = build_scene(station, task)
        self._data = mujoco.MjData(self.model)
        self._cameras = {camera.name: self.model.camera(camera.name).id for camera in station.cameras}
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}

    def place(self, state: Array) -> None:
        """Set the scene that the next `draw` shows; `state` is `SimWorld.sim_state()`."""
        write_state(self.model, self._data, state)

    def draw(self, camera: str, width: int, height: int) -> np.ndarray:
        """Return the image of the placed scene, uint8 (height, width, 3) RGB."""
        if camera not in self._cameras:
            raise unknown_name("camera", camera, self._cameras)
        renderer = self._renderers.get((width, height)) or self._new_renderer(width, height)
        renderer.update_scene(self._data, self._cameras[camera])
        return renderer.render()

    def render(self, state: Array, camera: str, width: int, height: int) -> np.ndarray:
        """Place and draw."""
        self.place(state)
        return self.draw(camera, width, height)

    def close(self) -> None:
        """Free the drawing contexts."""
        while self._renderers:
            self._renderers.popitem()[1].close()

    def _new_renderer(self, width: int, height: int) -> mujoco.Renderer:
        renderer = plain_renderer(self.model, width, height)
        if not self._renderers:  # registered after MuJoCo's own exit handler, so that it runs before it
            atexit.register(_close, weakref.ref(self))
        self._renderers[width, height] = renderer
        return renderer


def plain_renderer(model: mujoco.MjModel, width: int, height: int) -> mujoco.Renderer:
    """Return MuJoCo's renderer with shadows and reflections off."""
    _use_chosen_backend()
    renderer = mujoco.Renderer(model, height, width)
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.scene.flags[flag] = 0
    return renderer


def _use_chosen_backend() -> None:
    """Obey MUJOCO_GL also where `mujoco` was imported before `sim` chose it: MuJoCo reads it once, at import."""
    chosen = os.environ.get("MUJOCO_GL", "")
    if chosen in ("egl", "osmesa"):
        contexts = sys.modules[mujoco.Renderer.__module__].gl_context
        contexts.GLContext = importlib.import_module(f"mujoco.{chosen}").GLContext


def _close(reference: "weakref.ref[SceneRenderer]") -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()
