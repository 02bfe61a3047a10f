"""A single-threaded executor for one node, without what rclpy's does anew for every message.

rclpy's own builds lists, a timer, a wait set, a task and a coroutine per message: 0.42 ms of processor time against
0.19 ms here, which over a graph's thousands of messages a second is a good part of a core. It keeps the wait set,
looks for new subscriptions, timers, services and clients now and then, and calls back directly. Callbacks are plain
functions, as everywhere in Tandem.
"""

import time
from contextlib import ExitStack, suppress
from typing import Any

from robot.ros.missing import missing_ros

try:
    from rclpy.exceptions import InvalidHandle
    from rclpy.impl.implementation_singleton import rclpy_implementation
    from rclpy.node import Node
except ImportError as error:
    raise missing_ros(error) from None

REFRESH_S = 0.1
KINDS = ("subscription", "timer", "service", "client", "guard_condition")


class NodeExecutor:
    """Spins one node in one thread. What another thread adds to the node is noticed within 0.1 s."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._entities: dict[str, list[Any]] = {}
        self._waitables: list[Any] = []
        self._wait_set: Any = None
        self._held = ExitStack()
        self._refreshed_s = 0.0
        self._take = {
            "subscription": _take_message,
            "timer": _call_timer,
            "service": _answer_request,
            "client": _take_response,
            "guard_condition": _call_guard,
        }

    def spin_once(self, timeout_s: float) -> None:
        """Wait for work at most so long and do all that is there."""
        now_s = time.monotonic()
        try:
            if self._wait_set is None or now_s - self._refreshed_s > REFRESH_S:
                self._refresh(now_s)
            wait_set = self._wait(timeout_s)
        except InvalidHandle:  # another thread is destroying something: look again
            self.close()
            return
        for waitable in self._waitables:
            if waitable.is_ready(wait_set):
                _run(waitable)
        for kind, take in self._take.items():
            ready = wait_set.get_ready_entities(kind)
            if ready:
                for entity in self._entities[kind]:
                    if entity.handle.pointer in ready:
                        with suppress(InvalidHandle):  # destroyed meanwhile by another thread
                            take(entity)

    def close(self) -> None:
        """Let go of what is waited for; what was destroyed meanwhile ends only then."""
        self._wait_set = None
        self._held.close()

    def _refresh(self, now_s: float) -> None:
        """Make a new wait set where the node has got other things to wait for."""
        node = self._node
        sources = (node.subscriptions, node.timers, node.services, node.clients, node.guards)
        found: dict[str, list[Any]] = {kind: list(source) for kind, source in zip(KINDS, sources, strict=True)}
        waitables = list(node.waitables)
        self._refreshed_s = now_s
        if self._wait_set is not None and found == self._entities and waitables == self._waitables:
            return
        self.close()
        for entity in [*(entity.handle for entities in found.values() for entity in entities), *waitables]:
            self._held.enter_context(entity)
        context: Any = node.context.handle
        self._held.enter_context(context)
        self._entities, self._waitables = found, waitables
        events = sum(waitable.get_num_entities().num_events for waitable in waitables)
        count = {kind: len(entities) for kind, entities in found.items()}
        self._wait_set = rclpy_implementation.WaitSet(
            count["subscription"],
            count["guard_condition"],
            count["timer"],
            count["client"],
            count["service"],
            events,
            context,
        )

    def _wait(self, timeout_s: float) -> Any:
        wait_set: Any = self._wait_set
        wait_set.clear_entities()
        for kind, entities in self._entities.items():
            add = getattr(wait_set, f"add_{kind}")
            for entity in entities:
                add(entity.handle)
        for waitable in self._waitables:
            waitable.add_to_wait_set(wait_set)
        wait_set.wait(round(timeout_s * 1e9))
        return wait_set


def _take_message(subscription: Any) -> None:
    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    if taken is not None:
        subscription.callback(taken[0])


def _call_timer(timer: Any) -> None:
    if timer.handle.is_timer_ready():
        timer.handle.call_timer()
        timer.callback()


def _answer_request(service: Any) -> None:
    request, header = service.handle.service_take_request(service.srv_type.Request)
    if header is not None:
        service.send_response(service.callback(request, service.srv_type.Response()), header)


def _take_response(client: Any) -> None:
    header, response = client.handle.take_response(client.srv_type.Response)
    if header is None:
        return
    try:
        future = client.get_pending_request(header.request_id.sequence_number)
    except KeyError:
        return  # nobody waits for it any more
    future.set_result(response)


def _call_guard(guard: Any) -> None:
    if guard.callback is not None:
        guard.callback()


def _run(waitable: Any) -> None:
    """Run a waitable, such as a QoS event: its coroutine has nothing to wait for."""
    coroutine = waitable.execute(waitable.take_data())
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError(f"{waitable} waits within its callback, which must be a plain function")
