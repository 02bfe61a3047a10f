"""The MuJoCo model of a station's arms, built from its YAML: one source for simulation, kinematics and safety.

Bodies of an arm: `base_link`, `link1`..`linkN`, `tool0`, `hand`, then `finger1` and `finger2`, or `jaw`; site `tcp`.
On a station of several arms the side's name goes before them, `left_hand`. Actuators carry the names of the station's
joints, in their order. Shapes are capsules and boxes, no vendor mesh.
"""

# MuJoCo ships no types for its enums and specs.
# pyright: reportAttributeAccessIssue=false

import math
from itertools import pairwise

import mujoco
import numpy as np

from robot.geometry import conjugate, multiply, rotate
from robot.gripper_specs import GripperSpec, JawSpec
from robot.specs import ArmSpec, CapsuleSpec, JointSpec, StationSpec

TCP = "tcp"
BASE = "base_link"
HAND = "hand"
FINGERS = ("finger1", "finger2")

# Shape of a parallel hand, in its own frame [m]: palm box, then the fingers' root and how far they reach past the tcp.
PALM_HALF = (0.032, 0.10, 0.030)
PALM_Z = 0.032
FINGER_ROOT_Z = 0.0584
FINGER_PAST_TCP = 0.009
FINGER_HALF = (0.010, 0.006)
FINGER_MASS_KG = 0.015
FINGER_ARMATURE = 0.05
FINGER_STIFFNESS = 2000.0
FINGER_DAMPING = 40.0

# Shape of a hand with one jaw, in its own frame [m]: palm box; finger and pad of the jaw as thick as this, as far apart
# as `JAW_PARALLEL_GAP` where they are parallel, the tcp between them.
JAW_PALM_HALF = (0.020, 0.024, 0.020)
JAW_PALM_Z = 0.022
JAW_PAD_HALF = (0.008, 0.003, 0.022)
JAW_PAST_TCP = 0.008
JAW_FINGER_BESIDE_TCP = 0.0165
JAW_PARALLEL_RAD = 0.33  # from closed

LIGHT, DARK = (0.88, 0.89, 0.91, 1.0), (0.25, 0.27, 0.30, 1.0)


def build_arm_spec(station: StationSpec) -> mujoco.MjSpec:
    """Return the editable model of the station's arms with their grippers, each where its base stands."""
    spec = mujoco.MjSpec()
    spec.modelname = station.name
    spec.compiler.degree = False
    for side in station.sides:
        _add_arm(spec, side)
    return spec


def _add_arm(spec: mujoco.MjSpec, side: StationSpec) -> None:
    prefix = side.mount.prefix
    links = _add_chain(spec, side)
    tool = links[-1].add_body(name=prefix + "tool0", pos=side.arm.flange_m, gravcomp=_gravcomp(side.arm))
    pairs = _touching_pairs(len(links))
    if isinstance(side.gripper, JawSpec):
        _add_jaw(spec, tool, side.gripper, prefix)
    else:
        _add_fingers(spec, _add_hand(tool, side.gripper, prefix), side.gripper, prefix)
        pairs.append(FINGERS)
    for first, second in pairs:
        spec.add_exclude(bodyname1=prefix + first, bodyname2=prefix + second)


def compile_kinematic_model(station: StationSpec) -> mujoco.MjModel:
    """Compile the arms alone: no floor, no objects."""
    return build_arm_spec(station).compile()


def mirrored_joints(model: mujoco.MjModel, station: StationSpec) -> list[int]:
    """Return, for each side, where in `qpos` the joint is that mirrors its gripper's; the own where none does."""
    places = []
    for side in station.sides:
        own = model.joint(side.gripper.joint)
        coupled = np.flatnonzero((model.eq_type == mujoco.mjtEq.mjEQ_JOINT) & (model.eq_obj2id == own.id))
        places.append(int(model.jnt_qposadr[model.eq_obj1id[coupled[0]]] if len(coupled) else own.qposadr[0]))
    return places


