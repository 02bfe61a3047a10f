"""Policies that see several observations: the same ones in training, in lock-step, served and in a batch."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.checkpoint import load_policy, save_policy
from policies.data.chunks import ChunkDataset, ChunkSource
from policies.data.demonstrations import Demonstrations
from policies.data.trajectories import Trajectory
from policies.evaluation import roll_out
from policies.residual_policy import ResidualActor, ResidualConfig, ResidualPolicy
from policies.served_policy import ServedPolicy
from robot.chunk_runner import ChunkRunner
from robot.errors import ConfigError
from robot.observation_history import ObservationHistory, repeated
from robot.policy import ActionChunk, PolicySpec
from tests.gates.two_gaps import TwoGaps
from tests.policies.families import FAMILIES, fit, make

SEEN, SIDE = 3, 16
PERIOD_NS = 100_000_000


def numbered(lengths: tuple[int, ...] = (4, 6), *, images: bool = False) -> Demonstrations:
    """Return episodes whose state says episode and step: 10 e + t, and x = y = that; images show it too."""
    episodes = []
    for number, steps in enumerate(lengths):
        values = 10.0 * number + np.arange(steps + 1)
        pictures = {"image/top": np.tile(values.astype(np.uint8)[:, None, None, None], (1, SIDE, SIDE, 3))}
        episodes.append(
            Trajectory(
                np.stack([values, values], axis=1), np.sin(np.stack([values, values], axis=1))[:-1], np.ones(steps),
                True, False, images=pictures if images else {},
            )
        )  # fmt: skip
    shapes = {"position": (2,)} | ({"image/top": (SIDE, SIDE, 3)} if images else {})
    limits = -np.ones(2), np.ones(2)
    return Demonstrations("made/numbered", shapes, ("x", "y"), *limits, 10.0, episodes, len(episodes))


def seen_at(step: int, *, images: bool = False) -> dict[str, np.ndarray]:
    value = {"position": np.array([0.1 * step, -0.1 * step])}
    return value | ({"image/top": np.full((SIDE, SIDE, 3), 7 * step, np.uint8)} if images else {})


def test_training_sees_what_the_robot_saw_and_never_another_episode() -> None:
    demonstrations = numbered()
    policy = make("bc", demonstrations, obs_horizon=SEEN)
    dataset = ChunkDataset.cut(demonstrations.trajectories, 8, SEEN)
    history = ObservationHistory(SEEN)
    row = 0
    for trajectory in demonstrations.trajectories:
        history.clear()
        for state in trajectory.states[:-1]:
            history.add({"position": state})
            stacked = history.stacked({"position": state})["position"]
            assert dataset.seen is not None
            np.testing.assert_array_equal(dataset.states[dataset.seen[row]], stacked)
            row += 1
    assert row == len(dataset)
    batch = ChunkSource(dataset, policy.states, policy.actions, batch_size=5, seed=0).next()
    assert batch.states.shape == (5, SEEN, 2)
    assert ChunkDataset.cut(demonstrations.trajectories, 8).seen is None


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_acts_and_restores_with_a_history(name: str, images: bool, tmp_path: Path) -> None:
    if images and name not in ("bc", "act", "diffusion", "flow"):
        pytest.skip("the encoder is the same")
    demonstrations = numbered(images=images)
    policy = make(name, demonstrations, obs_horizon=SEEN, batch_size=8, image_features=8)
    assert policy.spec.obs_horizon == SEEN
    losses = fit(policy, demonstrations, 3)
    assert np.isfinite(losses).all()
    save_policy(tmp_path / "policy.safetensors", policy)
    loaded = load_policy(tmp_path)
    assert loaded.spec == policy.spec
    history = ObservationHistory(SEEN)
    for step in range(4):
        history.add(seen_at(step, images=images))
    stacked = history.stacked(seen_at(3, images=images))
    noise = None if policy.noise_spec is None else np.ones(policy.noise_spec[0])
    given = [] if noise is None else [noise]
    expected = policy.act(stacked, *given).actions
    assert expected.shape == (8, 2)
    np.testing.assert_array_equal(loaded.act(stacked, *given).actions, expected)
    batch = {field: np.stack([value] * 2) for field, value in stacked.items()}
    drawn = None if noise is None else torch.from_numpy(np.float32(np.stack([noise] * 2)))
    np.testing.assert_allclose(policy.act_batch(batch, drawn)[1], expected, atol=1e-5)
    still = repeated(seen_at(3, images=images), SEEN)
    assert not np.array_equal(policy.act(still, *given).actions, expected), "it sees what was before"


class Recorder:
    """Answers zeros and keeps what it was given."""

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec
        self.given: dict[int, list[int]] = {}

    def reset(self) -> None:
        pass

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        newest = observation["position"][-1]
        self.given[round(10 * newest[0])] = np.round(10 * observation["position"][:, 0]).astype(int).tolist()
        return ActionChunk(np.zeros((8, 2)), 0.1)


@pytest.mark.parametrize("execution", ["receding:3", "ensemble", "async:1"])
def test_the_runner_keeps_every_step_and_begins_anew_with_an_episode_or_another_owner(execution: str) -> None:
    spec = replace(make("bc", numbered(), obs_horizon=SEEN).spec, execution_horizon=3)
    plain, served = Recorder(spec), Recorder(spec)
    for policy, runner in (
        (plain, ChunkRunner(plain, execution)),
        (served, ChunkRunner(ServedPolicy(served, lambda: 0), execution)),
    ):
        runner.reset()
        for step in range(8):
            runner.step(seen_at(step), step * PERIOD_NS, generation=step // 6)
        first = dict(policy.given)
        assert first[0] == [0, 0, 0], "padded by repetition of the first"
        assert first[3] == [1, 2, 3], "steps at which nobody was asked are seen too"
        assert first[6] == [6, 6, 6], "another owner: as an episode that begins"
        runner.reset()
        policy.given.clear()
        runner.step(seen_at(5), 0, generation=1)
        assert policy.given == {5: [5, 5, 5]}
    assert plain.given == served.given, "graph and lock-step"


def test_one_observation_is_handed_on_as_it_is() -> None:
    history, observation = ObservationHistory(1), seen_at(2)
    history.add(observation)
    assert history.stacked(observation) is observation
    with pytest.raises(ConfigError, match="obs_horizon is 0"):
        ObservationHistory(0)


def test_an_episode_is_played_in_lock_step() -> None:
    policy = make("flow", numbered(), obs_horizon=2)
    result = roll_out(TwoGaps(), policy, seed=0)
    assert result.steps == 60 or result.is_success


def test_a_residual_on_a_base_that_sees_more_is_refused() -> None:
    base = make("bc", numbered(), obs_horizon=2)
    config = ResidualConfig(scale=0.1)
    with pytest.raises(ConfigError, match="train the base with obs_horizon=1"):
        ResidualPolicy(base, ResidualActor(2, 2, config), base.states, base.actions, config)


def test_a_history_tells_what_one_observation_cannot() -> None:
    """The action is the velocity of a hidden direction: only two observations together say which."""
    rng = np.random.default_rng(0)
    episodes = []
    for index in range(40):
        way = 1.0 if index % 2 else -1.0
        begin = rng.uniform(-1.0, 1.0)
        position = begin + 0.1 * way * np.arange(6.0)
        states = np.stack([position, position], axis=1)
        episodes.append(Trajectory(states, np.full((5, 2), 0.8 * way), np.ones(5), True, False))
    limits = -np.ones(2), np.ones(2)
    data = Demonstrations("made/ways", {"position": (2,)}, ("x", "y"), *limits, 10.0, episodes, 40)
    losses = {}
    for count in (1, 2):
        policy = make("bc", data, obs_horizon=count)
        losses[count] = np.mean(fit(policy, data, 300)[-50:])
    assert losses[2] < 0.5 * losses[1], losses
