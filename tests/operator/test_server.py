"""The page's server over real sockets: who gets in, what goes down, what a page's packets do."""

import contextlib
import itertools
import json
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from robot.errors import ConfigError
from robot.operator.door import open_door
from robot.operator.server import IMAGE_RATE_HZ, ROUNDS_AHEAD, OperatorPage, PageServer
from robot.operator.session import OperatorSession
from robot.operator.wire import EDGES, MAX_BYTES, PagePacket, pack
from robot.ownership import Mode
from robot.specs import load_station
from robot.types import OwnerRequest
from tests.operator.stand_in import StandIn

TOKEN = "a-token"
UP, DOWN = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0), (0.0, 0.0, -1.0, 0.0, 0.0, 0.0)
TAKE_OVER: dict[str, Any] = {"wants_control": True, "engaged": True, "edges": ((1, "take_over"),)}


@pytest.fixture(scope="module")
def cockpit() -> Iterator[StandIn]:
    with StandIn() as cockpit:
        yield cockpit


@pytest.fixture(scope="module")
def server(cockpit: StandIn) -> Iterator[PageServer]:
    session = OperatorSession(load_station("fr3_sim"))
    with PageServer(OperatorPage(cockpit, session, open_door(port=0, token=TOKEN))) as server:
        yield server


class Client:
    """A page without a browser: sends packets, keeps the newest state, shows no image unless told to."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._seq = itertools.count(1)
        self.hello = json.loads(connection.recv(timeout=5.0))["hello"]
        self.last = b""
        self.state: dict[str, Any] = {}
        self.notices: list[str] = []
        self.images: list[tuple[int, int, float, np.ndarray]] = []

    def send(self, **packet: Any) -> None:
        self.last = pack(PagePacket(next(self._seq), time.monotonic(), key=int(self.hello["key"]), **packet))
        self._connection.send(self.last)

    def listen(self, duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                message = self._connection.recv(timeout=left_s)
            except TimeoutError:
                return
            if isinstance(message, str):
                self.state = json.loads(message)
                self.notices.append(self.state["notice"])
            else:
                number, camera, captured_s = struct.unpack_from("<IId", message)
                self.images.append((number, camera, captured_s, np.frombuffer(message, np.uint8, offset=16)))

    def until(self, is_so: Callable[[], bool], **packet: Any) -> None:
        """Send packets at 20 Hz until something is so."""
        deadline_s = time.monotonic() + 5.0
        while not is_so():
            assert time.monotonic() < deadline_s, f"not so within 5 s; the newest state: {self.state}"
            self.send(**packet)
            self.listen(0.05)


@contextlib.contextmanager
def visit(
    server: PageServer, token: str = TOKEN, origin: str | None = "same", host: str = "127.0.0.1"
) -> Iterator[ClientConnection]:
    """Open a page's socket; `host` is the name the browser believes it talks to."""
    netloc = f"{host}:{server.door.port}"
    with connect(
        f"ws://{netloc}/control?token={token}",
        sock=socket.create_connection(("127.0.0.1", server.door.port), timeout=5.0),
        origin=(f"http://{netloc}" if origin == "same" else origin),  # type: ignore[arg-type]
        proxy=None,
        close_timeout=1.0,
    ) as connection:
        yield connection


@pytest.fixture
def client(server: PageServer) -> Iterator[Client]:
    with visit(server) as connection:
        yield Client(connection)


def fetch(server: PageServer, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection("127.0.0.1", server.door.port, timeout=5.0)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_the_page_and_its_files_are_served(server: PageServer) -> None:
    status, headers, body = fetch(server, f"/?token={TOKEN}")
    assert status == 200 and "main.js" in body
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    modules = re.findall(r'from "./([a-z0-9_]+.js)"', fetch(server, "/main.js")[2])
    assert len(modules) > 8
    for name, kind in [*((name, "text/javascript") for name in ("main.js", *modules)), ("page.css", "text/css")]:
        status, headers, _ = fetch(server, f"/{name}")
        assert status == 200 and headers["content-type"].startswith(kind)
        assert "://" not in (body := fetch(server, f"/{name}")[2]).replace("${scheme}://", ""), body
    assert fetch(server, "/../server.py")[0] == 404
    assert fetch(server, "/nothing")[0] == 404


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_without_the_token_nobody_comes_in(server: PageServer, token: str) -> None:
    status, _, body = fetch(server, f"/?token={token}")
    assert status == 403 and TOKEN not in body
    with pytest.raises(InvalidStatus) as refused, visit(server, token):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "https://localhost"])
