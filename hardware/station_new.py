"""Make a station file for a robot of one's own: find its devices, write what is different from a station we know.

Nothing is guessed that could move the wrong arm: where several devices fit, they are listed and one has to be named.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
import yaml

from hardware.cameras.realsense import connected_serials
from hardware.device_tree import ROOT, serial_ports, video_devices
from robot.errors import ConfigError, DeviceNotFound
from robot.specs import load_station, station_names
from robot.verb import Verb

SERIAL_DRIVERS = ("feetech", "dynamixel")
CAMERA = {"mount": "world", "translation_m": [1.0, 0.0, 0.6], "look_at_m": [0.4, 0.0, 0.1], "fovy_deg": 60.0}
CAMERA |= {"width": 640, "height": 480, "rate_hz": 30.0}


@dataclass(frozen=True)
class New:
    """Write a station file."""

    like: str
    """The station that it is like: fr3, so101, viperx or one of yours."""
    path: tyro.conf.Positional[Path]
    """The file to write, NAME.yaml; an existing one is never overwritten."""
    address: str = ""
    """Of the arm: a serial port's path, or a robot's address. Serial ports are looked for."""
    cameras: tuple[str, ...] = ()
    """As NAME=uvc:/dev/v4l/by-id/..., NAME=realsense:SERIAL; without a device the only one there is taken."""
    ask: bool = True
    """Ask on a terminal for what was not given; --no-ask for scripts."""
    root: tyro.conf.Suppress[Path] = field(default=ROOT)


@dataclass(frozen=True)
class Devices:
    """List the devices that a station file can name."""

    root: tyro.conf.Suppress[Path] = field(default=ROOT)


def run(config: New | Devices) -> dict[str, Any]:
    """List devices, or make a station."""
    return make(config) if isinstance(config, New) else list_devices(config.root)


def list_devices(root: Path) -> dict[str, Any]:
    """Print the serial adapters and cameras that are there."""
    found = {
        "serial": [port.path for port in serial_ports(root)],
        "uvc": [camera.path for camera in video_devices(root)],
        "realsense": connected_serials() if root == ROOT else [],
    }
    for kind, devices in found.items():
        print(f"{kind:<10} {', '.join(devices) or 'none'}")
    print("next: tandem station new mine.yaml --like fr3")
    return {"ok": True, **found}


def make(config: New) -> dict[str, Any]:
    """Find, write, load what was written, and say what is left to do."""
    if config.path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{config.path} is no station file: its name ends in .yaml")
    if config.path.exists():
        raise ConfigError(f"{config.path} exists and is not overwritten: choose another name, or delete it first")
    base = load_station(config.like)
    if base.is_simulated:
        real = [name for name in station_names() if not load_station(name).is_simulated]
        raise ConfigError(f"{config.like} is a simulated station: --like takes a real one, {', '.join(real)} or yours")
    tree: dict[str, Any] = {"like": config.like, "name": config.path.stem, "arm": {"address": _address(config)}}
    if config.cameras:
        tree["cameras"] = [_camera(text, config.root) for text in config.cameras]
    text = yaml.safe_dump(tree, sort_keys=False)
    config.path.parent.mkdir(parents=True, exist_ok=True)
    with config.path.open("x") as file:
        file.write(f"# Made by `tandem station new`. What is not here is as in {config.like}.\n{text}")
    load_station(config.path)
    print(f"wrote {config.path}:\n{text}")
    if config.cameras:
        print("the poses of its cameras are placeholders: measure them, and write them in")
    print(f"next: tandem doctor --station {config.path}")
    return {"ok": True, "path": config.path, "station": tree}


def _address(config: New) -> str:
    """Return where the arm is: as given, found, or asked."""
    driver = load_station(config.like).arm.driver
    if config.address:
        return config.address
    ports = [port.path for port in serial_ports(config.root)] if driver in SERIAL_DRIVERS else []
    if len(ports) == 1:
        print(f"the arm is taken to be at {ports[0]}, the only serial adapter")
        return ports[0]
    if config.ask and sys.stdin.isatty():
        return _ask(ports)
    if driver not in SERIAL_DRIVERS:
        raise ConfigError(f"give the arm's address, it cannot be found by looking: --address 172.16.0.2 ({driver})")
    if not ports:
        raise DeviceNotFound("no serial adapter is plugged in (nothing in /dev/serial): plug it in, or give --address")
    raise ConfigError(f"{len(ports)} serial adapters are there; give one as --address: {', '.join(ports)}")


def _ask(choices: list[str]) -> str:
    for number, choice in enumerate(choices, 1):
        print(f"  {number}  {choice}")
    answer = input("address of the arm (a number of the list, or the address itself): ").strip()
    return choices[int(answer) - 1] if answer.isdigit() and 0 < int(answer) <= len(choices) else answer


def _camera(text: str, root: Path) -> dict[str, Any]:
    """Read NAME=DRIVER[:DEVICE] and find the device where it is left out."""
    name, equals, rest = text.partition("=")
    driver, _, device = rest.partition(":")
    if not (name and equals) or driver not in ("uvc", "realsense"):
        raise ConfigError(f"camera '{text}' cannot be read; write NAME=uvc:PATH or NAME=realsense:SERIAL")
    if not device:
        devices = connected_serials() if driver == "realsense" else [camera.path for camera in video_devices(root)]
        if len(devices) != 1:
            raise ConfigError(f"{len(devices)} {driver} cameras are there: {', '.join(devices) or 'none'}; name one")
        (device,) = devices
    where = {"serial": device} if driver == "realsense" else {"options": {"path": device}}
    return {"name": name, **CAMERA, "driver": driver, **where}


VERB = Verb(New | Devices, run, "Make a station file for a robot of your own, or list the devices there are.")
