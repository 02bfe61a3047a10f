"""A made-up /dev and /sys: the devices of a machine that is not there."""

from pathlib import Path


class MadeTree:
    """The root of a file system to which devices are plugged in."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str) -> None:
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def plug_serial(self, name: str, tty: str, *, latency_ms: int | None = None) -> str:
        """Plug in an adapter, an FTDI one where it has a latency timer; return its stable path."""
        self.write(f"dev/{tty}")
        self.link(f"dev/serial/by-id/{name}", f"../../{tty}")
        self.link(f"dev/serial/by-path/pci-{tty}", f"../../{tty}")
        if latency_ms is not None:
            self.write(f"sys/bus/usb-serial/devices/{tty}/latency_timer", f"{latency_ms}\n")
        return f"/dev/serial/by-id/{name}"

    def plug_video(self, name: str, index: int) -> str:
        for function in (0, 1):  # pictures and metadata
            self.write(f"dev/video{2 * index + function}")
            self.link(f"dev/v4l/by-id/{name}-video-index{function}", f"../../video{2 * index + function}")
        return f"/dev/v4l/by-id/{name}-video-index0"

    def plug_realsense(self, *, speed_mbit_s: int) -> None:
        device = "sys/bus/usb/devices/2-1"
        facts = {"idVendor": "8086", "product": "Intel(R) RealSense(TM) Depth Camera 435", "speed": str(speed_mbit_s)}
        for name, value in facts.items():
            self.write(f"{device}/{name}", f"{value}\n")

    def run(self, program: str, pid: int = 321) -> None:
        self.write(f"proc/{pid}/comm", f"{program}\n")
