"""Recording a lock-step world: what is stored is what happened, takeovers and labels included."""

import itertools

import numpy as np
import pytest

from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.lockstep_recording import record_lockstep
from robot.types import EndReason, Owner
from robot.worlds import make_operator


def test_a_demonstration_is_recorded_tick_by_tick(tmp_path):
    store = EpisodeStore(tmp_path)
    operator = make_operator("tandem/reach", demonstrate=True)
    recorded = record_lockstep("tandem/reach", store, itertools.count(3), operator=operator)
    info = next(recorded)
    recorded.close()
    columns = store.load(info.episode_id).columns
    assert info.end_reason is EndReason.SUCCESS
    assert info.metadata["seed"] == 3
    assert (columns["owner"][1:] == Owner.HUMAN).all()
    assert columns["terminated"].tolist() == [False] * (info.steps - 1) + [True]
    assert columns["reward_task"].tolist() == [0.0] * (info.steps - 1) + [1.0]
    assert np.diff(columns["tick_time_ns"]).tolist() == [50_000_000] * (info.steps - 1)
    driven = columns["blend_weight"] == 1.0
    driven[0] = False
    assert np.isfinite(columns["human_action"][driven]).all()


def test_images_are_stored_for_the_cameras_asked_for(tmp_path):
    store = EpisodeStore(tmp_path)
    operator = make_operator("tandem/reach", demonstrate=True)
    recorded = record_lockstep("tandem/reach", store, itertools.count(), operator=operator, images=("wrist",))
    info = next(recorded)
    recorded.close()
    episode = store.load(info.episode_id)
    assert info.cameras == ("wrist",)
    assert episode.image("wrist", 0).shape == (84, 84, 3)
    assert np.ptp(episode.image("wrist", 0)) > 50


def test_episodes_that_are_not_wanted_are_kept_and_flagged(tmp_path):
    store = EpisodeStore(tmp_path)
    operator = make_operator("tandem/reach", demonstrate=True)
    recorded = record_lockstep(
        "tandem/reach", store, itertools.count(), operator=operator, keep=lambda reason: reason is EndReason.FAILURE
    )
    info = next(recorded)
    recorded.close()
    assert info.is_discarded
    assert info.steps > 0


def test_a_world_without_a_tick_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="only tandem/"):
        next(record_lockstep("metaworld/reach-v3", EpisodeStore(tmp_path), itertools.count()))