def test_a_page_of_another_site_cannot_steer(server: PageServer, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused, visit(server, origin=origin):
        pass
    assert refused.value.response.status_code == 403
    assert b"origin" in (refused.value.response.body or b"")


def test_a_name_that_only_resolves_to_this_machine_is_refused(server: PageServer) -> None:
    """Otherwise a page of that name would be of the same origin."""
    with pytest.raises(InvalidStatus), visit(server, host="evil.example"):
        pass
    assert fetch(server, f"/?token={TOKEN}", Host="evil.example")[0] == 403
    with visit(server, host="localhost") as connection:
        assert "hello" in json.loads(connection.recv(timeout=5.0))


def test_a_door_that_other_machines_can_reach_always_has_a_token() -> None:
    assert open_door("127.0.0.1").token == open_door("::1").token == open_door("localhost").token == ""
    drawn = [open_door(host) for host in ("0.0.0.0", "::", "192.0.2.7", "robot.local")]
    assert all(len(door.token) >= 20 and door.token in door.address for door in drawn)
    assert len({door.token for door in drawn}) == len(drawn)
    assert open_door("::", 80, "t").address == "http://[::]:80/?token=t"
    with pytest.raises(ConfigError, match="port is 70000"):
        open_door(port=70000)


def test_a_port_in_use_is_one_clear_error(server: PageServer, cockpit: StandIn) -> None:
    session = OperatorSession(load_station("fr3_sim"))
    with (
        pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {server.door.port}"),
        PageServer(OperatorPage(cockpit, session, open_door(port=server.door.port))),
    ):
        pass


@pytest.mark.parametrize("rubbish", ["", "hello", '{"seq": 1, "sent_s": 0}', b"", b"\1", bytes(53)])
def test_rubbish_ends_the_connection_and_nothing_else(server: PageServer, client: Client, rubbish: str | bytes) -> None:
    with visit(server) as other:
        other.send(rubbish)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                other.recv(timeout=5.0)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    client.listen(0.3)
    assert client.state["lease"] == "free"


def test_images_come_binary_with_their_time_and_no_more_than_are_shown(client: Client, cockpit: StandIn) -> None:
    client.listen(0.6)
    allowed = ROUNDS_AHEAD * len(cockpit.cameras)
    assert len(client.images) == allowed  # none was acknowledged
    for number, camera, captured_s, jpeg in client.images:
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        assert number >= 1 and camera in (0, 1) and image is not None and image.shape == (480, 640, 3)
        assert 0.0 <= time.monotonic() - captured_s < 2.0
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        client.send(shown=client.images[-1][0])
        client.listen(0.05)
    of_one_camera = [number for number, camera, *_ in client.images[allowed:] if camera == 0]
    assert 6 <= len(of_one_camera) <= IMAGE_RATE_HZ + 2


def test_nobody_watching_means_nothing_is_encoded(client: Client, cockpit: StandIn) -> None:
    client.send(watching=False)
    client.listen(0.3)
    before = cockpit.encoded
    for _ in range(8):
        client.send(watching=False, shown=client.images[-1][0] if client.images else 0)
        client.listen(0.05)
    assert cockpit.encoded == before


def test_taking_over_moves_the_robot_and_handing_back_returns_it(client: Client, cockpit: StandIn) -> None:
    before = cockpit.position.copy()
    client.until(
        lambda: cockpit.position[2] > before[2] + 0.02,
        **TAKE_OVER, move=UP,
    )  # fmt: skip
    assert cockpit.mode is Mode.HUMAN_CORRECTION
    assert client.state["lease"] == "yours" and client.state["edge"] == 1
    client.until(lambda: cockpit.mode is Mode.AUTO, wants_control=True, edges=((2, "hand_back"),))
    client.until(lambda: client.state["lease"] == "free")


def test_a_connection_cut_in_motion_stops_the_arm(server: PageServer, cockpit: StandIn) -> None:
    with visit(server) as connection:
        Client(connection).until(
            lambda: cockpit.mode is Mode.HUMAN_CORRECTION,
            **TAKE_OVER, move=DOWN,
        )  # fmt: skip
        connection.socket.shutdown(socket.SHUT_RDWR)  # without a closing handshake
        cut_s = time.monotonic()
        time.sleep(0.5)
        held = cockpit.position.copy()
        assert cockpit.mode is Mode.HOLD
        assert cockpit.sent[-1][0] - cut_s < 0.25 and not cockpit.sent[-1][1].engaged
        time.sleep(0.3)
        np.testing.assert_array_equal(cockpit.position, held)


def test_a_silent_page_loses_its_lease_and_the_arm_holds(client: Client, cockpit: StandIn) -> None:
    client.until(
        lambda: cockpit.mode is Mode.HUMAN_CORRECTION,
        **TAKE_OVER, move=UP,
    )  # fmt: skip
    silent_s, before = time.monotonic(), cockpit.position[2]
    client.listen(0.45)
    assert cockpit.mode is Mode.HOLD
    assert client.state["lease"] == "yours"
    client.listen(0.3)
    assert client.state["lease"] == "free"
    assert cockpit.sent[-1][0] < silent_s + 0.05
    assert cockpit.position[2] - before < 0.15 * 0.40  # speed [m/s] times 250 ms, two ticks and the last packet's


def test_a_second_page_watches_but_cannot_take_the_lease(server: PageServer, client: Client, cockpit: StandIn) -> None:
    with visit(server) as connection:
        other = Client(connection)
        client.until(lambda: client.state.get("lease") == "yours", wants_control=True, engaged=True)
        other.send(wants_control=True, engaged=True, edges=((1, "take_over"),))
        for _ in range(4):
            client.send(wants_control=True, engaged=True)
            client.listen(0.02)
            other.listen(0.08)
        assert other.state["lease"] == "taken"
        assert "another page holds the controls" in other.notices
        assert all(packet.request is OwnerRequest.NONE for _, packet in cockpit.sent[-4:])


def test_a_stop_goes_through_from_a_page_without_the_lease(
    server: PageServer, client: Client, cockpit: StandIn
) -> None:
    client.until(lambda: client.state.get("lease") == "yours", wants_control=True, engaged=True)
    with visit(server) as connection:
        other = Client(connection)
        other.until(lambda: cockpit.safety == "latched", edges=((1, "stop"),))
        assert cockpit.commands.count("stop") == 1
    client.until(lambda: cockpit.safety == "ok", wants_control=True, edges=((1, "reset"),))


def test_a_page_that_says_nothing_measures_its_link(client: Client) -> None:
    client.send()
    client.listen(0.2)
    assert client.state["echo_s"] <= time.monotonic()
    assert client.state["now_s"] >= client.state["heard_s"] > 0.0


def test_a_packet_recorded_from_another_connection_moves_nothing(
    server: PageServer, client: Client, cockpit: StandIn
) -> None:
    client.until(lambda: client.state.get("lease") == "yours", **TAKE_OVER)
    recorded = client.last
    client.until(lambda: client.state.get("lease") == "free" and cockpit.mode is Mode.HOLD)
    before, sent = cockpit.position.copy(), len(cockpit.sent)
    with visit(server) as thief:
        thief.send(recorded)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                thief.recv(timeout=5.0)
    assert closed.value.rcvd is not None and "another connection" in closed.value.rcvd.reason
    assert cockpit.mode is not Mode.HUMAN_CORRECTION and len(cockpit.sent) == sent
    np.testing.assert_array_equal(cockpit.position, before)


def test_a_packet_sent_again_is_counted_and_moves_nothing(server: PageServer, cockpit: StandIn) -> None:
    with visit(server) as connection:
        page = Client(connection)
        page.until(lambda: page.state.get("lease") == "yours", wants_control=True)
        page.until(lambda: page.state.get("lease") == "free")
        sent = len(cockpit.sent)
        for _ in range(5):
            connection.send(page.last)
        page.listen(0.2)
        assert len(cockpit.sent) == sent and page.state["lease"] == "free"


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 100_000])
def test_an_oversized_message_ends_the_connection(server: PageServer, size: int) -> None:
    with visit(server) as connection:
        connection.send(bytes(size))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                connection.recv(timeout=5.0)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_a_fuzzed_socket_moves_nothing_and_the_page_beside_it_goes_on(
    server: PageServer, client: Client, cockpit: StandIn
) -> None:
    """Seeded: packets with flipped, cut and added bytes, text, and whole packets with the wrong key."""
    rng = np.random.default_rng(0)
    good = pack(PagePacket(1, 0.0, wants_control=True, engaged=True, move=UP, edges=((1, "take_over"),), key=1))
    before, sent = cockpit.position.copy(), len(cockpit.sent)
    for _ in range(60):
        data = bytearray(good)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        cut = bytes(data[: rng.integers(0, len(data) + 1)]) + rng.bytes(rng.integers(0, 20))
        with visit(server) as connection, contextlib.suppress(ConnectionClosed):
            connection.send(cut if rng.random() < 0.8 else cut.decode("latin-1"))
            while True:
                connection.recv(timeout=5.0)
    client.listen(0.2)
    assert client.state["lease"] == "free" and cockpit.mode is not Mode.HUMAN_CORRECTION
    assert len(cockpit.sent) == sent
    np.testing.assert_array_equal(cockpit.position, before)
    client.until(lambda: cockpit.mode is Mode.HUMAN_CORRECTION, **TAKE_OVER)
    client.until(lambda: cockpit.mode is Mode.AUTO, wants_control=True, edges=((2, "hand_back"),))


def test_a_page_is_told_how_to_speak(client: Client) -> None:
    assert tuple(client.hello["edges"]) == EDGES and client.hello["sides"] == [""]
    assert client.hello["cameras"] == ["scene", "wrist"] and int(client.hello["key"]) < 2**64
