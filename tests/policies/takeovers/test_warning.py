"""A warning before a takeover: learned from standing still, counted by hand, said by a policy tick by tick."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.base.behavior_cloning import BehaviorCloning, train_base
from policies.checkpoint import load_policy, save_policy
from policies.data.demonstrations import Demonstrations
from policies.data.episodes import read_store
from policies.evaluation import roll_out
from policies.observations import unflatten
from policies.run import Run
from policies.takeovers.warning.forecast import (
    ForecastConfig,
    Recorded,
    TakeoverForecast,
    driven_since,
    look,
    recorded_rows,
)
from policies.takeovers.warning.foresight import calibration_error, foresee, lowest_threshold, policy_runs
from policies.takeovers.warning.policy import RISK, WARNING, WarnedPolicy
from policies.takeovers.warning.stored import learn_warning
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.observation_history import ObservationHistory
from robot.types import EndReason, Owner, Segment
from tests.gates.blocked_peg import BlockedPeg
from tests.policies.rig import TINY_BASE
from tests.policies.takeovers.test_labels import ticks_of
from tests.policies.test_store_reader import record, tick

RATE_HZ = 10.0
PATIENCE = 8  # ticks that the person waits
CONFIG = ForecastConfig(hidden=(16,), steps=200)


def walk(seed: int) -> Recorded:
    """Return an episode of a point that walks on; where it gets stuck, a person waits, then carries it on."""
    rng = np.random.default_rng(seed)
    word, moves = "", []
    while len(word) < 60:
        far = int(rng.integers(5, 25))
        word += "p" * far + ("p" * PATIENCE + "hhhh" if rng.random() < 0.5 else "")
        moves += [0.05] * far + ([0.0] * PATIENCE + [0.05] * 4) * (len(word) > len(moves) + far)
    states = np.cumsum(np.array(moves) + 0.002 * rng.standard_normal(len(moves)))[:, None]
    return Recorded(states, ticks_of(word))


def test_standing_still_is_warned_of_in_time_and_walking_is_not() -> None:
    learned, chosen, tested = ([walk(seed) for seed in seeds] for seeds in (range(12), range(12, 20), range(20, 32)))
    forecast = TakeoverForecast.fit(learned, CONFIG, seed=0)
    threshold = lowest_threshold(forecast, chosen, RATE_HZ, false_alarms_per_min=2.0)
    found = foresee(tested, [forecast.risks(episode) for episode in tested], threshold, RATE_HZ)
    assert len(found.leads_s) > 10
    assert found.warned(0.5) > 0.9
    assert found.false_alarms_per_min < 4.0
    assert 0.5 <= found.median_lead_s <= 0.9, "nobody can know before it stands"
    assert calibration_error(forecast, *recorded_rows(tested, CONFIG)) < 0.1


def test_a_forecast_needs_takeovers_and_ticks_without() -> None:
    with pytest.raises(ConfigError, match="0 of 60 ticks"):
        TakeoverForecast.fit([Recorded(np.zeros((60, 1)), ticks_of("p" * 60))], CONFIG, seed=0)


def test_changes_are_looked_back_at_no_further_than_the_hand_back() -> None:
    ticks = ticks_of("ppphhppp")
    assert driven_since(ticks).tolist() == [0, 0, 0, 3, 4, 5, 5, 5]
    states = np.array([0.0, 1.0, 3.0, 9.0, 9.0, 9.0, 8.0, 6.0])[:, None]
    assert look(states, driven_since(ticks), (1, 4))[:, 1:].tolist()[1:3] == [[1.0, 1.0], [2.0, 3.0]]
    assert look(states, driven_since(ticks), (1, 4))[:, 1:].tolist()[5:] == [[0.0, 0.0], [-1.0, -1.0], [-2.0, -3.0]]


def test_leads_and_false_alarms_by_hand() -> None:
    episode = Recorded(np.zeros((20, 1)), ticks_of("pppppppphhpppppp-ppp"))
    assert [(run.tolist(), taken) for run, taken in policy_runs(episode.ticks)] == [
        (list(range(8)), True),
        (list(range(10, 16)), False),
        ([17, 18, 19], False),
    ]

    def found(*high: int):
        risk = np.isin(np.arange(20), high).astype(float)
        return foresee([episode], [risk], 0.5, RATE_HZ)

    in_time = found(3, 4, 6, 7)
    assert in_time.leads_s == (0.5,), "one tick below does not end a warning"
    assert (in_time.warned(0.5), in_time.warned(0.6), in_time.false_alarms) == (1.0, 0.0, 0)
    assert found(6, 12).leads_s == (0.2,)
    assert found(6, 12).false_alarms == 1
    assert found(1, 5, 11, 18).leads_s == (0.7,), "the first of two that were right"
    assert found(1, 5, 11, 18).false_alarms == 2
    assert found(12).false_alarms_per_min == pytest.approx(60 / 1.7)
    always = foresee([episode], [np.ones(20)], 0.5, 2.0)
    assert always.leads_s == (0.0,), "4 s before: about something else"
    assert always.false_alarms == 3


def test_a_policy_says_what_its_forecast_would_have_said(
    base: BehaviorCloning, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    states = demonstrations.trajectories[0].states[:12]
    ticks = ticks_of("ppppppppphhp")
    forecast = TakeoverForecast.fit([Recorded(states, ticks)], ForecastConfig(steps=20, spans=(1, 4)), seed=0)
    save_policy(tmp_path / "warned.safetensors", WarnedPolicy(base, forecast, 0.4))
    policy = load_policy(tmp_path / "warned.safetensors")
    history, risks = ObservationHistory(policy.spec.obs_horizon), forecast.risks(Recorded(states, ticks))
    for index, state in enumerate(states[:9]):
        seen = unflatten(state, base.spec.observation_shapes)
        history.add(seen)
        chunk = policy.act(history.stacked(seen))
        assert chunk.groups[RISK] == pytest.approx(risks[index], abs=1e-6)
        assert chunk.groups[WARNING] == float(risks[index] >= 0.4)
        assert np.array_equal(chunk.actions, base.act(seen).actions)
    assert len(set(risks[:9])) > 1
    assert roll_out(BlockedPeg(), policy, 0) == roll_out(BlockedPeg(), base, 0)


def test_a_warning_is_learned_from_a_store_and_written_with_its_policy(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path / "store")
    for number in range(8):
        episode = walk(number)
        ticks = [
            tick(
                step,
                owner=Owner(int(owner)),
                segment=Segment.ROLLOUT,
                intervention_id=int(intervention),
                observation={**tick(step).observation, "object_state": np.full(6, state[0])},
            )
            for step, (owner, intervention, state) in enumerate(
                zip(episode.ticks.owner, episode.ticks.intervention_id, episode.states, strict=True)
            )
        ]
        record(store, f"episode-{number}", ticks, EndReason.SUCCESS)
    base, _ = train_base(
        read_store(tmp_path / "store").select(["object_state"]),
        replace(TINY_BASE, steps=2),
        Run(tmp_path / "base", tensorboard=False),
        seed=0,
    )
    save_policy(tmp_path / "base.safetensors", base)
    wanted = {"task": None, "false_alarms_per_min": 2.0, "seed": 0}
    found = learn_warning(tmp_path / "store", tmp_path / "base.safetensors", tmp_path / "out.safetensors", **wanted)
    assert found["judged_takeovers"] > 0
    assert load_policy(found["out"]).spec.obs_horizon > base.spec.obs_horizon
    with pytest.raises(ConfigError, match="needs 4 and more"):
        few = EpisodeStore(tmp_path / "few")
        record(few, "only", ticks, EndReason.FAILURE)
        learn_warning(tmp_path / "few", tmp_path / "base.safetensors", tmp_path / "out.safetensors", **wanted)
