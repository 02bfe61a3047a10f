"""The observation builder: one reference time, stale streams refused, the lock-step world's numbers."""

import numpy as np
import pytest

from robot.errors import ConfigError, StaleObservation
from robot.kinematics.arm import ArmKinematics
from robot.observation import ObservationBuilder, square
from robot.specs import load_station
from robot.types import Command, Owner
from sim.task import make_task
from sim.world import SimWorld

STATION = load_station("fr3_sim")
KINEMATICS = ArmKinematics(STATION)
MS = 1_000_000
START = 10_000 * MS


def builder(cameras: tuple[str, ...] = (), image_size: int = 0) -> ObservationBuilder:
    return ObservationBuilder(STATION, KINEMATICS, cameras=cameras, image_size=image_size)


def add_vectors(target: ObservationBuilder, time_ns: int, value: float = 0.1) -> None:
    target.add_joints(time_ns, np.full(8, value), np.full(8, 2 * value))
    target.add_vector("object_state", time_ns, np.full(3, 3 * value))


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)


def test_equal_inputs_give_the_fields_of_the_lock_step_world() -> None:
    world, graph = SimWorld(STATION, make_task("peg-insert")), builder()
    seen = world.reset(3)
    for step in range(20):
        graph.add_joints(seen.time_ns, seen.robot.position, seen.robot.velocity)
        graph.add_vector("object_state", seen.time_ns, seen.values["object_state"])
        built = graph.build(seen.time_ns)
        assert list(built.values) == list(seen.values)
        assert all((built.values[name] == seen.values[name]).all() for name in seen.values)
        assert built.times_ns == seen.times_ns
        assert built.time_ns == seen.time_ns == built.robot.time_ns
        target = seen.robot.position + 0.01 * np.sin(step + np.arange(8))
        seen = world.advance(Command(step, seen.time_ns, target, Owner.POLICY))


def test_joints_are_interpolated_at_the_time_of_the_slowest_stream() -> None:
    graph = builder()
    for k in range(5):
        graph.add_joints(START + 5 * k * MS, np.full(8, 0.1 * k), np.zeros(8))
    graph.add_vector("object_state", START, np.zeros(3))
    graph.add_vector("object_state", START + 12 * MS, np.ones(3))
    built = graph.build(START + 20 * MS)
    assert built.time_ns == START + 12 * MS
    np.testing.assert_allclose(built.values["joint_position"], 0.24)
    assert built.times_ns["joint_position"] == START + 10 * MS, "the stamp of the last real sample"
    np.testing.assert_array_equal(built.robot.position, 0.4, "the filter watches the newest measurement")


@pytest.mark.parametrize(("age_ms", "fresh"), [(49, True), (51, False)])
def test_joints_older_than_50_ms_give_no_observation(age_ms: int, fresh: bool) -> None:
    graph = builder()
    add_vectors(graph, START)
    if fresh:
        assert graph.build(START + age_ms * MS).time_ns == START
    else:
        with pytest.raises(StaleObservation, match="joints: newest sample is 51 ms old, allowed 50 ms"):
            graph.build(START + age_ms * MS)


@pytest.mark.parametrize(("age_ms", "fresh"), [(99, True), (101, False)])
def test_images_older_than_100_ms_give_no_observation(age_ms: int, fresh: bool) -> None:
    graph = builder(("scene",))
    for k in range(21):
        add_vectors(graph, START + 5 * k * MS)
    graph.add_image("scene", START, image(0))
    if fresh:
        assert graph.build(START + age_ms * MS).time_ns == START
    else:
        with pytest.raises(StaleObservation, match="camera scene"):
            graph.build(START + age_ms * MS)


def test_a_missing_stream_is_named() -> None:
    graph = builder(("scene", "wrist"))
    add_vectors(graph, START)
    graph.add_image("scene", START, image(0))
    with pytest.raises(StaleObservation, match="camera wrist: nothing received yet"):
        graph.build(START)


