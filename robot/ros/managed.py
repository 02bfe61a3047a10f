"""Nodes that own a device as ROS 2's managed nodes (lifecycle): opened, started, stopped and closed on request.

configure    opens the device and reads what it is; nothing moves
activate     begins what it is there for: commands are followed, pictures go out
deactivate   a controlled stop; the device stays open
cleanup      lets go of the device

Who asks is the health node (`robot.ros.bring_up`) or anybody with `lifecycle_msgs`. A transition that fails leaves the
state as it was and says why in the log and in /diagnostics; where stopping or closing fails, or something breaks that
nobody has foreseen, the device is stopped and let go of. States: https://design.ros2.org/articles/node_lifecycle.html
"""

import os
import threading
from collections.abc import Callable
from typing import Any

from robot.errors import RobotError
from robot.ros.missing import missing_ros
from robot.ros.node import Diagnosis, Level, P, RobotNode

try:
    from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
except ImportError as error:
    raise missing_ros(error) from None

POLL_S = 0.01
UNCONFIGURED = "unconfigured"


class ManagedNode(LifecycleNodeMixin, RobotNode[P]):
    """A `RobotNode` with a device. It is counted among the vital nodes from its first activation on.

    Subclasses say what the transitions do. These run in the executor's thread, one at a time: what may take long in
    them is given to `run_apart`. Any of them may raise a RobotError, and has then left nothing half done.
    """

    announces_at_once = False

    def __init__(self, name: str, parameters: type[P]) -> None:
        RobotNode.__init__(self, name, parameters)
        LifecycleNodeMixin.__init__(self)
        self.is_configured = self.is_active = False
        self.complaint = ""  # why the last transition failed
        self._was_announced = False
        self._loop: threading.Thread | None = None
        self._halting = threading.Event()

    def configure(self) -> None:
        """Open the device; nothing moves."""
        raise NotImplementedError

    def activate(self) -> None:
        """Begin."""

    def deactivate(self) -> None:
        """Stop in a controlled way; `is_active` is already False."""

    def cleanup(self) -> None:
        """Let go of the device; also called where it was not opened whole."""
        raise NotImplementedError

    def diagnose_device(self) -> Diagnosis:
        """Return the node's state for /diagnostics while it is configured."""
        return Diagnosis()

    def run_apart(self, work: Callable[[], None]) -> None:
        """Wait for what may take long in a thread of its own; RobotError also where the node is told to stop before."""
        raised: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                raised.append(error)

        worker = threading.Thread(target=guarded, name="transition", daemon=True)
        worker.start()
        while worker.is_alive():
            self.note_progress()
            worker.join(POLL_S)
            if self.told_to_stop.is_set():
                raise RobotError(f"{self.get_name()} was told to stop before it had come so far")
        if raised:
            raise raised[0]

    def start_loop(self, name: str, loop: Callable[[], None]) -> None:
        """Start the one thread that works with the device; it returns once `is_running` is False."""
        self._halting.clear()
        self._loop = self.start_thread(name, loop)

    def end_loop(self) -> None:
        """End that thread; not to be called from within it."""
        self._halting.set()
        if self._loop is not None:
            self._loop.join(timeout=3.0)
            self._loop = None

    @property
    def is_running(self) -> bool:
        """Say whether the device's thread goes on."""
        return not (self._halting.is_set() or self.stopping.is_set())

    def announce(self) -> None:
        """Be counted among the vital nodes from now on, once."""
        if not self._was_announced:
            self._was_announced = True
            super().announce()

    def close(self) -> None:
        """Stop and let go of the device, in whatever state this is."""
        self.is_active = False
        self._halting.set()
        super().close()
        self.cleanup()

    # What rclpy calls.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._change("configured", self.configure, is_configured=True)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._change("activated", self.activate, is_configured=True, is_active=True)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.is_active = False
        return self._change("deactivated", self.deactivate, is_configured=True, failed=TransitionCallbackReturn.ERROR)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.is_configured = False
        return self._change("cleaned up", self.cleanup, failed=TransitionCallbackReturn.ERROR)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the process; what it owns is closed on the way out."""
        self.is_active = False
        self.stopping.set()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that broke: stop, and let go of the device."""
        works = [self.deactivate, self.cleanup] if self.is_configured else [self.cleanup]
        self.is_active = self.is_configured = False
        for work in works:
            try:
                work()
            except Exception as error:
                self.get_logger().error(f"while it was let go of: {type(error).__name__}: {error}")
        self._publish_diagnosis()
        return TransitionCallbackReturn.SUCCESS

    def _change(
        self,
        what: str,
        work: Callable[[], None],
        *,
        is_configured: bool = False,
        is_active: bool = False,
        failed: TransitionCallbackReturn = TransitionCallbackReturn.FAILURE,
    ) -> TransitionCallbackReturn:
        """Do the work of one transition, say how it went, and tell rclpy; `failed` is for an error of ours."""
        try:
            work()
        except RobotError as error:
            self.complaint = f"could not be {what}: {' '.join(str(error).split())}"
            self.get_logger().error(self.complaint)
            return failed
        except Exception as error:  # rclpy would swallow it
            self.complaint = f"broke while it was to be {what}: {type(error).__name__}: {error}"
            self.get_logger().error(self.complaint)
            return TransitionCallbackReturn.ERROR
        else:
            self.complaint = ""
            self.is_configured, self.is_active = is_configured, is_active
            self.get_logger().info(what)
            return TransitionCallbackReturn.SUCCESS
        finally:
            self._publish_diagnosis()

    def diagnose(self) -> Diagnosis:
        """Return the device's diagnosis with the state of this process; an ERROR where it could not be opened."""
        label = "active" if self.is_active else "inactive" if self.is_configured else UNCONFIGURED
        found = self.diagnose_device() if self.is_configured else Diagnosis(Level.WARN, label)
        if self.complaint:
            found = Diagnosis(Level.ERROR, self.complaint, found.values)
        elif self.is_configured and not self.is_active and found.level is Level.OK:
            found = Diagnosis(Level.WARN, label, found.values)
        values: dict[str, Any] = {"lifecycle": label, "pid": os.getpid(), **found.values}
        return Diagnosis(found.level, found.message, values)
