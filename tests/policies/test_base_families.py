"""What every family of base policies must hold (base_policies spec, section 10), without a task."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.checkpoint import load_policy, save_policy
from policies.data.chunks import ChunkBatch, ChunkDataset, ChunkSource
from policies.data.demonstrations import Demonstrations, collect_from
from policies.learners.supervised import SupervisedLearner, learning_rate, train_policy
from policies.network import seeded
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from policies.steerable import NOISE_GROUP
from robot import preflight
from robot.errors import CheckpointMismatch, ConfigError
from robot.policy import Policy
from tests.gates.blocked_peg import BlockedPeg
from tests.gates.two_gaps import STEP, TwoGaps, TwoGapsExpert
from tests.policies.families import FAMILIES, STEERABLE, decode_prior, fit, make, one_dimensional


@pytest.mark.parametrize("name", STEERABLE)
@torch.inference_mode()
def test_same_noise_twice_is_bit_equal_and_one_equals_many(name: str, demonstrations: Demonstrations) -> None:
    policy = make(name, demonstrations, **({"dropout": 0.3} if hasattr(FAMILIES[name][1], "dropout") else {}))
    policy.network.train()  # as training may leave it
    states = demonstrations.states[np.arange(256) % demonstrations.ticks]
    features = policy.encode(states)
    noise = torch.randn(256, *policy.noise_spec[0])
    chunks = policy.decode(features, noise)
    assert chunks.shape == (256, 8, 3)
    assert torch.equal(chunks, policy.decode(features, noise))
    alone = torch.cat([policy.decode(features[i : i + 1], noise[i : i + 1]) for i in range(256)])
    differences = (alone - chunks).abs()
    if name == "diffusion-epsilon":  # a signal of 0.0025 divides its first step: see tests/policies/test_solvers.py
        assert (differences < 1e-5).float().mean() > 0.99
        assert differences.max() < 1e-3
    else:
        assert differences.max() < 1e-5


@pytest.mark.parametrize("name", STEERABLE)
def test_noise_moves_the_chunk_and_a_wrong_one_is_refused(name: str, demonstrations: Demonstrations) -> None:
    policy = make(name, demonstrations)
    fit(policy, demonstrations, 30)
    state = np.repeat(demonstrations.states[:1], 64, axis=0)
    spread = decode_prior(policy, state).std(axis=0)
    assert spread.max() > 1e-3
    with torch.inference_mode(), pytest.raises(CheckpointMismatch, match=r"noise of shape \(1, .*needed, got none"):
        policy.decode(policy.encode(state[:1]))
    with torch.inference_mode(), pytest.raises(CheckpointMismatch, match=r"got \(1, 99\)"):
        policy.decode(policy.encode(state[:1]), torch.zeros(1, 99))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_policy_meets_the_contract_and_says_its_noise(name: str, demonstrations: Demonstrations) -> None:
    policy = make(name, demonstrations, sampling="prior")
    interface = BlockedPeg().interface
    assert isinstance(policy, Policy)
    preflight.check(preflight.compare(policy.spec, interface), "the peg")
    observation, _ = BlockedPeg().reset(seed=0)
    policy.reset()
    first, second = policy.act(observation), policy.act(observation)
    policy.reset()
    again = policy.act(observation)
    assert np.array_equal(again.actions, first.actions), "one start, one episode"
    if policy.noise_spec is None:
        assert not first.groups
        return
    noise = first.groups[NOISE_GROUP]
    assert noise.shape == policy.noise_spec[0]
    assert not np.array_equal(noise, second.groups[NOISE_GROUP]), "each answer draws anew"
    assert np.array_equal(policy.act(observation, noise).actions, first.actions), "the noise is the behaviour"
    other, _ = BlockedPeg().reset(seed=1)
    policy.reset()
    assert not np.array_equal(noise, policy.act(other).groups[NOISE_GROUP]), "starts are independent"
    batch = {field: np.stack([value, value]) for field, value in observation.items()}
    given = torch.from_numpy(np.stack([noise, noise]))
    np.testing.assert_allclose(policy.act_batch(batch, given)[1], first.actions, atol=1e-5)


def test_noise_drawn_here_follows_the_prior_over_starts(demonstrations: Demonstrations) -> None:
    policy = make("diffusion", demonstrations)
    drawn = np.concatenate([policy.draw_noise(state[None]).numpy().ravel() for state in demonstrations.states[:200]])
    assert abs(drawn.mean()) < 0.05
    assert abs(drawn.std() - 1.0) < 0.05
    assert policy.draw_noise(np.zeros((3, 8))).shape == (3, 8, 3)
    mean = make("diffusion", demonstrations, sampling="mean")
    assert not mean.draw_noise(np.zeros((1, 8))).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_checkpoint_loads_without_any_configuration(
    name: str, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    policy = make(name, demonstrations)
    fit(policy, demonstrations, 3)
    save_policy(tmp_path / "policy.safetensors", policy)
    loaded = load_policy(tmp_path)
    assert type(loaded) is type(policy)
    assert loaded.spec == policy.spec
    assert loaded.config == policy.config
    observation, _ = BlockedPeg().reset(seed=1)
    policy.reset()
    assert np.array_equal(loaded.act(observation).actions, policy.act(observation).actions)


@pytest.mark.parametrize(("name", "within"), [("diffusion", 0.1), ("flow", 0.05)])
def test_every_noise_is_carried_to_a_data_set_of_one_point(name: str, within: float) -> None:
    """Catches the sign and direction of the flow's time, a shifted noise schedule, a wrong clip."""
    policy = make(name, one_dimensional([-1.0, 1.0]), action_horizon=1, execution_horizon=1, steps=600)
    fit(policy, one_dimensional([0.3]), 600)
    chunks = policy.postprocess(torch.from_numpy(decode_prior(policy, np.zeros((256, 1)))))
    assert np.abs(chunks - 0.3).mean() < within