def test_cameras_further_apart_than_half_a_frame_give_no_observation() -> None:
    graph = builder(("scene", "wrist"))
    for k in range(9):
        add_vectors(graph, START + 5 * k * MS)
    graph.add_image("wrist", START, image(1))
    graph.add_image("scene", START + 15 * MS, image(2))
    built = graph.build(START + 40 * MS)
    assert built.time_ns == START
    assert built.times_ns["image/scene"] == START + 15 * MS
    late = builder(("scene", "wrist"))
    for k in range(9):
        add_vectors(late, START + 5 * k * MS)
    late.add_image("wrist", START, image(1))
    late.add_image("scene", START + 20 * MS, image(2))
    with pytest.raises(StaleObservation, match="20 ms away from the reference time"):
        late.build(START + 40 * MS)


@pytest.mark.parametrize("stamps", ["frozen", "rising"])
def test_a_frozen_camera_goes_stale_whatever_its_stamps_say(stamps: str) -> None:
    """Held by stamp and by content: a driver that repeats its last frame is as dead as a silent one."""
    graph = builder(("scene",))
    frame = image(0)
    for k in range(6):
        now = START + 33 * k * MS
        add_vectors(graph, now)
        graph.add_image("scene", now if stamps == "rising" else START, frame.copy())
    with pytest.raises(StaleObservation, match=r"camera scene.*5x"):
        graph.build(START + 165 * MS)
    assert sum(graph.refused.values()) == 5


def test_a_stamp_from_the_future_is_dropped_and_the_stream_recovers() -> None:
    graph = builder()
    add_vectors(graph, START)
    graph.add_joints(START + 700 * MS, np.ones(8), np.ones(8))
    np.testing.assert_array_equal(graph.build(START).values["joint_position"], 0.1)
    assert graph.refused == {"joints: stamp in the future": 1}
    add_vectors(graph, START + 5 * MS, 0.2)
    assert graph.build(START + 5 * MS).time_ns == START + 5 * MS


def test_nothing_is_interpolated_across_a_reset_or_a_gap() -> None:
    graph = builder()
    add_vectors(graph, START, 0.1)
    graph.forget(START + 1)
    with pytest.raises(StaleObservation, match="nothing received"):
        graph.build(START)
    gap = builder()
    add_vectors(gap, START, 0.1)
    gap.add_vector("object_state", START + 60 * MS, np.ones(3))
    gap.add_joints(START + 70 * MS, np.ones(8), np.ones(8))
    with pytest.raises(StaleObservation, match="no samples around"):
        gap.build(START + 70 * MS)


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="object_state"):
        builder().add_vector("object_stat", START, np.zeros(3))


def test_policies_get_the_middle_square() -> None:
    whole = np.zeros((48, 64, 3), np.uint8)
    whole[:, 8:56] = 200
    assert square(whole, 24).shape == (24, 24, 3)
    assert (square(whole, 24) == 200).all()
    assert square(whole, 48).base is whole, "no copy where none is needed"


def test_depth_is_a_stream_of_its_own_beside_the_colour() -> None:
    graph = ObservationBuilder(STATION, KINEMATICS, cameras=("wrist",), depths=("wrist",), image_size=16)
    add_vectors(graph, START)
    graph.add_image("wrist", START, image(0))
    with pytest.raises(StaleObservation, match=r"camera wrist \(depth\): nothing received"):
        graph.build(START)
    graph.add_depth("wrist", START, np.full((48, 64), 700, np.uint16))
    built = graph.build(START)
    assert built.values["image/wrist"].shape == (16, 16, 3)
    assert built.values["depth/wrist"].shape == (16, 16)
    assert built.values["depth/wrist"].dtype == np.uint16
    assert (built.values["depth/wrist"] == 700).all()
    assert built.times_ns["depth/wrist"] == START


def test_shrinking_depth_invents_none() -> None:
    depth = np.zeros((48, 64), np.uint16)
    depth[:, ::2] = 900  # the mean would be 450, where nothing is
    assert set(np.unique(square(depth, 12))) <= {0, 900}
