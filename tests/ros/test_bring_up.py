"""Bringing up managed nodes, over real services: in order, none before all are open, and again where one is new."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

pytest.importorskip("rclpy")

import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.utilities import try_shutdown

from robot.errors import DeviceNotFound, RobotError
from robot.ros.bring_up import BringUp, Stage
from robot.ros.executor import NodeExecutor
from robot.ros.managed import ManagedNode
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode
from tests.domains import some_domain


class Device(ManagedNode[NodeParameters]):
    """A managed node that writes down what it is asked, and whose device may be missing or break."""

    def __init__(self, name: str, diary: list[str]) -> None:
        super().__init__(name, NodeParameters)
        self._diary = diary
        self.raises: Exception | None = None

    def _note(self, what: str) -> None:
        self._diary.append(f"{self.get_name()} {what}")
        if self.raises is not None:
            raise self.raises

    def configure(self) -> None:
        self.run_apart(lambda: self._note("opens"))

    def activate(self) -> None:
        self._note("begins")

    def deactivate(self) -> None:
        self._note("stops")

    def cleanup(self) -> None:
        self._diary.append(f"{self.get_name()} closes")


class Cell:
    """A camera and an arm, spun by threads of their own, and who brings them up."""

    def __init__(self, stack: ExitStack) -> None:
        self.diary: list[str] = []
        self.scene, self.arm = Device("scene", self.diary), Device("arm", self.diary)
        self.health: RobotNode[NodeParameters] = RobotNode("health", NodeParameters)
        self.bring_up = BringUp(self.health, ["scene", "arm"], ["arm"])
        for node in (self.scene, self.arm, self.health):
            self._spin(node, stack)

    def _spin(self, node: RobotNode[NodeParameters], stack: ExitStack) -> None:
        executor, ending = NodeExecutor(node), threading.Event()

        def spin() -> None:
            while not ending.is_set():
                executor.spin_once(0.02)
            executor.close()

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        stack.callback(node.destroy_node)
        stack.callback(thread.join)
        stack.callback(ending.set)

    def hear(self, pid: str = "1") -> None:
        """Pass on what both say of themselves, as /diagnostics would."""
        for node in (self.scene, self.arm):
            said: Diagnosis = node.diagnose()
            error = said.message if said.level is Level.ERROR else ""
            self.bring_up.hear(node.get_name(), pid, error)

    def go_on(self, is_so: Callable[[], bool], timeout_s: float = 10.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, self.diary
            self.hear()
            self.bring_up.step()
            time.sleep(0.005)


@pytest.fixture
def cell() -> Iterator[Cell]:
    rclpy.init(domain_id=some_domain())
    with ExitStack() as stack:
        stack.callback(try_shutdown)
        yield Cell(stack)


def test_all_are_opened_in_order_before_the_first_begins(cell: Cell) -> None:
    cell.go_on(lambda: cell.bring_up.is_complete)
    assert cell.diary == ["scene opens", "arm opens", "scene begins", "arm begins"]
    assert cell.arm.diagnose().values["lifecycle"] == "active"


def test_a_missing_camera_is_asked_again_and_nothing_else_is_touched_meanwhile(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot.ros.bring_up.AGAIN_S", 0.05)
    cell.scene.raises = DeviceNotFound("camera scene is not there: plug it in")
    cell.go_on(lambda: cell.diary.count("scene opens") >= 3)
    assert set(cell.diary) == {"scene opens"}
    assert "plug it in" in cell.bring_up.complaint and cell.bring_up.waiting == ["scene", "arm"]
    cell.scene.raises = None
    cell.go_on(lambda: cell.bring_up.is_complete)
    assert cell.bring_up.complaint == ""


def test_a_required_one_that_cannot_be_opened_is_an_error_with_its_reason(cell: Cell) -> None:
    cell.arm.raises = DeviceNotFound("no arm at /dev/nothing")
    with pytest.raises(DeviceNotFound, match="arm could not be configured: no arm at /dev/nothing; nothing was activ"):
        cell.go_on(lambda: False)
    assert not any("begins" in line for line in cell.diary)


def test_what_a_person_has_deactivated_stays_so_until_the_process_is_new(cell: Cell) -> None:
    cell.go_on(lambda: cell.bring_up.is_complete)
    (scene, _) = cell.bring_up._members
    cell.bring_up.hear("scene", "1", "")
    scene.routine = scene.change(Transition.TRANSITION_DEACTIVATE, "inactive")
    cell.go_on(lambda: "scene stops" in cell.diary)
    cell.go_on(lambda: not cell.scene.is_active)
    for _ in range(20):
        cell.hear()
        cell.bring_up.step()
        time.sleep(0.005)
    assert not cell.scene.is_active and cell.bring_up.is_complete
    cell.bring_up.hear("scene", "2", "")
    assert scene.stage is Stage.FOUND, "another process: it is looked at anew"


def test_what_breaks_unforeseen_is_stopped_and_let_go_of(cell: Cell) -> None:
    cell.go_on(lambda: cell.bring_up.is_complete)
    cell.arm.raises = ZeroDivisionError("of a driver")
    cell.arm.trigger_deactivate()
    assert cell.diary[-2:] == ["arm stops", "arm closes"]
    assert not (cell.arm.is_active or cell.arm.is_configured)
    assert "ZeroDivisionError: of a driver" in cell.arm.diagnose().message


def test_ctrl_c_ends_a_transition_that_takes_long(cell: Cell) -> None:
    cell.arm.told_to_stop.set()
    with pytest.raises(RobotError, match="arm was told to stop"):
        cell.arm.run_apart(lambda: time.sleep(5.0))
