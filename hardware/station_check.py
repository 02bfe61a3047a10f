"""`tandem doctor --station`: the devices of a station, and what of this machine they need.

Looking moves nothing: a driver that is connected and read sends neither torque nor motion (`robot.devices.Arm`).
"""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from hardware.arm_drivers import make_arm
from hardware.camera_drivers import make_camera
from hardware.device_tree import ROOT, USB3_MBIT_S, read_setting, realsense_cameras, runs, serial_ports, video_devices
from robot.devices import Arm, Camera
from robot.errors import RobotError
from robot.finding import Finding
from robot.specs import CameraSpec, StationSpec, load_station

WATCHED_S = 1.0
SIMULATED = "simulated"
ENOUGH = 0.8  # of the rate that the station asks for
LATENCY_RULE = 'ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'
MODEM_RULE = 'SUBSYSTEM=="tty", ENV{ID_MM_DEVICE_IGNORE}="1"'
SERIAL_DRIVERS = ("feetech", "dynamixel")


def check_station(name: str, root: Path = ROOT) -> list[Finding]:
    """Return what was found of a station's devices and of the system they depend on.

    Args:
        name: of the station, or the path of its file.
        root: of the file system that is looked at for devices and settings.
    """
    station = load_station(name)
    drivers = [side.arm.driver for side in station.sides]
    found = [Finding("station", "ok", f"{station.name}: arm {', '.join(drivers)}, {len(station.cameras)} cameras")]
    for side in station.sides:
        found += check_arm(side)
    for camera in station.cameras:
        found += check_camera(camera)
    for side in station.sides:
        if side.arm.driver in SERIAL_DRIVERS:
            found += check_serial(side, root)
    if any(camera.driver == "realsense" for camera in station.cameras):
        found += check_usb(root)
    found += check_video(station, root)
    if not station.is_simulated:
        found += check_realtime(station, root)
    return found


def check_arm(station: StationSpec) -> list[Finding]:
    """Connect, compare with the station, read for a second; nothing moves."""
    if station.arm.driver == SIMULATED:
        return [Finding("arm", "ok", "simulated: nothing to find")]
    try:
        with make_arm(station) as arm:
            return list(_watch_arm(arm, station))
    except RobotError as error:
        return [Finding("arm", "fail", str(error), "see docs/robots for its page")]


def _watch_arm(arm: Arm, station: StationSpec) -> Iterator[Finding]:
    readings, end_s = [arm.read()], time.monotonic() + WATCHED_S
    while time.monotonic() < end_s:
        time.sleep(1.0 / station.arm.state_rate_hz)
        readings.append(arm.read())
    fresh = len({reading.counter for reading in readings})
    age_ms = (time.monotonic_ns() - readings[-1].time_ns) / 1e6
    rate_hz = fresh / WATCHED_S
    slow = rate_hz < ENOUGH * station.arm.state_rate_hz
    found = f"{rate_hz:.0f} of {station.arm.state_rate_hz:.0f} readings/s, the last {age_ms:.0f} ms old"
    yield Finding("arm", "warn" if slow else "ok", found, "look at the advice on latency below" if slow else "")
    for line in arm.mismatches:
        yield Finding("arm limits", "fail", line, "correct the station file, or connect the arm that it describes")
    if not arm.mismatches:
        yield Finding("arm limits", "ok", "model, joints and limits are the station's")
    if arm.fault:
        yield Finding("arm state", "fail", arm.fault, "clear the cause, then safety/reset")
    facts = ", ".join(f"{name} {value}" for name, value in arm.health().items())
    yield Finding("arm health", "ok", facts or "nothing to tell")


def check_camera(spec: CameraSpec) -> list[Finding]:
    """Connect and count frames for a second."""
    name = f"camera {spec.name}"
    if spec.driver == SIMULATED:
        return [Finding(name, "ok", "simulated: nothing to find")]
    try:
        with make_camera(spec) as camera:
            return [_watch_camera(camera, spec, name)]
    except RobotError as error:
        return [Finding(name, "fail", str(error), "see docs/robots/cameras.md")]


def _watch_camera(camera: Camera, spec: CameraSpec, name: str) -> Finding:
    frames, end_s = [camera.read()], time.monotonic() + WATCHED_S
    while time.monotonic() < end_s:
        time.sleep(0.25 / spec.rate_hz)
        frames.append(camera.read())
    rate_hz = (frames[-1].counter - frames[0].counter) / WATCHED_S
    age_ms = (time.monotonic_ns() - frames[-1].time_ns) / 1e6
    height, width = frames[-1].image.shape[:2]
    found = f"{width}x{height}, {rate_hz:.0f} of {spec.rate_hz:.0f} frames/s, the last {age_ms:.0f} ms old"
    if rate_hz < ENOUGH * spec.rate_hz:
        return Finding(name, "warn", found, "fix its exposure, take a cable and port of USB 3, one hub for two cameras")
    return Finding(name, "ok", found)


