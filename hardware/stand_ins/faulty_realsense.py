"""A RealSense that fails on demand: the vendor's SDK playing a recording, with its calls disturbed on the way.

The driver is the unmodified one and finds its device by serial. What the SDK cannot show without a device, the list of
devices and the hardware reset, is made up here; everything else is handed on to the real SDK.
"""

import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hardware.cameras.realsense import LADDER, RealSenseSource, load_sdk, realsense
from hardware.cameras.recovery import PROCESS, RENEW, RESET, RESTART, WAIT, Step
from hardware.stand_ins.camera_stand_in import FAULTS_FILE, FaultFile, quicker
from hardware.stand_ins.realsense_recording import FIRMWARE, SERIAL, record
from robot.devices import Camera
from robot.specs import CameraSpec

RECORDING = "TANDEM_REALSENSE_RECORDING"  # variable of the environment: what the device shows
SOURCE = f"{__name__}:source"
FAULTS = (
    *("frozen", "renumbered", "ended", "late", "blocked", "stop_blocked", "reset_refused", "gone", "busy", "usb2"),
    *("wrong_size", "crash"),
)
LATE_S = 0.3
REENUMERATION_S = 0.4
FOREVER_S = 1e6


def source(spec: CameraSpec) -> RealSenseSource:
    """Return the driver's source over the disturbed SDK; runs in the child."""
    faults = FaultFile()
    faults.cure(PROCESS)
    return RealSenseSource(spec, FaultySdk(load_sdk(), os.environ[RECORDING], faults))


class FaultySdk:
    """The module `pyrealsense2`, with devices and pipelines of our own."""

    def __init__(self, rs: Any, recording: str, faults: FaultFile) -> None:
        self.rs, self.recording, self.faults = rs, recording, faults
        self.contexts = 0
        self.back_s = 0.0  # when a device that was reset is there again

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rs, name)

    def context(self) -> "FaultyContext":
        self.contexts += 1
        if self.contexts > 1 and not self.back_s:
            self.faults.cure(RENEW)
        return FaultyContext(self)

    def config(self) -> "FaultyConfig":
        return FaultyConfig(self)

    def pipeline(self, context: "FaultyContext") -> "FaultyPipeline":
        return FaultyPipeline(self, context)


class FaultyContext:
    def __init__(self, sdk: FaultySdk) -> None:
        self.real = sdk.rs.context()
        self._sdk = sdk

    def query_devices(self) -> list["FaultyDevice"]:
        is_there = self._sdk.faults.fault != "gone" and time.monotonic() >= self._sdk.back_s
        return [FaultyDevice(self._sdk)] if is_there else []


class FaultyDevice:
    """What is said of the device before it streams."""

    def __init__(self, sdk: FaultySdk) -> None:
        self._sdk = sdk
        usb = "2.1" if sdk.faults.fault == "usb2" else "3.2"
        fields = sdk.rs.camera_info
        self._info = {
            fields.serial_number: SERIAL,
            fields.firmware_version: FIRMWARE,
            fields.usb_type_descriptor: usb,
        }

    def supports(self, field: Any) -> bool:
        return field in self._info

    def get_info(self, field: Any) -> str:
        return self._info[field]

    def hardware_reset(self) -> None:
        if self._sdk.faults.fault == "reset_refused":
            raise RuntimeError("failed to set power state")
        self._sdk.faults.cure(RESET)
        self._sdk.back_s = time.monotonic() + REENUMERATION_S


class FaultyConfig:
    """A configuration whose device, by serial, is the recording."""

    def __init__(self, sdk: FaultySdk) -> None:
        self.real = sdk.rs.config()
        self._sdk = sdk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def enable_device(self, serial: str) -> None:
        if serial != SERIAL:
            raise RuntimeError("No device connected")
        self.real.enable_device_from_file(self._sdk.recording, repeat_playback=True)


class FaultyPipeline:
    """A pipeline of the real SDK whose frames are held back, repeated or spoilt."""

    def __init__(self, sdk: FaultySdk, context: FaultyContext) -> None:
        self._sdk, self._real = sdk, sdk.rs.pipeline(context.real)
        self._last: Any = None
        self._waits = 0

    def start(self, config: FaultyConfig) -> Any:
        if self._sdk.faults.fault == "busy":
            raise RuntimeError("Couldn't resolve requests")
        return self._real.start(config.real)

    def wait_for_frames(self, timeout_ms: int) -> Any:
        fault = self._sdk.faults.fault
        if fault == "blocked":
            time.sleep(FOREVER_S)
        if fault == "crash":
            os._exit(139)
        if fault == "gone":
            raise RuntimeError("device disconnected")
        if fault in ("ended", "stop_blocked", "reset_refused", "busy"):
            time.sleep(timeout_ms / 1e3)
            self._waits += 1
            if self._waits > 1:
                self._sdk.faults.cure(WAIT)
            raise RuntimeError(f"Frame didn't arrive within {timeout_ms}")
        if fault == "late":
            time.sleep(LATE_S)
        frames = self._real.wait_for_frames(timeout_ms)
        if fault in ("frozen", "renumbered") and self._last is not None:
            return Renumbered(self._last, frames) if fault == "renumbered" else self._last
        self._last = frames
        return WrongSize(frames) if fault == "wrong_size" else frames

    def stop(self) -> None:
        if self._sdk.faults.fault == "stop_blocked":
            time.sleep(FOREVER_S)
        self._real.stop()
        self._sdk.faults.cure(RESTART)


class Renumbered:
    """Old pictures under new numbers and stamps, as a driver that hangs may send them."""

    def __init__(self, old: Any, new: Any) -> None:
        self._old, self._new = old, new

    def get_color_frame(self) -> Any:
        return _Numbered(self._old.get_color_frame(), self._new.get_color_frame())

    def get_depth_frame(self) -> Any:
        return self._new.get_depth_frame()


class _Numbered:
    def __init__(self, picture: Any, number: Any) -> None:
        self.get_data, self.get_frame_number = picture.get_data, number.get_frame_number
        self.get_timestamp, self.get_frame_timestamp_domain = number.get_timestamp, number.get_frame_timestamp_domain


class WrongSize(Renumbered):
    """Pictures of a quarter of the size."""

    def __init__(self, frames: Any) -> None:
        super().__init__(frames, frames)

    def get_color_frame(self) -> Any:
        whole = self._old.get_color_frame()
        picture = _Numbered(whole, whole)
        picture.get_data = lambda: np.asanyarray(whole.get_data())[::2, ::2]
        return picture


class StandIn:
    """A `CameraStandIn` without depth: alignment needs frames of the SDK's own."""

    faults: tuple[str, ...] = FAULTS

    def __init__(self, folder: Path, ladder: tuple[Step, ...] = quicker(LADDER, 0.4)) -> None:
        self.spec = CameraSpec(
            "front", "world", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 45.0, 640, 480, 30.0, "realsense", serial=SERIAL
        )
        self._folder, self._ladder = folder, ladder

    @cached_property
    def environment(self) -> Mapping[str, str]:
        recording = record(self._folder / "scene.db3", seconds=3.0)
        return {FAULTS_FILE: str(self._folder / "fault.json"), RECORDING: str(recording)}

    def camera(self) -> Camera:
        return realsense(self.spec, source=SOURCE, ladder=self._ladder, environment=self.environment)

    def inject(self, fault: str, cured_by: str = "") -> None:
        FaultFile(self._folder / "fault.json").inject(fault, cured_by)


def stand_in(folder: Path) -> StandIn:
    return StandIn(folder)
