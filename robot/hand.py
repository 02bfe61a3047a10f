"""What a person's hand asks of the arm in one tick: from a packet of any device to an action.

A twist moves the tcp on from where it is commanded to be. A hand's pose and a leader's joints are followed from what
they were when the clutch was pressed, and so begin where the arm stands. Both sides are latched here, from commanded
values: measured ones would make the arm creep by its tracking error at every press.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from robot import geometry
from robot.specs import StationSpec
from robot.types import CELL_FRAME, TOOL_FRAME, Array, HandPose, OperatorInput, OwnerRequest, facts

if TYPE_CHECKING:
    from robot.tick import Cell, TickState

FINE_SHARE = 0.25  # of the speed, and of the way that a hand or a leader goes
ALIGNED_RAD = np.deg2rad(3.0)  # how near to the arm a leader in absolute mode has to be at the takeover
STILL_POSE: HandPose = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)


@facts
class Grip:
    """Hand and arm as they were when the clutch was pressed."""

    key: tuple[int, str, str, bool]  # of the packet: a new one means a new grip
    hand: HandPose
    leader: Array  # its joints [rad], empty where there is none
    joints: Array  # commanded arm joints of the side [rad]
    position: Array  # commanded tcp of the side in the cell's frame [m]
    rotation: Array  # (3, 3)
    axes: Array  # (3, 3) of the packet's frame in the cell's


def admitted(cell: "Cell", state: "TickState", operator: OperatorInput) -> OperatorInput:
    """Return the packet, without its takeover where a leader in absolute mode is not aligned with the arm."""
    if not operator.is_absolute or operator.joints is None or operator.request is not OwnerRequest.TAKE_OVER:
        return operator
    if state.ownership.is_human or misalignment_rad(cell, state, operator) <= ALIGNED_RAD:
        return operator
    return replace(operator, request=OwnerRequest.NONE)


def misalignment_rad(cell: "Cell", state: "TickState", operator: OperatorInput) -> float:
    """Return how far the leader's worst joint is from the commanded one; infinite where they do not fit each other."""
    side = _side(cell, operator.side)
    arm = None if side is None else state.filter.position[cell.station.joint_slices[side]][:-1]
    if arm is None or operator.joints is None or len(operator.joints) != len(arm):
        return np.inf
    return float(np.abs(np.array(operator.joints) - arm).max())


def gripped(cell: "Cell", state: "TickState", operator: OperatorInput) -> "TickState":
    """Return the state with hand and arm latched, anew where the clutch was pressed again; a twist needs none."""
    if operator.pose is None and operator.joints is None:
        return state
    side, key = _side(cell, operator.side), (operator.clutch, operator.side, operator.frame, operator.is_fine)
    if side is None or not operator.engaged or (state.grip is not None and state.grip.key == key):
        return state
    q = state.filter.position[cell.station.joint_slices[side]]
    position, rotation = cell.kinematics.sides[side].tcp_pose(q)
    grip = Grip(
        key=key,
        hand=operator.pose or STILL_POSE,
        leader=np.array(operator.joints or ()),
        joints=q[:-1].copy(),
        position=position,
        rotation=rotation,
        axes=frame_axes(cell.station.sides[side], cell.station, operator.frame, rotation),
    )
    return replace(state, grip=grip)


def human_action(cell: "Cell", state: "TickState", operator: OperatorInput) -> Array:
    """Move the person's side on from the last commanded action; other sides, and all without the dead-man, stand."""
    side = _side(cell, operator.side)
    if not operator.engaged or side is None:
        return state.commanded
    if operator.joints is not None:
        target = _follow_leader(cell, state, operator, side)
    else:
        target = _jog(cell, state, _wanted_twist(cell, state, operator, side), operator.side)
    gripper = cell.actions.gripper(operator.side)
    if operator.gripper is not None and gripper is not None:
        target[gripper] = np.clip(operator.gripper, cell.actions.low[gripper], cell.actions.high[gripper])
    return target