@pytest.mark.parametrize("name", ["bc", "gmm", "diffusion", "flow"])
def test_two_modes_stay_two_modes(name: str) -> None:
    """Each mode 40 to 60 %, hardly any mass between; a regression puts it all in one place, so it must fail here."""
    demonstrations = one_dimensional([-0.7, 0.7])
    is_solved = name in ("diffusion", "flow")
    changes = (
        {"inference_steps": 20, "beta1": 0.9, "hidden": (128, 128, 128), "steps": 1500}
        if is_solved
        else {"steps": 1000}
    )
    policy = make(name, demonstrations, action_horizon=1, execution_horizon=1, **changes)
    fit(policy, demonstrations, policy.config.steps)
    values = 0.7 * decode_prior(policy, np.zeros((2000, 1)))[:, 0, 0]
    between = (np.abs(values) < 0.4).mean()
    share = (values >= 0.4).mean()
    has_two_modes = between < 0.03 and 0.4 < share < 0.6 and 0.4 < (values <= -0.4).mean() < 0.6
    assert has_two_modes == (name != "bc"), (between, share)
    assert (0.1 < values.std() / 0.7 < 1.5) == (name != "bc"), "noise matters as much as the data do"


def test_solver_steps_agree(demonstrations: Demonstrations) -> None:
    """More steps refine the same map from noise to chunk; a wrong spacing or an index off by one does not."""
    policy = make("diffusion", demonstrations)
    fit(policy, demonstrations, 400)
    content = policy.content()
    states = demonstrations.states[:64]
    chunks = {}
    for count in (5, 10, 20):
        content.config["inference_steps"] = count
        chunks[count] = decode_prior(type(policy).restore(content), states)
    spread = np.std([decode_prior(policy, states, seed) for seed in range(8)], axis=0).mean()
    assert np.abs(chunks[5] - chunks[20]).mean() < spread
    assert np.abs(chunks[10] - chunks[20]).mean() < np.abs(chunks[5] - chunks[20]).mean()


def test_a_chunk_is_what_was_executed_from_its_state_on() -> None:
    """Replays logged chunks open loop from logged states: catches a shift by an observation."""
    demonstrations = collect_from(TwoGaps(), TwoGapsExpert(offset=0.0), "gates/two-gaps", 20, seed=0)
    assert demonstrations.tried == 20, "without its wander the expert finds the gap"
    for trajectory in demonstrations.trajectories:
        dataset = ChunkDataset.cut([trajectory], 4)
        for start in range(0, len(trajectory) - 4):
            env = TwoGaps()
            env.reset(seed=0)
            env.position = dataset.states[start].copy()
            for action in dataset.chunks[start]:
                env.step(action)
            assert np.abs(env.position - trajectory.states[start + 4]).max() < 0.01 * STEP


