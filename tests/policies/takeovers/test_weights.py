"""Weightings of imitation, and the automatic split of interventions, against figures worked out by hand."""

import numpy as np
import pytest

from policies.data.trajectories import Trajectory
from policies.normalization import StateNormalizer
from policies.takeovers.splitting import DemonstratedTime, agreement, recovery_of
from policies.takeovers.weights import WEIGHTINGS, Kind, kinds_of, sirius
from robot.errors import ConfigError
from tests.policies.takeovers.test_labels import ticks_of

KINDS = np.repeat([Kind.DEMONSTRATION, Kind.ROLLOUT, Kind.INTERVENTION, Kind.PRE_INTERVENTION], [20, 60, 10, 10])


def share(weights: np.ndarray, kind: Kind) -> float:
    return float(weights[kind == KINDS].sum() / weights.sum())


def test_kinds_follow_the_record() -> None:
    kinds = kinds_of(ticks_of("pppphhpp-p"), pre_ticks=2)
    named = {"p": Kind.ROLLOUT, "!": Kind.PRE_INTERVENTION, "h": Kind.INTERVENTION, "-": Kind.NOTHING}
    assert kinds.tolist() == [named[letter] for letter in "pp!!hhpp-p"]


def test_hg_dagger_takes_people_alone() -> None:
    weights = WEIGHTINGS["hg_dagger"](KINDS)
    assert set(KINDS[weights > 0]) == {Kind.DEMONSTRATION, Kind.INTERVENTION}
    assert len(set(weights[weights > 0])) == 1


def test_iwr_halves() -> None:
    assert share(WEIGHTINGS["iwr"](KINDS), Kind.INTERVENTION) == pytest.approx(0.5)


def test_sirius_shares() -> None:
    weights = sirius(KINDS)
    assert share(weights, Kind.INTERVENTION) == pytest.approx(0.5)
    assert share(weights, Kind.PRE_INTERVENTION) == pytest.approx(0.002)
    assert share(weights, Kind.DEMONSTRATION) == pytest.approx(0.2)
    assert share(weights, Kind.ROLLOUT) == pytest.approx(0.298)
    many = sirius(np.repeat([Kind.DEMONSTRATION, Kind.ROLLOUT, Kind.INTERVENTION], [60, 30, 10]))
    assert (many >= 0.0).all(), "roll-outs are never pushed away from"
    assert (many[60:90] == 0.0).all()


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_the_mean_of_what_counts_is_one(name: str) -> None:
    weights = WEIGHTINGS[name](KINDS)
    assert weights[weights > 0].mean() == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="no tick counts"):
        WEIGHTINGS[name](np.full(5, Kind.NOTHING))


def test_going_back_is_recovery() -> None:
    ahead = np.linspace(0.0, 1.0, 21)
    states = np.column_stack([ahead, np.zeros(21)])
    demonstration = Trajectory(states, np.zeros((20, 2)), np.zeros(20), True, False)
    times = DemonstratedTime([demonstration], StateNormalizer.fit(states, 0.01))
    x = np.concatenate([np.linspace(0.6, 0.3, 7), np.linspace(0.35, 0.8, 10)])
    marked = np.arange(17) < 7
    found = recovery_of(times.of(np.column_stack([x, np.full(17, 0.02)])))
    assert agreement(found, marked) >= 0.85
    assert agreement(~found, marked) < 0.2
    assert not recovery_of(np.linspace(0.2, 0.9, 10)).any(), "who only goes forward corrects"
    assert recovery_of(np.linspace(0.9, 0.2, 10))[:-1].all()
    assert times.distance(np.array([[0.5, 0.0], [0.5, 5.0]]))[1] > times.distance(np.array([[0.5, 0.0]]))[0]