def _add_chain(spec: mujoco.MjSpec, side: StationSpec) -> list[mujoco.MjsBody]:
    arm, mount = side.arm, side.mount
    body = spec.worldbody.add_body(name=mount.prefix + BASE, pos=mount.translation_m, quat=mount.quat_wxyz)
    _add_capsules(body, arm.base.geoms, arm.base.mass_kg, DARK)
    links = []
    for i, joint in enumerate(arm.joints):
        body = body.add_body(
            name=f"{mount.prefix}link{i + 1}", pos=joint.translation_m, quat=joint.quat_wxyz, gravcomp=_gravcomp(arm)
        )
        body.add_joint(
            name=joint.name,
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=[0, 0, 1],
            range=[joint.lower_rad, joint.upper_rad],
            armature=arm.armature,
            damping=arm.joint_damping,
        )
        _add_capsules(body, joint.geoms, joint.mass_kg, LIGHT if i % 2 else DARK)
        _add_servo(spec, joint, arm.damping_ratio)
        links.append(body)
    return links


def _add_capsules(
    body: mujoco.MjsBody, capsules: tuple[CapsuleSpec, ...], mass_kg: float, rgba: tuple[float, ...]
) -> None:
    """Add capsules that share the link's mass by volume; MuJoCo derives the inertia from them."""
    volumes = [math.pi * c.radius_m**2 * (math.dist(c.from_m, c.to_m) + 4 / 3 * c.radius_m) for c in capsules]
    for capsule, volume in zip(capsules, volumes, strict=True):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=[*capsule.from_m, *capsule.to_m],
            size=[capsule.radius_m, 0, 0],
            mass=mass_kg * volume / sum(volumes),
            rgba=rgba,
        )


def _add_servo(spec: mujoco.MjSpec, joint: JointSpec, damping_ratio: float) -> None:
    _add_position_actuator(
        spec, joint.name, joint.stiffness, damping_ratio * joint.stiffness, joint.effort_nm,
        (joint.lower_rad, joint.upper_rad),
    )  # fmt: skip


def _add_position_actuator(
    spec: mujoco.MjSpec, joint: str, stiffness: float, damping: float, effort: float, limits: tuple[float, float]
) -> None:
    spec.add_actuator(
        name=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        target=joint,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
        gainprm=[stiffness] + [0.0] * 9,
        biasprm=[0.0, -stiffness, -damping] + [0.0] * 7,
        forcerange=[-effort, effort],
        ctrlrange=limits,
    )


def _gravcomp(arm: ArmSpec) -> float:
    return float(arm.is_gravity_compensated)


def _add_hand(tool: mujoco.MjsBody, gripper: GripperSpec, prefix: str) -> mujoco.MjsBody:
    hand = tool.add_body(name=prefix + HAND, quat=gripper.mount_quat_wxyz, gravcomp=1)
    hand.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=PALM_HALF, pos=[0, 0, PALM_Z], mass=gripper.mass_kg, rgba=LIGHT)
    hand.add_site(name=prefix + TCP, pos=gripper.tcp_m, size=[0.004, 0, 0], group=4)
    return hand


def _add_fingers(spec: mujoco.MjSpec, hand: mujoco.MjsBody, gripper: GripperSpec, prefix: str) -> None:
    """Add two sliding fingers whose pads meet in the hand's xz plane; an equality makes the second mirror the first."""
    joints = (gripper.joint, f"{gripper.joint}_mirror")
    half_length = (gripper.tcp_m[2] + FINGER_PAST_TCP - FINGER_ROOT_Z) / 2
    for name, joint, side in zip(FINGERS, joints, (1.0, -1.0), strict=True):
        finger = hand.add_body(name=prefix + name, pos=[0, 0, FINGER_ROOT_Z], gravcomp=1)
        finger.add_joint(
            name=joint,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[0, side, 0],
            range=[gripper.lower_m, gripper.upper_m],
            armature=FINGER_ARMATURE,
        )
        finger.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[*FINGER_HALF, half_length],
            pos=[0, side * FINGER_HALF[1], half_length],
            mass=FINGER_MASS_KG,
            condim=4,
            friction=[1.2, 0.02, 0.0001],
            rgba=DARK,
        )
    mirror = spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=joints[1],
        name2=joints[0],
        solref=[0.005, 1.0],
        solimp=[0.95, 0.99, 0.001, 0.5, 2.0],
    )
    mirror.data[:2] = [0.0, 1.0]  # second = 0 + 1 * first; the array's length differs between MuJoCo releases
    _add_position_actuator(
        spec, gripper.joint, FINGER_STIFFNESS, FINGER_DAMPING, gripper.effort_n, (gripper.lower_m, gripper.upper_m)
    )