def test_what_is_saved_is_the_moving_average_of_the_weights(demonstrations: Demonstrations) -> None:
    policy = make("diffusion", demonstrations, average_power=0.75)
    learner = SupervisedLearner(policy, seed=0)
    dataset = ChunkDataset.cut(demonstrations.trajectories, 8)
    source = ChunkSource(dataset, policy.states, policy.actions, batch_size=16, seed=0)
    expected = {name: value.clone() for name, value in policy.network.state_dict().items()}
    for update in range(1, 6):
        learner.update(source.next())
        share = (1.0 + update) ** -0.75
        expected = {name: value + share * (learner.live.state_dict()[name] - value) for name, value in expected.items()}
    for name, value in policy.content().tensors.items():
        torch.testing.assert_close(value, expected[name])
        assert not torch.equal(value, learner.live.state_dict()[name])


def test_the_learning_rate_rises_and_falls() -> None:
    config = FAMILIES["diffusion"][1]
    rates = [learning_rate(config, update) for update in range(config.steps + 1)]
    assert rates[0] == pytest.approx(config.learning_rate / config.warmup_steps)
    assert np.argmax(rates) in (config.warmup_steps - 1, config.warmup_steps)
    assert max(rates) == config.learning_rate
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["act", "diffusion-transformer", "flow"])
def test_training_resumes_bit_for_bit(name: str, demonstrations: Demonstrations, tmp_path: Path) -> None:
    policy_class, config = FAMILIES[name]
    config = replace(config, steps=12)

    def run(folder: str, stop_after: int | None = None) -> Path:
        train_policy(
            policy_class, demonstrations, config, Run(tmp_path / folder, tensorboard=False), seed=3,
            stop_after=stop_after,
        )  # fmt: skip
        return tmp_path / folder

    whole = run("whole")
    run("parts", stop_after=5)
    torch.manual_seed(999)  # the global generators must not matter
    parts = run("parts")
    states = [read_tree(folder / "training_state.safetensors") for folder in (whole, parts)]
    for state in states:
        state["loop"].pop("wall_s")
    assert tree_hash(states[0]) == tree_hash(states[1])
    assert (whole / "policy.safetensors").read_bytes() == (parts / "policy.safetensors").read_bytes()


@pytest.mark.parametrize("name", FAMILIES)
def test_padded_steps_do_not_count(name: str, demonstrations: Demonstrations) -> None:
    network = make(name, demonstrations).network
    states, chunks, mask = torch.randn(4, 8), torch.rand(4, 8, 3), torch.zeros(4, 8, 1)
    mask[:, :3] = 1.0
    spoiled = chunks.clone()
    spoiled[:, 3:] = 0.9
    losses = []
    for given in (chunks, spoiled):
        with seeded(0), torch.no_grad():
            losses.append(float(network.loss(ChunkBatch(states, given, mask))))
    if "diffusion" in name or "flow" in name:  # a denoiser sees the padding, its loss does not count it
        assert losses[0] == pytest.approx(losses[1], rel=0.3)
    else:
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_training_in_bfloat16_gives_a_float32_policy(demonstrations: Demonstrations) -> None:
    policy = make("diffusion", demonstrations, precision="bfloat16")
    losses = fit(policy, demonstrations, 100)
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:5])
    assert {tensor.dtype for tensor in policy.content().tensors.values()} == {torch.float32}
    observation, _ = BlockedPeg().reset(seed=0)
    assert policy.act(observation).actions.dtype == np.float64


def test_settings_that_do_not_fit_are_refused(demonstrations: Demonstrations) -> None:
    cases = [
        ("diffusion-unet", {"action_horizon": 7, "execution_horizon": 7}, "multiple of 2"),
        ("diffusion", {"inference_steps": 21}, r"1\.\.train_steps \(20\)"),
        ("diffusion", {"denoiser": "unett"}, "did you mean 'unet'"),
        ("diffusion", {"spacing": "even"}, "trailing, leading"),
        ("diffusion", {"prediction": "sample"}, "v, epsilon"),
        ("flow", {"inference_steps": 0}, "1 or more"),
        ("flow", {"sampling": "zero"}, "prior, mean"),
        ("gmm", {"head": "gaussian"}, "regression, gmm"),
        ("bc", {"precision": "float16"}, "float32, bfloat16"),
    ]
    for name, changes, expected in cases:
        with pytest.raises(ConfigError, match=expected):
            make(name, demonstrations, **changes)
