"""A device's clock brought to the machine's: late frames, drift, and devices that begin anew."""

import numpy as np
import pytest

from hardware.cameras.device_clock import DeviceClock, from_wall_clock

MS = 1_000_000
PERIOD = 33 * MS


def stamps(delays_ms: list[float], offset_ns: int = 5 * 10**9, drift: float = 0.0) -> tuple[np.ndarray, list[int]]:
    """Return when pictures were taken, on the machine's clock, and what the device clock makes of them."""
    clock, taken, found = DeviceClock(), [], []
    for i, delay_ms in enumerate(delays_ms):
        taken_ns = 10**12 + i * PERIOD
        device_ns = round((taken_ns - 10**12) * (1 + drift)) + offset_ns
        taken.append(taken_ns)
        found.append(clock.to_host(device_ns, taken_ns + round(delay_ms * MS)))
    return np.array(taken), found


def test_a_late_frame_keeps_the_time_it_was_taken_at() -> None:
    taken, found = stamps([4.0] * 30 + [60.0, 45.0, 30.0] + [4.0] * 30)
    np.testing.assert_array_equal(found - taken, 4 * MS)


def test_stamps_rise_and_are_never_ahead_of_their_arrival() -> None:
    rng = np.random.default_rng(0)
    delays = (3.0 + rng.exponential(5.0, 600)).tolist()
    taken, found = stamps(delays)
    errors_ms = (found - taken) / MS
    assert (errors_ms <= np.array(delays) + 1e-6).all()
    assert errors_ms[300:].max() < 3.5
    assert (np.diff(found[300:]) > 0).all()


@pytest.mark.parametrize("drift", [50e-6, -50e-6])
def test_a_drift_costs_at_most_what_it_adds_up_to_in_the_window(drift: float) -> None:
    taken, found = stamps([4.0] * 3000, drift=drift)
    assert np.abs((found - taken)[-300:] - 4 * MS).max() < 0.6 * MS


@pytest.mark.parametrize("restart_ns", [0, 10**15])
def test_a_device_that_begins_anew_is_mapped_anew(restart_ns: int) -> None:
    clock = DeviceClock()
    for i in range(20):
        clock.to_host(10**10 + i * PERIOD, 10**12 + i * PERIOD + 4 * MS)
    for i in range(20, 40):
        taken_ns = 10**12 + i * PERIOD
        found_ns = clock.to_host(restart_ns + (i - 20) * PERIOD, taken_ns + 4 * MS)
        assert found_ns - taken_ns == 4 * MS
    assert clock.restarts == 1


def test_a_pause_of_the_stream_is_no_restart() -> None:
    clock = DeviceClock()
    for i in (0, 1, 2, 400, 401):
        assert clock.to_host(i * PERIOD, 10**12 + i * PERIOD + 4 * MS) == 10**12 + i * PERIOD + 4 * MS
    assert clock.restarts == 0


def test_wall_clock_time_becomes_monotonic_time_and_never_of_the_future() -> None:
    assert from_wall_clock(1_000_000, wall_now_ns=1_200_000, now_ns=500_000) == 300_000
    assert from_wall_clock(1_300_000, wall_now_ns=1_200_000, now_ns=500_000) == 500_000
