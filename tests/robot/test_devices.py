"""The device contracts, held by the fakes and by the simulated arm."""

from collections.abc import Callable

import numpy as np
import pytest

from robot.clock import ManualClock
from robot.devices import Arm, DeviceState, FakeArm, FakeCamera, FakeOperator
from robot.errors import ActionRejected, DeviceDisconnected
from robot.specs import load_station
from robot.types import NS_PER_S, OperatorInput
from sim.devices import SimulatedArm
from sim.task import make_task
from sim.world import SimWorld

STATION = load_station("fr3_sim")
MS = NS_PER_S // 1000


def simulated(clock: ManualClock) -> SimulatedArm:
    world = SimWorld(STATION, make_task("reach"))
    world.reset(0)
    return SimulatedArm(world, clock)


MAKERS: dict[str, Callable[[ManualClock], Arm]] = {
    "fake": lambda clock: FakeArm(STATION, clock),
    "simulated": simulated,
}


@pytest.fixture(params=sorted(MAKERS))
def made(request: pytest.FixtureRequest) -> tuple[Arm, ManualClock]:
    clock = ManualClock(NS_PER_S)
    return MAKERS[request.param](clock), clock


def run(arm: Arm, clock: ManualClock, periods: int) -> None:
    for _ in range(periods):
        clock.advance(5 * MS)
        arm.read()


def test_features_are_readable_before_connecting(made: tuple[Arm, ManualClock]) -> None:
    arm, _ = made
    assert arm.state is DeviceState.DISCONNECTED
    assert arm.features.names == STATION.joint_names
    assert arm.features.rate_hz == STATION.arm.state_rate_hz


def test_nothing_can_be_done_before_connecting_or_after_closing(made: tuple[Arm, ManualClock]) -> None:
    arm, _ = made
    with pytest.raises(DeviceDisconnected):
        arm.read()
    with arm:
        position = arm.read().position
    with pytest.raises(DeviceDisconnected, match="disconnected"):
        arm.command(position, np.zeros(8))
    arm.close()


def test_progress_and_capture_time_rise_with_time_only(made: tuple[Arm, ManualClock]) -> None:
    arm, clock = made
    with arm:
        first = arm.read()
        assert arm.read().counter == first.counter
        clock.advance(5 * MS)
        second = arm.read()
        assert second.counter > first.counter
        assert first.time_ns < second.time_ns <= clock.now_ns()


def test_it_goes_where_it_is_commanded(made: tuple[Arm, ManualClock]) -> None:
    arm, clock = made
    with arm:
        run(arm, clock, 20)
        begin = arm.read().position
        goal = begin + np.array([0.05, 0.03, 0.0, 0.04, 0.0, 0.0, 0.05, 0.0])
        for share in np.linspace(0.0, 1.0, 60):
            arm.command(begin + share * (goal - begin), (goal - begin) / 0.3)
            run(arm, clock, 1)
        for _ in range(60):
            arm.command(goal, np.zeros(8))
            run(arm, clock, 1)
        assert arm.state is DeviceState.ACTIVE
        np.testing.assert_allclose(arm.read().position[:7], goal[:7], atol=2e-3)


def test_when_commands_stop_it_stands_and_holds_by_itself(made: tuple[Arm, ManualClock]) -> None:
    """What a dead servo thread or arm process leaves behind: the arm's own controller stops it within 0.3 s."""
    arm, clock = made
    with arm:
        run(arm, clock, 20)
        begin = arm.read().position
        velocity = np.eye(8)[0] * 0.4
        for i in range(40):
            arm.command(begin + velocity * 0.005 * (i + 1), velocity)
            run(arm, clock, 1)
        run(arm, clock, 60)  # 0.3 s of silence
        assert arm.state is DeviceState.HOLDING
        stood = arm.read().position
        run(arm, clock, 200)
        assert np.abs(arm.read().position - stood)[:7].max() < 5e-3  # what is left of the motion dies away
        arm.command(stood, np.zeros(8))
        assert arm.state is DeviceState.ACTIVE