def check_serial(station: StationSpec, root: Path = ROOT) -> list[Finding]:
    """The adapter of a servo bus: is it there, may we open it, how long does it wait, does another program probe it?"""
    ports, address = serial_ports(root), station.arm.address or ""
    ours = [port for port in ports if address in (port.path, f"/dev/{port.tty}")]
    if not ours:
        there = ", ".join(port.path for port in ports) or "none"
        return [Finding("serial", "fail", f"{address or 'no address'} is not there; adapters: {there}", "plug it in")]
    (port,) = ours[:1]
    found = [Finding("serial", "ok", f"{port.path} ({port.tty})")]
    if not port.is_accessible:
        advice = "sudo usermod -aG dialout $USER, then log in anew"
        found.append(Finding("serial access", "fail", f"no permission for /dev/{port.tty}", advice))
    if address.startswith("/dev/tty"):
        advice = f"write address: {port.path}"
        found.append(Finding("serial name", "warn", f"{address} may be another arm's after a reboot", advice))
    if port.latency_ms is not None and port.latency_ms > 1:
        advice = f"/etc/udev/rules.d/99-tandem.rules: {LATENCY_RULE}"
        found.append(Finding("serial latency", "warn", f"its timer is {port.latency_ms} ms: about 60 Hz", advice))
    if runs("ModemManager", root):
        advice = f"/etc/udev/rules.d/99-tandem.rules: {MODEM_RULE}"
        found.append(Finding("ModemManager", "warn", "runs, and writes to new serial ports", advice))
    return found


def check_video(station: StationSpec, root: Path = ROOT) -> list[Finding]:
    """The V4L2 devices that the station names: there, and allowed to be opened?"""
    devices, found = {device.path: device for device in video_devices(root)}, []
    for camera in station.cameras:
        path = str(camera.options.get("path") or "")
        if camera.driver != "uvc" or not path.startswith("/dev/"):
            continue
        name = f"video {camera.name}"
        if path in devices and not devices[path].is_accessible:
            found.append(Finding(name, "fail", f"no permission for {path}", "sudo usermod -aG video $USER"))
        elif path not in devices:
            there = ", ".join(devices) or "none"
            found.append(Finding(name, "warn", f"{path} is not one of the capture devices: {there}", "name one by id"))
    return found


def check_usb(root: Path = ROOT) -> list[Finding]:
    """A RealSense on a USB 2 link offers fewer modes, and says nothing about it."""
    cameras = realsense_cameras(root)
    if not cameras:
        return [Finding("USB", "warn", "no RealSense on the USB bus", "plug it in; udev rules: docs/robots/cameras.md")]
    return [
        Finding("USB", "ok", f"{camera.product}: {camera.speed_mbit_s} Mbit/s")
        if camera.speed_mbit_s >= USB3_MBIT_S
        else Finding("USB", "fail", f"{camera.product}: {camera.speed_mbit_s} Mbit/s", "take a USB 3 cable and port")
        for camera in cameras
    ]


def check_realtime(station: StationSpec, root: Path = ROOT) -> list[Finding]:
    """What lets the servo thread keep its rate; a Franka arm stops by itself without it, others only jitter."""
    arms = [side.arm for side in station.sides]
    needs = any(arm.driver == "franka" and arm.options.get("realtime", "enforce") == "enforce" for arm in arms)
    bad = "fail" if needs else "warn"
    found = []
    if read_setting("sys/kernel/realtime", root) == "1":
        found.append(Finding("kernel", "ok", "PREEMPT_RT"))
    else:
        advice = "boot a PREEMPT_RT kernel" if needs else "fine for servo buses; a Franka arm needs PREEMPT_RT"
        found.append(Finding("kernel", bad if needs else "ok", "not PREEMPT_RT", advice))
    for name, limit, advice in (
        ("rtprio", resource.RLIMIT_RTPRIO, "/etc/security/limits.d/99-tandem.conf: @realtime - rtprio 99"),
        ("memlock", resource.RLIMIT_MEMLOCK, "/etc/security/limits.d/99-tandem.conf: @realtime - memlock unlimited"),
    ):
        allowed = resource.getrlimit(limit)[1]
        enough = os.geteuid() == 0 or allowed == resource.RLIM_INFINITY or (name == "rtprio" and allowed >= 80)
        text = "unlimited" if allowed == resource.RLIM_INFINITY else str(allowed)
        found.append(Finding(name, "ok" if enough else bad, text, "" if enough else advice))
    governor = read_setting("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", root)
    if governor and governor != "performance":
        found.append(Finding("CPU governor", "warn", governor, "sudo cpupower frequency-set -g performance"))
    return found