def frame_axes(side: StationSpec, station: StationSpec, frame: str, T_rotation: Array) -> Array:
    """Return the axes (3, 3) of a packet's frame in the cell's.

    Args:
        side: whose tool it is.
        station: which has the cameras.
        frame: `cell`, `tool` or a camera of the station.
        T_rotation: of the side's tcp in the cell's frame, (3, 3).
    """
    if frame == CELL_FRAME:
        return np.eye(3)
    if frame == TOOL_FRAME:
        return T_rotation
    camera = station.camera(frame)
    view = geometry.look_at(*(np.array(v) for v in (camera.translation_m, camera.look_at_m, camera.up_m)))
    return view if camera.mount == "world" or camera.side != side.mount.side else T_rotation @ view


def _side(cell: "Cell", name: str) -> int | None:
    names = cell.station.side_names
    return names.index(name) if name in names else None


def _wanted_twist(cell: "Cell", state: "TickState", operator: OperatorInput, side: int) -> Array:
    """Return the tcp's twist in the cell's frame that a device's twist or pose asks for."""
    if operator.pose is not None and state.grip is not None:
        return _towards_pose(cell, state, state.grip, operator.pose, side)
    twist = np.array(operator.twist) * (FINE_SHARE if operator.is_fine else 1.0)
    if operator.frame == CELL_FRAME:
        return twist
    q = state.filter.position[cell.station.joint_slices[side]]
    rotation = cell.kinematics.sides[side].tcp_pose(q)[1]
    axes = frame_axes(cell.station.sides[side], cell.station, operator.frame, rotation)
    return np.concatenate([axes @ twist[:3], axes @ twist[3:]])


def _towards_pose(cell: "Cell", state: "TickState", grip: Grip, hand: HandPose, side: int) -> Array:
    """Return the twist that brings the tcp within one period to where the hand has moved it since the grip."""
    share = FINE_SHARE if grip.key[3] else 1.0
    moved = share * (np.array(hand[:3]) - np.array(grip.hand[:3]))
    turned = share * geometry.rotation_vector(geometry.multiply(hand[3:], geometry.conjugate(grip.hand[3:])))
    wanted = geometry.matrix(geometry.from_rotation_vector(grip.axes @ turned)) @ grip.rotation
    q = state.filter.position[cell.station.joint_slices[side]]
    position, rotation = cell.kinematics.sides[side].tcp_pose(q)
    left = geometry.rotation_vector(geometry.quaternion(wanted @ rotation.T))
    return np.concatenate([grip.position + grip.axes @ moved - position, left]) / cell.station.period_s


def _jog(cell: "Cell", state: "TickState", twist: Array, side: str) -> Array:
    """Move a tcp no faster than an operator may."""
    speeds = cell.station.operator
    twist[:3] *= min(1.0, speeds.linear_speed_m_s / max(float(np.linalg.norm(twist[:3])), 1e-9))
    twist[3:] *= min(1.0, speeds.angular_speed_rad_s / max(float(np.linalg.norm(twist[3:])), 1e-9))
    return cell.actions.jog(state.commanded, twist, state.filter.position, cell.station.period_s, side)


def _follow_leader(cell: "Cell", state: "TickState", operator: OperatorInput, side: int) -> Array:
    """Go towards the leader's joints, no joint faster than it may; by the tcp where the action is a place."""
    own, joints = cell.station.sides[side], cell.station.joint_slices[side]
    leader, q, grip = np.array(operator.joints), state.filter.position[joints], state.grip
    if len(leader) != len(q) - 1 or (grip is None and not operator.is_absolute):
        return state.commanded.copy()
    if not operator.is_absolute and grip is not None:
        share = FINE_SHARE if grip.key[3] else 1.0
        leader = grip.joints + share * (leader - grip.leader)
    if own.action.space == "tcp_position":
        target = np.append(leader, q[-1])
        kinematics = cell.kinematics.sides[side]
        way = (kinematics.tcp_position(target) - kinematics.tcp_position(q)) / cell.station.period_s
        return _jog(cell, state, np.concatenate([way, np.zeros(3)]), operator.side)
    step = leader - q[:-1]
    limit = own.velocity_limit[:-1] * own.safety.velocity_scale * cell.station.period_s
    step *= min(1.0, 1.0 / max(float((np.abs(step) / limit).max()), 1e-9))
    action, part = state.commanded.copy(), cell.station.action_slices[side]
    arm = slice(part.start, part.stop - 1)
    action[arm] = np.clip(q[:-1] + step, cell.actions.low[arm], cell.actions.high[arm])
    return action
