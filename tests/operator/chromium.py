"""A headless Chromium and the part of its DevTools protocol that the tests need."""

import base64
import contextlib
import itertools
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
KEYS = {"Space": (" ", 32), "Escape": ("Escape", 27)}


def find_chromium() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Chromium:
    """One browser with a new profile; the context manager starts and ends it."""

    def __init__(self, executable: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="tandem-chromium-", ignore_cleanup_errors=True)
        self._log = (Path(self._profile.name) / "log").open("wb")
        self._process = subprocess.Popen(
            [executable, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def __enter__(self) -> "Chromium":
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        deadline_s = time.monotonic() + 60.0
        while not (port_file.exists() and "\n" in port_file.read_text()):
            assert self._process.poll() is None, Path(self._log.name).read_text()[-2000:]
            assert time.monotonic() < deadline_s, "Chromium did not offer its DevTools port within 60 s"
            time.sleep(0.05)
        self.port = int(port_file.read_text().split()[0])
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._profile.cleanup()

    @contextlib.contextmanager
    def tab(self) -> Iterator["Tab"]:
        """Give the tab that is open from the start."""
        with urlopen(f"http://127.0.0.1:{self.port}/json/list", timeout=10.0) as answer:
            found = next(target for target in json.load(answer) if target["type"] == "page")
        with connect(found["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            yield Tab(socket)


class Tab:
    """One tab, driven synchronously."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30.0))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]

    def open(self, address: str) -> None:
        self.call("Page.navigate", url="about:blank")  # what the page before it complains of is not this one's
        self.call("Log.clear")
        self.errors.clear()
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = 20.0) -> Any:
        """Return the expression's value once it is true."""
        deadline_s = time.monotonic() + timeout_s
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline_s, f"not true within {timeout_s} s: {expression}"
            time.sleep(0.05)
        return value

    def key_down(self, code: str) -> None:
        self._key("rawKeyDown", code)

    def key_up(self, code: str) -> None:
        self._key("keyUp", code)

    def press(self, code: str) -> None:
        self.key_down(code)
        time.sleep(0.05)
        self.key_up(code)

    def click(self, element_id: str) -> None:
        self.evaluate(f"document.getElementById({json.dumps(element_id)}).click()")

    def middle(self, selector: str) -> dict[str, float]:
        """Return where the middle of an element is in the window [px]."""
        return self.evaluate(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()"
        )

    def mouse(self, kind: str, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def plug_gamepad(self) -> None:
        """Let the page see a gamepad of the standard layout, at rest."""
        self.evaluate(
            "globalThis.testPad = {id: 'test pad', connected: true, mapping: 'standard', axes: [0, 0, 0, 0],"
            "buttons: Array.from({length: 17}, () => ({value: 0, pressed: false}))};"
            "navigator.getGamepads = () => [testPad];"
        )

    def gamepad(
        self, axes: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0), held: tuple[int, ...] = ()
    ) -> None:
        """Move the sticks, and hold these buttons of the pad and no others."""
        self.evaluate(
            f"testPad.axes = {json.dumps(axes)}; testPad.held = {json.dumps(held)};"
            "testPad.buttons.forEach((button, index) => { button.value = testPad.held.includes(index) ? 1 : 0; });"
        )

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _key(self, kind: str, code: str) -> None:
        letter = code.removeprefix("Key")
        key, number = KEYS.get(code, (letter.lower(), ord(letter[0])))
        self.call("Input.dispatchKeyEvent", type=kind, code=code, key=key, windowsVirtualKeyCode=number)

    def _note(self, message: dict[str, Any]) -> None:
        """Keep what the page complained about."""
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
