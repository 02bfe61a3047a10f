"""Devices as the kernel shows them under /dev and /sys: serial adapters, video devices, USB cameras and their links.

Everything takes the root of the file system, so that a made-up tree does for a test. Paths that are returned are the
stable ones (`by-id`) without that root, as a station file writes them: `ttyUSB0` and `video0` change on a reboot.
"""

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
REALSENSE_VENDOR = "8086"
USB3_MBIT_S = 5000


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial adapter. `latency_ms` is its timer (FTDI only), None where it has none."""

    path: str  # /dev/serial/by-id/...
    tty: str  # ttyUSB0
    latency_ms: int | None
    is_accessible: bool


@dataclass(frozen=True, slots=True)
class VideoDevice:
    """A V4L2 capture device; the metadata nodes beside it are left out."""

    path: str  # /dev/v4l/by-id/...
    is_accessible: bool


@dataclass(frozen=True, slots=True)
class UsbCamera:
    """A RealSense as the USB bus shows it. Its USB serial is not the one that its SDK goes by."""

    product: str
    speed_mbit_s: int


def serial_ports(root: Path = ROOT) -> list[SerialPort]:
    """Return the serial adapters, those without an id of their own (clones) by the place they are plugged in."""
    found: dict[str, SerialPort] = {}
    for folder in ("dev/serial/by-id", "dev/serial/by-path"):
        for link in _entries(root / folder):
            tty = link.readlink().name
            if tty not in found:
                timer = _read(root / "sys/bus/usb-serial/devices" / tty / "latency_timer")
                found[tty] = SerialPort(
                    path=_outside(link, root),
                    tty=tty,
                    latency_ms=int(timer) if timer.isdigit() else None,
                    is_accessible=os.access(root / "dev" / tty, os.R_OK | os.W_OK),
                )
    return sorted(found.values(), key=lambda port: port.path)


def video_devices(root: Path = ROOT) -> list[VideoDevice]:
    """Return the capture devices; index 0 is the pictures, higher ones are metadata."""
    links = [link for link in _entries(root / "dev/v4l/by-id") if link.name.endswith("-video-index0")]
    return [
        VideoDevice(_outside(link, root), os.access(root / "dev" / link.readlink().name, os.R_OK | os.W_OK))
        for link in links
    ]


def realsense_cameras(root: Path = ROOT) -> list[UsbCamera]:
    """Return the RealSense cameras on the USB bus, with the speed of the link they got."""
    found = []
    for device in _entries(root / "sys/bus/usb/devices"):
        product = _read(device / "product")
        if _read(device / "idVendor") == REALSENSE_VENDOR and "realsense" in product.lower():
            speed = _read(device / "speed")
            found.append(UsbCamera(product, int(speed) if speed.isdigit() else 0))
    return found


def runs(program: str, root: Path = ROOT) -> bool:
    """Say whether a program of this name is running."""
    return any(_read(entry / "comm") == program[:15] for entry in _entries(root / "proc") if entry.name.isdigit())


def read_setting(path: str, root: Path = ROOT) -> str:
    """Return the text of a file of the kernel's, "" where it is not there."""
    return _read(root / path.lstrip("/"))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _outside(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"
