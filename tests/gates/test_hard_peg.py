"""The hard peg does what it says: stiction, coupling, drift, and an expert that solves it."""

import numpy as np

from policies.data.demonstrations import collect_from
from tests.gates.blocked_peg import STEP
from tests.gates.hard_peg import DISTRACTORS, PACE, STICTION, HardPeg, HardPegExpert, coupling


def moved(action: np.ndarray, drift: float = 0.0) -> np.ndarray:
    """Return how far one action moves the peg, as a share of a full step."""
    env = HardPeg(drift=drift)
    before = env.reset(seed=0)[0]["peg_position"]
    observation, _, _, _, info = env.step(action)
    np.testing.assert_array_equal(info["executed_action"], np.clip(action, -1.0, 1.0))
    return (observation["peg_position"] - before) / (PACE * STEP)


def test_below_the_stiction_only_the_drift_moves_the_peg() -> None:
    action = np.zeros(3 + DISTRACTORS)
    action[:3] = 0.99 * STICTION, -1.01 * STICTION, -3.0
    np.testing.assert_allclose(moved(action), [0.0, -1.01 * STICTION, -1.0])
    drifting = moved(np.zeros(len(action)), drift=0.005)
    assert np.abs(drifting[:2]).max() > 0.0
    assert drifting[2] == 0.0


def test_the_distractors_move_the_peg_too() -> None:
    action = np.zeros(3 + DISTRACTORS)
    action[4] = 1.0
    wanted = coupling()[:, 1]
    np.testing.assert_allclose(moved(action), np.where(np.abs(wanted) < STICTION, 0.0, wanted))
    np.testing.assert_allclose(np.linalg.norm(coupling(), axis=1), 0.5)


def test_the_expert_solves_it() -> None:
    demonstrations = collect_from(HardPeg(), HardPegExpert(), "gates/hard-peg", 10, seed=3)
    assert demonstrations.tried <= 15
    assert demonstrations.actions.shape[1] == 3 + DISTRACTORS
