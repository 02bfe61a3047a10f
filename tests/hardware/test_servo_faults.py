"""Faults of a servo bus while the arm moves, each through the arm process's own control and the vendor's SDK.

The limits here are what may not be missed on any machine; `tandem bench device_faults` measures the reaction times.
"""

import pytest

from hardware.bench_device_faults import SERVO_FAULTS, break_and_mend

STILL_S = 0.4  # then it is mended; what moves after that is seen too
PATIENCE_S = 1.1  # reactions on a machine that is busy with other tests


@pytest.mark.slow
@pytest.mark.parametrize("fault", SERVO_FAULTS)
@pytest.mark.parametrize("bus", ["feetech", "dynamixel"])
def test_no_motion_and_no_stale_reading_after_a_fault(bus: str, fault: str) -> None:
    pytest.importorskip({"feetech": "scservo_sdk", "dynamixel": "dynamixel_sdk"}[bus])
    outcome = break_and_mend(bus, fault, still_s=STILL_S)
    assert outcome.reaction_s < PATIENCE_S, outcome
    assert outcome.stop_s < PATIENCE_S, outcome
    assert outcome.stale_as_fresh == 0, outcome
    assert outcome.moved < 0.01, outcome
    assert outcome.recovered, outcome
