"""The cameras of a station that has real ones: `TANDEM_HARDWARE=1 TANDEM_STATION=my_cell pytest -s -m hardware`.

It reads for some seconds and prints what it found; nothing is changed but what the station file asks for.
"""

import os
import time

import numpy as np
import pytest

from hardware.camera_drivers import make_camera
from robot.devices import DeviceState, Frame
from robot.specs import CameraSpec, load_station

SECONDS = 10.0


def real_cameras() -> list[CameraSpec]:
    station = os.environ.get("TANDEM_STATION", "")
    return [camera for camera in load_station(station).cameras if camera.driver != "simulated"] if station else []


@pytest.mark.hardware
@pytest.mark.parametrize("spec", real_cameras(), ids=lambda spec: spec.name)
def test_a_real_camera_keeps_its_rate(spec: CameraSpec) -> None:
    frames: list[tuple[Frame, int]] = []
    with make_camera(spec) as camera:
        print(f"\n{spec.name} ({spec.driver}): {camera.health()}, {camera.intrinsics}")
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < SECONDS:
            assert camera.state is DeviceState.CONNECTED
            frame = camera.read()
            if not frames or frame.counter != frames[-1][0].counter:
                frames.append((frame, time.monotonic_ns()))
            time.sleep(0.001)
        print(f"{spec.name}: {camera.health()}")
    stamps = np.array([frame.time_ns for frame, _ in frames])
    ages_ms = np.array([seen_ns - frame.time_ns for frame, seen_ns in frames]) / 1e6
    rate_hz = (len(stamps) - 1) / (stamps[-1] - stamps[0]) * 1e9
    print(
        f"{spec.name}: {rate_hz:.2f} Hz, age p50 {np.median(ages_ms):.1f} ms, p99 {np.percentile(ages_ms, 99):.1f} ms"
    )
    assert (np.diff(stamps) > 0).all()
    assert rate_hz == pytest.approx(spec.rate_hz, rel=0.05)
    assert np.percentile(ages_ms, 99) < 100.0, "what an observation allows"
    assert frames[0][0].image.std() > 1.0, "the picture is of one colour: is the lens covered?"