def test_a_paused_process_is_a_pause_of_the_simulation() -> None:
    clock = ManualClock(NS_PER_S)
    arm = simulated(clock)
    with arm:
        run(arm, clock, 10)
        before = arm.world.time_ns
        clock.advance(10 * NS_PER_S)
        arm.read()
        assert arm.world.time_ns - before <= 50 * MS


def test_a_new_scene_places_the_arm_and_starts_standing() -> None:
    clock = ManualClock(NS_PER_S)
    arm = simulated(clock)
    with arm:
        run(arm, clock, 10)
        before = arm.read()
        arm.reset_scene(3)
        after = arm.read()
        assert after.counter > before.counter
        run(arm, clock, 40)
        np.testing.assert_allclose(arm.read().position[:7], after.position[:7], atol=1e-3)


def test_a_fault_refuses_commands_until_recovered() -> None:
    arm = FakeArm(STATION, ManualClock(NS_PER_S))
    with arm:
        arm.fail()
        with pytest.raises(DeviceDisconnected, match="fault"):
            arm.command(STATION.home, np.zeros(8))
        arm.recover()
        arm.command(STATION.home, np.zeros(8))


def test_a_camera_has_new_frames_at_its_rate_and_a_frozen_one_has_none() -> None:
    clock = ManualClock(NS_PER_S)
    camera = FakeCamera(STATION.cameras[0], clock)
    assert camera.features.shape == (480, 640, 3)
    with camera:
        first = camera.read()
        clock.advance(40 * MS)
        second = camera.read()
        assert second.counter == first.counter + 1
        assert second.time_ns <= clock.now_ns()
        assert (second.image != first.image).any()
        camera.frozen = True
        clock.advance(200 * MS)
        assert camera.read().counter == second.counter


def test_an_operator_device_plays_its_packets() -> None:
    packets = [OperatorInput(1, 5), OperatorInput(2, 6)]
    with FakeOperator(packets) as operator:
        assert [operator.read() for _ in range(3)] == [*packets, None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (np.full(8, np.nan), "finite joints"),
        (np.eye(8)[2] * 5.0, "fr3_joint3.*outside"),
        (np.eye(8)[1] * 0.1, "fr3_joint2: the first command"),
    ],
)
def test_a_command_that_no_arm_may_follow_is_refused(
    made: tuple[Arm, ManualClock], change: np.ndarray, reason: str
) -> None:
    arm, clock = made
    with arm:
        clock.advance(5 * MS)
        begin = arm.read().position
        with pytest.raises(ActionRejected, match=reason):
            arm.command(begin + change, np.zeros(8))
        with pytest.raises(ActionRejected, match="8 finite joints"):
            arm.command(begin[:7], np.zeros(7))
        assert arm.state is DeviceState.CONNECTED


def test_late_commands_move_the_simulated_arm_as_much_later_as_was_drawn() -> None:
    def positions(randomize: tuple[str, ...]) -> tuple[np.ndarray, float]:
        clock = ManualClock(NS_PER_S)
        world = SimWorld(STATION, make_task("reach"), randomize=randomize)
        world.reset(5)
        arm, seen = SimulatedArm(world, clock), []
        with arm:
            start = arm.read().position
            for step in range(120):
                clock.advance(MS)
                seen.append(arm.read().position[0])
                if step < 60:
                    arm.command(start + 0.002 * step * np.eye(8)[0], np.zeros_like(start))
        return np.array(seen), world.command_latency_s

    plain, nothing = positions(())
    late, latency_s = positions(("latency",))
    steps = round(latency_s * 1000)
    assert nothing == 0.0 and steps > 4
    np.testing.assert_array_equal(late[:steps], plain[0])
    np.testing.assert_allclose(late[steps + 2 :], plain[2:-steps], atol=0.004)
    assert np.abs(late[10:60] - plain[10:60]).max() > 0.005, "it made no difference"
