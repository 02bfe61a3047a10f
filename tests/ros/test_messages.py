"""Messages carry values there and back exactly, and refuse what cannot be used."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from robot.policy import ActionChunk
from robot.record import Clip, TickRecord
from robot.ros import messages
from robot.ros.image_message import camera_info, from_image, to_image
from robot.ros.messages import MessageRefused
from robot.ros.record_message import from_record, to_record
from robot.specs import load_station
from robot.types import Command, EndReason, Mark, OperatorInput, Owner, OwnerRequest, Segment

STATION = load_station("fr3_sim")
TIME_NS = 1_700_000_000_123_456_789


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_keep_every_nanosecond(time_ns: int) -> None:
    assert messages.from_stamp(messages.to_stamp(time_ns)) == time_ns


def test_joint_states_are_mapped_by_name() -> None:
    position, velocity = np.arange(8.0), np.arange(8.0) / 10
    message = messages.to_joint_state(STATION.joint_names, TIME_NS, position, velocity)
    order = np.random.default_rng(0).permutation(8)
    message.name = [message.name[i] for i in order]
    message.position, message.velocity = position[order].tolist(), velocity[order].tolist()
    state = messages.from_joint_state(message, STATION.joint_names)
    assert state.time_ns == TIME_NS
    np.testing.assert_array_equal(state.position, position)
    np.testing.assert_array_equal(state.velocity, velocity)


@pytest.mark.parametrize("count", [0, 7])
def test_a_joint_state_with_missing_joints_is_refused(count: int) -> None:
    message = messages.to_joint_state(STATION.joint_names[:count], TIME_NS, np.zeros(count))
    with pytest.raises(MessageRefused, match=r"missing fr3_") as refused:
        messages.from_joint_state(message, STATION.joint_names)
    assert refused.value.kind == "incomplete"


def test_commands_come_back_in_any_order() -> None:
    command = Command(7, TIME_NS, np.arange(8.0), Owner.HUMAN)
    message = messages.to_command(command, STATION.joint_names, STATION.period_ns)
    message.joint_names = list(reversed(message.joint_names))
    message.points[0].positions = list(reversed(message.points[0].positions))
    found = messages.from_command(message, STATION.joint_names)
    assert (found.seq, found.time_ns, found.owner) == (7, TIME_NS, Owner.HUMAN)
    np.testing.assert_array_equal(found.position, command.position)


def test_a_command_with_a_wrong_name_is_refused() -> None:
    message = messages.to_command(Command(0, TIME_NS, np.zeros(8), Owner.HOLD), STATION.joint_names, 1)
    message.joint_names = [*message.joint_names[:-1], "elbow"]
    with pytest.raises(MessageRefused) as refused:
        messages.from_command(message, STATION.joint_names)
    assert refused.value.kind == "incomplete"


def chunk(**changes: object) -> ActionChunk:
    rng = np.random.default_rng(1)
    made = ActionChunk(
        rng.normal(size=(5, 4)), 0.05, TIME_NS, 3, 12, 2, base_actions=rng.normal(size=(5, 4)),
        groups={"noise/latent": rng.normal(size=(2, 3)).astype(np.float32), "stage": np.array(4)},
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_chunk_and_its_info_come_back_exactly() -> None:
    sent = chunk()
    info = messages.from_json(messages.to_chunk_info(sent))
    found = messages.from_chunk(messages.to_chunk(sent, STATION.action_names), STATION.action_names, info)
    for name in ("dt_s", "observation_time_ns", "generation", "chunk_id", "policy_version"):
        assert getattr(found, name) == getattr(sent, name)
    np.testing.assert_array_equal(found.actions, sent.actions)
    assert found.base_actions is not None
    np.testing.assert_array_equal(found.base_actions, sent.base)
    for name, value in sent.groups.items():
        np.testing.assert_array_equal(found.groups[name], value)
        assert found.groups[name].dtype == value.dtype


def test_info_of_another_chunk_is_not_joined() -> None:
    info = messages.from_json(messages.to_chunk_info(chunk(chunk_id=11)))
    found = messages.from_chunk(messages.to_chunk(chunk(), STATION.action_names), STATION.action_names, info)
    assert found.base_actions is None
    assert found.groups == {}


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("tcp_x", "tcp_y", "tcp_z"), "incomplete"),
        (("tcp_x", "tcp_y", "tcp_z", "q", "fr3_finger_joint1"), "wrong_names"),
    ],
)
def test_a_chunk_with_other_names_is_refused(names: tuple[str, ...], kind: str) -> None:
    message = messages.to_chunk(chunk(actions=np.zeros((5, len(names))), base_actions=None), names)
    with pytest.raises(MessageRefused) as refused:
        messages.from_chunk(message, STATION.action_names)
    assert refused.value.kind == kind


def test_operator_packets_come_back() -> None:
    packet = OperatorInput(
        3, TIME_NS, "page", True, OwnerRequest.TAKE_OVER, Mark.SUCCESS, (0.1, 0, 0, 0, 0, -0.2), 0.02
    )
    assert messages.from_operator(messages.to_operator(packet)) == packet
    hand = replace(
        packet, pose=(0.1, 0.0, 0.2, 1.0, 0.0, 0.0, 0.0), frame="tool", is_fine=True, clutch=3, mark=Mark.WENT_WRONG,
        mark_back_s=1.5, device_time_ns=7, raw="01ff",
    )  # fmt: skip
    assert messages.from_operator(messages.to_operator(hand)) == hand
    leader = replace(packet, joints=(0.1,) * 7, is_absolute=True, request=OwnerRequest.STOP)
    assert messages.from_operator(messages.to_operator(leader)) == leader


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"request": "grab"}, "incomplete"),
        ({"seq": None}, "incomplete"),
        ({"twist": [0, 0, 0]}, "incomplete"),
        ({"pose": [0, 0, 0, 1, 0, 0]}, "incomplete"),
        ({"pose": [0, 0, 0, 1, 1, 0, 0]}, "not_finite"),
        ({"joints": [0.0] * 99}, "incomplete"),
        ({"joints": [float("nan")]}, "not_finite"),
        ({"mark_back_s": float("inf")}, "not_finite"),
        ({"clutch": 1e400}, "incomplete"),
        ({"twist": [float("nan")] * 6}, "not_finite"),
        ({"gripper": float("inf")}, "not_finite"),
        ({"torque": 1}, "wrong_names"),
    ],
)
def test_a_broken_operator_packet_is_refused(change: dict[str, object], kind: str) -> None:
    value = {**messages.operator_to_dict(OperatorInput(1, 2)), **change}
    with pytest.raises(MessageRefused) as refused:
        messages.operator_from_dict(value)
    assert refused.value.kind == kind


def record() -> TickRecord:
    nan = np.full(4, np.nan)
    return TickRecord(
        step=3, tick_time_ns=TIME_NS, observation_time_ns=TIME_NS - 1, stream_times_ns={"joint_position": TIME_NS - 2},
        observation={"joint_position": np.arange(8.0) / 3, "object_state": np.arange(3.0)}, base_action=nan,
        residual_action=nan, policy_action=nan, human_action=np.arange(4.0) / 7, executed_action=np.arange(4.0) / 9,
        joint_command=np.arange(8.0) / 11, blend_weight=0.1, owner=Owner.HUMAN, segment=Segment.RECOVERY,
        intervention_id=2, safety_clips=Clip.VELOCITY | Clip.JUMP, chunk_id=-1, chunk_offset=-1, generation=4,
        policy_version=-1, reward_task=1.0, terminated=True, end_reason=EndReason.SUCCESS,
        groups={"noise": np.arange(6, dtype=np.float32).reshape(2, 3)},
    )  # fmt: skip


def test_a_record_comes_back_field_by_field() -> None:
    sent = record()
    found = from_record(to_record(sent))
    for field in fields(TickRecord):
        assert type(getattr(found, field.name)) is type(getattr(sent, field.name)), field.name
    columns = found.columns()
    assert columns.keys() == sent.columns().keys()
    for name, column in sent.columns().items():
        np.testing.assert_array_equal(columns[name], column, err_msg=name)
        assert columns[name].dtype == column.dtype, name


def test_a_packet_that_moves_an_arm_names_one_the_station_has() -> None:
    packet = OperatorInput(1, TIME_NS, "hand", engaged=True, side="left")
    assert messages.from_operator(messages.to_operator(packet)) == packet
    messages.check_side(packet, ("left", "right"))
    messages.check_side(replace(packet, engaged=False, side=""), ("left", "right"))
    for side, sides in (("", ("left", "right")), ("middle", ("left", "right")), ("left", ("",))):
        with pytest.raises(MessageRefused, match="sides:"):
            messages.check_side(replace(packet, side=side), sides)


@pytest.mark.parametrize(
    ("change", "kind"),
    [({"frame": "moon"}, "wrong_names"), ({"joints": (0.0,) * 6}, "incomplete"), ({"side": "left"}, "wrong_names")],
)
def test_a_packet_that_does_not_fit_the_station_is_refused(change: dict[str, object], kind: str) -> None:
    packet = OperatorInput(1, TIME_NS, "hand", engaged=True)
    for frame in ("cell", "tool", STATION.cameras[0].name):
        messages.check_operator(replace(packet, frame=frame, joints=(0.0,) * 7), STATION)
    with pytest.raises(MessageRefused) as refused:
        messages.check_operator(replace(packet, **change), STATION)
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    "image",
    [
        np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3),
        np.arange(35, dtype=np.uint8).reshape(5, 7),
        np.arange(35, dtype=np.uint16).reshape(5, 7) * 300,
        np.arange(35, dtype=np.float32).reshape(5, 7) / 3,
    ],
)
def test_images_come_back(image: np.ndarray) -> None:
    time_ns, found = from_image(to_image(image, TIME_NS, "scene_color_optical_frame"))
    assert time_ns == TIME_NS
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, image)


def test_row_padding_byte_order_and_bgr_are_respected() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    message = to_image(image[:, :, ::-1].copy(), TIME_NS, "")
    message.encoding, message.step = "bgr8", 32
    message.data = np.pad(image[:, :, ::-1].reshape(5, 21), ((0, 0), (0, 11))).tobytes()
    np.testing.assert_array_equal(from_image(message)[1], image)
    depth = np.arange(6, dtype=np.uint16).reshape(2, 3) * 1000
    message = to_image(depth, TIME_NS, "")
    message.is_bigendian, message.data = 1, depth.byteswap().tobytes()
    np.testing.assert_array_equal(from_image(message)[1], depth)


def test_a_cut_image_is_refused() -> None:
    message = to_image(np.zeros((4, 4, 3), np.uint8), TIME_NS, "")
    message.data = bytes(message.data)[:-1]
    with pytest.raises(MessageRefused):
        from_image(message)
    message.encoding = "bayer_rggb8"
    with pytest.raises(MessageRefused, match="rgb8"):
        from_image(message)


def test_camera_info_looks_through_the_middle() -> None:
    info = camera_info(STATION.cameras[0], TIME_NS, "f")
    half_height = np.degrees(np.arctan(0.5 * info.height / info.k[4]))
    assert 2 * half_height == pytest.approx(STATION.cameras[0].fovy_deg)
    assert (info.k[2], info.k[5]) == ((info.width - 1) / 2, (info.height - 1) / 2)
