"""The scene: the station's arms on a table, its cameras, a light, and the objects of one task."""

# MuJoCo ships no types for its enums and specs.
# pyright: reportAttributeAccessIssue=false

import mujoco
import numpy as np

from robot.geometry import look_at
from robot.kinematics.model import HAND, build_arm_spec
from robot.specs import CameraSpec, StationSpec
from robot.types import Array
from sim.task import Task, check_arms

TIMESTEP_S = 0.002
TABLE_RGBA = (0.62, 0.53, 0.43, 1.0)


def build_scene(station: StationSpec, task: Task) -> mujoco.MjModel:
    """Compile the model of one cell with one task; ConfigError where the task is for another number of arms."""
    check_arms(task, station)
    spec = build_arm_spec(station)
    _set_physics(spec)
    _set_drawing(spec, station)
    _add_room(spec)
    for camera in station.cameras:
        _add_camera(spec, camera)
    task.build(spec, station)
    return spec.compile()


def _set_physics(spec: mujoco.MjSpec) -> None:
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # with impratio: a friction grasp does not creep
    spec.option.impratio = 10.0


def _set_drawing(spec: mujoco.MjSpec, station: StationSpec) -> None:
    """No shadows and no multisampling, in training and in test alike: software rendering is several times faster."""
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
    spec.visual.global_.offwidth = max([640, *(camera.width for camera in station.cameras)])
    spec.visual.global_.offheight = max([480, *(camera.height for camera in station.cameras)])
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.4, 0.4, 0.4]


def _add_room(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_light(pos=[0.4, -0.6, 2.0], dir=[0.1, 0.3, -1.0], diffuse=[0.5, 0.5, 0.5], castshadow=False)
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1.5, 1.5, 0.05], pos=[0.4, 0, 0], rgba=TABLE_RGBA
    )


def _add_camera(spec: mujoco.MjSpec, camera: CameraSpec) -> None:
    on_hand = camera.mount != "world"
    prefix = f"{camera.side}_" if camera.side else ""
    body = spec.body(prefix + HAND) if on_hand else spec.worldbody
    quat = look_at_quat(np.array(camera.translation_m), np.array(camera.look_at_m), np.array(camera.up_m))
    body.add_camera(name=camera.name, pos=camera.translation_m, quat=quat, fovy=camera.fovy_deg)


def look_at_quat(position: Array, target: Array, up: Array) -> Array:
    """Return the orientation (w x y z) of a MuJoCo camera, which looks along its -z with y upwards in the image."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, look_at(position, target, up).ravel())
    return quat
