"""The executor of the nodes: everything a node can wait for is served, also what is added later."""

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robot.ros.executor import NodeExecutor
from tests.domains import some_domain

pytestmark = pytest.mark.ros


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    """Two nodes of one domain; the first is spun by a thread."""
    context = Context()
    rclpy.init(context=context, domain_id=some_domain())
    spun, other = (rclpy.create_node(name, context=context) for name in ("spun", "other"))
    stopping = threading.Event()

    def spin() -> None:
        executor = NodeExecutor(spun)
        while not stopping.is_set():
            executor.spin_once(0.05)
        executor.close()

    thread = threading.Thread(target=spin)
    thread.start()
    yield spun, other
    stopping.set()
    thread.join(5.0)
    for node in (spun, other):
        node.destroy_node()
    context.try_shutdown()


def wait(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 8.0
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not happen within 8 s"
        time.sleep(0.01)


def test_messages_timers_and_requests_are_served(nodes: tuple[Node, Node]) -> None:
    spun, other = nodes
    heard: list[str] = []
    beats: list[float] = []
    spun.create_subscription(String, "words", lambda m: heard.append(m.data), 20)
    spun.create_timer(0.02, lambda: beats.append(time.monotonic()))

    def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, "done"
        return response

    spun.create_service(Trigger, "act", answer)
    words, client = other.create_publisher(String, "words", 20), other.create_client(Trigger, "act")
    wait(lambda: words.get_subscription_count() > 0 and client.service_is_ready())
    for i in range(10):
        words.publish(String(data=str(i)))
    future, second = client.call_async(Trigger.Request()), NodeExecutor(other)

    def answered() -> bool:
        second.spin_once(0.01)
        return future.done()

    wait(answered)
    wait(lambda: len(heard) == 10)
    wait(lambda: len(beats) > 30)
    assert heard == [str(i) for i in range(10)], "each once, in order"
    answer_heard = future.result()
    assert answer_heard is not None and answer_heard.message == "done"
    gaps = [b - a for a, b in pairwise(beats)]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.02, abs=0.01)


def test_what_is_added_and_destroyed_while_it_spins_is_noticed(nodes: tuple[Node, Node]) -> None:
    spun, other = nodes
    words = other.create_publisher(String, "late", 10)
    time.sleep(0.2)
    heard: list[str] = []
    late = spun.create_subscription(String, "late", lambda m: heard.append(m.data), 10)
    wait(lambda: words.get_subscription_count() > 0)

    def hears() -> bool:
        words.publish(String(data="x"))
        return bool(heard)

    wait(hears)
    spun.destroy_subscription(late)
    again: list[str] = []
    spun.create_subscription(String, "late", lambda m: again.append(m.data), 10)

    def hears_again() -> bool:
        words.publish(String(data="y"))
        return bool(again)

    wait(hears_again)


def test_events_of_quality_of_service_arrive(nodes: tuple[Node, Node]) -> None:
    spun, other = nodes
    missed: list[int] = []
    quality = QoSProfile(depth=1, deadline=Duration(seconds=0.2))
    events = SubscriptionEventCallbacks(deadline=lambda event: missed.append(event.total_count))
    spun.create_subscription(String, "beat", lambda _: None, quality, event_callbacks=events)
    publisher = other.create_publisher(String, "beat", quality)
    wait(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(String(data="the only one"))
    wait(lambda: len(missed) > 1)
