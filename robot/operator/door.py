"""Who may come in to the operator page: the right host, the page's own origin and, beyond this machine, the token."""

import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from robot.errors import ConfigError

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

PORT = 8765


@dataclass(frozen=True, slots=True)
class Door:
    """Where the page listens, and the token it asks for ("": none)."""

    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def refuses(self, connection: "HTTPConnection") -> str:
        """Return why a connection may not come in, "" when it may."""
        host = connection.headers.get("host", "")
        if is_loopback(self.host) and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return f"host {host!r} is not this machine; the page listens on {self.host} only"
        origin = connection.headers.get("origin")
        is_reading = connection.scope.get("method") in ("GET", "HEAD")  # a web socket has no method
        if (origin is not None or not is_reading) and urlsplit(origin or "").netloc != host:
            return f"origin {origin!r} is not {host!r}: another site's page may not steer the robot"
        given = connection.query_params.get("token", "")
        if self.token and not secrets.compare_digest(given.encode(), self.token.encode()):
            return "the token is missing or wrong: open the whole address that the page's node printed"
        return ""


def open_door(host: str = "127.0.0.1", port: int = PORT, token: str = "") -> Door:
    """Return a door; one that other machines can reach always has a token. Port 0 takes any free one."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"port is {port}, allowed: 0 to 65535")
    return Door(host, port, token or ("" if is_loopback(host) else secrets.token_urlsafe(16)))


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