def _add_jaw(spec: mujoco.MjSpec, tool: mujoco.MjsBody, gripper: JawSpec, prefix: str) -> None:
    """Add a hand with a fixed finger, and the jaw that turns towards it; both grip with flat pads."""
    tcp_x, tcp_y, tcp_z = gripper.tcp_m
    hand = tool.add_body(name=prefix + HAND, quat=gripper.mount_quat_wxyz)
    box, friction = mujoco.mjtGeom.mjGEOM_BOX, [1.2, 0.02, 0.0001]
    mass, z = gripper.mass_kg / 2, tcp_z + JAW_PAST_TCP - JAW_PAD_HALF[2]
    hand.add_geom(type=box, size=JAW_PALM_HALF, pos=[0, 0, JAW_PALM_Z], mass=mass, rgba=LIGHT)
    finger_y = tcp_y - JAW_FINGER_BESIDE_TCP
    place = [tcp_x, finger_y - JAW_PAD_HALF[1], z]
    hand.add_geom(type=box, size=JAW_PAD_HALF, pos=place, mass=mass, condim=4, friction=friction, rgba=LIGHT)
    hand.add_site(name=prefix + TCP, pos=gripper.tcp_m, size=[0.004, 0, 0], group=4)
    jaw = hand.add_body(name=prefix + "jaw", pos=gripper.pivot_m, quat=gripper.pivot_quat_wxyz)
    jaw.add_joint(
        name=gripper.joint,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=[0, 0, 1],
        range=gripper.joint_limits,
        armature=FINGER_ARMATURE / 10,
        damping=0.1,
    )
    gap = gripper.length_m * math.sin(JAW_PARALLEL_RAD)
    pad, quat = _in_jaw(gripper, [tcp_x, finger_y + gap + JAW_PAD_HALF[1], z])
    half = gripper.jaw_mass_kg / 2
    jaw.add_geom(type=box, size=JAW_PAD_HALF, pos=pad, quat=quat, mass=half, condim=4, friction=friction, rgba=DARK)
    capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
    jaw.add_geom(
        type=capsule, fromto=[0, 0, pad[2], *pad], size=[0.004, 0, 0], mass=half, contype=0, conaffinity=0, rgba=DARK
    )
    _add_position_actuator(
        spec, gripper.joint, gripper.stiffness, 0.1 * gripper.stiffness, gripper.effort_nm, gripper.joint_limits
    )


def _in_jaw(gripper: JawSpec, place: list[float]) -> tuple[list[float], list[float]]:
    """Return position and orientation, in the jaw's frame, of what stands like the hand where the pads are parallel.

    Args:
        gripper: the hand.
        place: in the hand's frame [m].
    """
    angle = (gripper.lower_rad + JAW_PARALLEL_RAD) / 2
    q_hand_jaw = multiply(gripper.pivot_quat_wxyz, [math.cos(angle), 0.0, 0.0, math.sin(angle)])
    q_jaw_hand = conjugate(q_hand_jaw)
    offset = [a - b for a, b in zip(place, gripper.pivot_m, strict=True)]
    return rotate(q_jaw_hand, offset).tolist(), q_jaw_hand.tolist()


def _touching_pairs(n_links: int) -> list[tuple[str, str]]:
    """Name the pairs that may overlap by construction: bodies one or two joints apart."""
    links = [BASE, *(f"link{i + 1}" for i in range(n_links))]
    return [*pairwise(links), *zip(links, links[2:]), (links[-2], HAND)]
