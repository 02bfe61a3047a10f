"""DSRL end to end on small worlds: the noise MDP, what is stored, the probe, the policy that is left (DSRL spec)."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies.base import behavior_cloning, diffusion
from policies.checkpoint import load_policy, read_content, save_policy
from policies.data.demonstrations import Demonstrations, collect_from
from policies.evaluation import roll_out
from policies.noise_decoder import NoiseDecoder, steered_by_noise
from policies.noise_policy import NoisePolicy, restore
from policies.noise_source import NoiseSource
from policies.noise_space import NoiseSpace
from policies.recipes import dsrl
from policies.recipes.dsrl import DSRLConfig, make_learner, policy_config
from policies.run import Run
from policies.starts import evaluation_starts
from policies.state_file import read_tree, tree_hash
from policies.steerability import Steerability, probe, require_spread, require_success
from policies.steerable import NOISE_GROUP, SteerablePolicy
from robot.cli import main
from robot.errors import CheckpointMismatch, ConfigError
from tests.gates import two_gaps
from tests.gates.two_gaps import OneGap, TwoGaps, TwoGapsExpert

HORIZON = 4
FOUND = Steerability(1.0, 1.0, 2.0)
TINY = replace(
    dsrl.PRESETS["debug"], env_steps=240, warmup_steps=120, evaluate_every=0, checkpoint_every=0, log_every=0
)


@pytest.fixture(scope="module")
def gaps() -> Demonstrations:
    return collect_from(TwoGaps(), TwoGapsExpert(), "gates/two-gaps", 60, 0)


@pytest.fixture(scope="module")
def base(gaps: Demonstrations, tmp_path_factory: pytest.TempPathFactory) -> SteerablePolicy:
    """A small diffusion policy that goes through either gap."""
    config = replace(
        diffusion.PRESETS["debug"], steps=800, hidden=(64, 64), action_horizon=HORIZON, execution_horizon=HORIZON
    )
    policy, _ = diffusion.train_base(gaps, config, Run(tmp_path_factory.mktemp("base"), tensorboard=False), seed=0)
    return policy


def decoder_of(base: SteerablePolicy, **space: Any) -> NoiseDecoder:
    assert base.noise_spec is not None
    return NoiseDecoder(base, NoiseSpace(base.noise_spec[0], **space))


def source_of(base: SteerablePolicy, gaps: Demonstrations, env: Any = None, **changes: Any) -> NoiseSource:
    decoder = decoder_of(base)
    config = replace(TINY, **changes).of(HORIZON)
    return NoiseSource(env or OneGap(), decoder, decoder.encode_all(gaps), config, FOUND, seed=0)


def rows_of(source: NoiseSource) -> dict[str, torch.Tensor]:
    return source.online.split(torch.from_numpy(source.online.rows[: len(source.online)]))


def untrained(base: SteerablePolicy, gaps: Demonstrations, **changes: Any) -> NoisePolicy:
    source = source_of(base, gaps, **changes)
    config = source.settings
    learner = make_learner(source, config, 0)
    return NoisePolicy(source.decoder, learner.actor, policy_config(source.sizes[0], source.decoder.space, config))


def test_trap_1_equal_noise_decodes_equally_alone_and_in_a_batch(base: SteerablePolicy) -> None:
    decoder = decoder_of(base)
    features = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    noise = decoder.space.prior(256, torch.Generator().manual_seed(1))
    first = decoder(features, noise)
    assert torch.equal(first, decoder(features, noise))
    torch.testing.assert_close(decoder(features[:1], noise[:1]), first[:1], atol=1e-5, rtol=0.0)


def test_trap_12_a_base_left_in_training_mode_decodes_as_in_evaluation(base: SteerablePolicy) -> None:
    decoder = decoder_of(base)
    noise = decoder.space.prior(3, torch.Generator().manual_seed(1))
    before = decoder(torch.zeros(3, 2), noise)
    base.network.train()
    assert torch.equal(decoder(torch.zeros(3, 2), noise), before)
    assert not base.network.training


def test_trap_2_what_was_stored_decodes_to_what_was_executed_and_the_base_is_asked_once(
    base: SteerablePolicy, gaps: Demonstrations
) -> None:
    source = source_of(base, gaps)
    for _ in range(30):
        source.step()
    assert source.decoder.decodes == source.decisions_made == 30
    rows = rows_of(source)
    assert float(rows["noise"].abs().max()) == 1.0, "some warm-up noise was clipped, and stored as it was used"
    each = zip(rows["state"].split(1), rows["noise"].split(1), strict=True)
    executed = torch.cat([source.decoder(state, noise) for state, noise in each])  # alone, as they were
    torch.testing.assert_close(rows["action"], executed, atol=1e-5, rtol=0.0)


class Counted(OneGap):
    """Counts its own steps, and ends by time after `limit`."""

    def __init__(self, limit: int = 60, reward: float | None = None) -> None:
        super().__init__()
        self.limit, self.reward, self.counted = limit, reward, 0

    def step(self, action: np.ndarray) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        self.counted += 1
        truncated = not terminated and self.steps >= self.limit
        return observation, reward if self.reward is None else self.reward, terminated, truncated, info


def test_trap_9_environment_steps_are_the_worlds_own_warm_up_included(
    base: SteerablePolicy, gaps: Demonstrations
) -> None:
    world = Counted(limit=7)
    source = source_of(base, gaps, world)
    for _ in range(150):
        source.next()
    assert source.progress == 150
    assert source.collector.env_steps == world.counted >= 150
    assert source.metrics()["collection/decisions"] < 150


def test_traps_6_and_7_the_loop_stops_at_an_end_and_gamma_counts_the_executed_steps(
    base: SteerablePolicy, gaps: Demonstrations
) -> None:
    settings = {"discount": 0.9, "reward_scale": 1.0, "reward_bias": 0.0}
    source = source_of(base, gaps, Counted(limit=6, reward=1.0), **settings)
    first, second = (source.execute(source.prior()) for _ in range(2))
    assert (first.reward, first.discount) == pytest.approx((1 + 0.9 + 0.81 + 0.729, 0.9**4))
    assert (second.reward, second.discount) == pytest.approx((1.9, 0.9**2)), "a time limit bootstraps, two steps away"
    rows = rows_of(source)
    assert rows["truncated"].tolist() == [0.0, 1.0]
    assert rows["terminated"].tolist() == [0.0, 0.0]
    assert not np.allclose(second.next_state, source.collector.state_now), "the final state, not the next start"


def test_trap_6_only_a_termination_ends_the_value(base: SteerablePolicy, gaps: Demonstrations) -> None:
    world = Counted()
    source = source_of(base, gaps, world)
    world.position = np.array([0.97, 0.0])
    source.collector._seen[-1] = source.decoder.encode({"position": world.position.copy()})
    transition = source.execute(np.zeros(source.decoder.space.size))
    assert transition.discount == 0.0
    assert transition.reward == pytest.approx(0.0), "no cost for the step that succeeds"
    assert rows_of(source)["terminated"].tolist() == [1.0]
    assert rows_of(source)["truncated"].tolist() == [0.0]


def test_trap_11_the_learner_reads_the_features_that_the_base_decodes(
    base: SteerablePolicy, gaps: Demonstrations
) -> None:
    source = source_of(base, gaps)
    observation = {"position": source.collector.env.unwrapped.position.copy()}  # type: ignore[attr-defined]
    assert np.array_equal(source.collector.state_now, source.decoder.encode(observation))
    assert np.array_equal(source.state_now()[0].numpy(), base.states.normalize(observation["position"]))
    encoded = source.decoder.encode_all(gaps)
    np.testing.assert_allclose(encoded.states, base.states.normalize(gaps.states), atol=1e-6)


def test_trap_10_the_base_is_compared_under_the_same_kind_of_noise(base: SteerablePolicy, gaps: Demonstrations) -> None:
    config = replace(untrained(base, gaps, sampling="prior").config, mode="repeated")
    policy = NoisePolicy(NoiseDecoder(base, config.space()), config.make_actor(), config)
    noise = policy.act(OneGap().reset(seed=0)[0]).groups[NOISE_GROUP]
    assert np.array_equal(noise, np.repeat(noise[:1], HORIZON, axis=0))
    assert np.abs(noise).max() <= 1.5


def success(chunks: Callable[[np.ndarray], np.ndarray], count: int = 400) -> float:
    """Roll all starts out together; `chunks` answers (count, horizon, 2) in station units for positions (count, 2)."""
    worlds, reached = [TwoGaps() for _ in range(count)], np.zeros(count, bool)
    for world, start in zip(worlds, evaluation_starts(count), strict=True):
        world.reset(seed=start)
    for _ in range(60 // HORIZON):
        answers = chunks(np.array([world.position for world in worlds]))
        for index in np.flatnonzero(~reached):
            reached[index] = any(worlds[index].step(action)[2] for action in answers[index])
    return float(reached.mean())


@pytest.mark.parametrize("kind", ["prior", "actor"])
def test_check_clipped_prior_and_untrained_actor_succeed_like_the_base(
    base: SteerablePolicy, gaps: Demonstrations, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_gaps, "HALF_GAP", 0.2)  # within reach of a base that was trained for seconds
    monkeypatch.setattr(two_gaps, "GOAL_RADIUS", 0.2)
    policy, draws = untrained(base, gaps), torch.Generator().manual_seed(0)
    decoder = policy.decoder

    @torch.no_grad()
    def steered(positions: np.ndarray) -> np.ndarray:
        features = base.encode(positions)
        drawn = decoder.space.prior(len(features), draws)
        noise = drawn if kind == "prior" else policy.actor.sample(features, draws)[0]
        return base.postprocess(decoder(features, noise).unflatten(1, (HORIZON, 2)))

    plain = success(lambda positions: base.act_states(positions, noise=torch.randn(len(positions), HORIZON, 2)))
    assert plain > 0.3, "a base that does nothing tells nothing"
    assert success(steered) == pytest.approx(plain, abs=0.08)


def test_batches_come_after_whole_decisions_only(base: SteerablePolicy, gaps: Demonstrations) -> None:
    source = source_of(base, gaps, warmup_steps=40, update_every=3)
    batches = [source.next() for _ in range(160)]
    assert all(batch is None for batch in batches[:40])
    assert sum(batch is not None for batch in batches) == sum(d % 3 == 0 for d in range(11, 41))
    learned = next(batch for batch in batches if batch is not None)
    assert learned.action.shape == (TINY.batch_size * TINY.slices, HORIZON * 2)


def test_sac_learns_from_the_coordinates_and_na_from_the_executed_chunk(
    base: SteerablePolicy, gaps: Demonstrations
) -> None:
    for variant in ("na", "sac"):
        source = source_of(base, gaps, variant=variant)
        for _ in range(20):
            source.step()
        batch, rows = source.sample(64, 0.0), rows_of(source)
        wanted = {tuple(row) for row in rows["noise" if variant == "sac" else "action"].tolist()}
        assert all(tuple(row) in wanted for row in batch.action.tolist())


def test_na_takes_demonstrations_in_units_of_the_decoder(base: SteerablePolicy, gaps: Demonstrations) -> None:
    source = source_of(base, gaps, demo_fraction=0.5)
    rows = source.demos.split(torch.from_numpy(source.demos.rows[: len(source.demos)]))
    first = gaps.trajectories[0]
    np.testing.assert_allclose(
        rows["action"][0].numpy(), base.actions.normalize(first.actions[:HORIZON]).clip(-1, 1).ravel(), atol=1e-6
    )
    np.testing.assert_allclose(rows["state"][0].numpy(), base.states.normalize(first.states[0]), atol=1e-6)
    with pytest.raises(ConfigError, match="variant na"):
        replace(TINY, variant="sac", demo_fraction=0.5)


@pytest.mark.parametrize(("apart", "share"), [(4.0, 1.0), (0.0, 0.0)])
def test_the_probe_tells_two_groups_of_chunks_from_one(
    base: SteerablePolicy, gaps: Demonstrations, monkeypatch: pytest.MonkeyPatch, apart: float, share: float
) -> None:
    """Chunks around two places, `apart` deviations from their middle, or around one."""
    decoder = decoder_of(base)

    def grouped(features: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        flat = noise.flatten(1)[:, : decoder.steps * decoder.width]
        return flat + apart * torch.sign(flat[:, :1])

    monkeypatch.setattr(NoiseDecoder, "__call__", lambda _, features, noise: grouped(features, noise))
    features = torch.from_numpy(base.states.normalize(gaps.states))
    actions = torch.from_numpy(base.actions.normalize(gaps.actions)).float()
    assert probe(decoder, features, actions, seed=0).two_modes == pytest.approx(share, abs=0.1)


def test_the_probe_refuses_a_base_without_noise_and_one_that_hardly_depends_on_it(
    base: SteerablePolicy, gaps: Demonstrations, tmp_path: Path
) -> None:
    cloned, _ = behavior_cloning.train_base(
        gaps, behavior_cloning.PRESETS["debug"], Run(tmp_path, tensorboard=False), seed=0
    )
    with pytest.raises(CheckpointMismatch, match="noise_spec is None"):
        steered_by_noise(cloned)
    features = torch.from_numpy(base.states.normalize(gaps.states))
    actions = torch.from_numpy(base.actions.normalize(gaps.actions)).float()
    found = probe(decoder_of(base), features, actions, seed=0)
    assert found.spread > 0.2
    deaf = probe(decoder_of(base, box=1e-3), features, actions, seed=0)
    assert deaf.spread < 0.05
    require_spread(found, 0.05)
    with pytest.raises(CheckpointMismatch, match="not steerable"):
        require_spread(deaf, 0.05)


def test_a_refusal_by_the_probe_comes_before_anything_runs(
    base: SteerablePolicy, gaps: Demonstrations, tmp_path: Path
) -> None:
    world = Counted()
    with pytest.raises(CheckpointMismatch, match="not steerable"):
        dsrl.finetune(world, base, gaps, replace(TINY, box=1e-3), Run(tmp_path, tensorboard=False), seed=0)
    assert world.counted == 0


def test_check_a_base_that_never_succeeds_here_is_refused_after_the_warm_up(
    base: SteerablePolicy, gaps: Demonstrations
) -> None:
    source = source_of(base, gaps, Counted(limit=5), min_successes=1)
    with pytest.raises(CheckpointMismatch, match="0 of its"):
        for _ in range(200):
            source.next()
    require_success(1, 9, 1)


def finetuned(base: SteerablePolicy, gaps: Demonstrations, folder: Path, variant: str, stop: int | None) -> Any:
    run = Run(folder, tensorboard=False)
    dsrl.finetune(OneGap(), base, gaps, replace(TINY, variant=variant), run, seed=3, stop_after=stop)
    tree = read_tree(run.state_path)
    tree["loop"].pop("wall_s")
    return tree


@pytest.mark.parametrize("variant", ["na", "sac"])
def test_the_recipe_resumes_bit_for_bit(
    base: SteerablePolicy, gaps: Demonstrations, tmp_path: Path, variant: str
) -> None:
    whole = finetuned(base, gaps, tmp_path / "whole", variant, None)
    assert whole["loop"]["updates"] > 8
    for stop_after in (131, 203):
        finetuned(base, gaps, tmp_path / "parts", variant, stop_after)
        torch.manual_seed(999)  # the global generators must not matter
        np.random.seed(999)
    assert tree_hash(whole) == tree_hash(finetuned(base, gaps, tmp_path / "parts", variant, None))


def test_a_steered_policy_loads_alone_repeats_itself_and_can_act_by_its_mean(
    base: SteerablePolicy, gaps: Demonstrations, tmp_path: Path
) -> None:
    policy = untrained(base, gaps)
    path = tmp_path / "policy.safetensors"
    save_policy(path, policy)
    loaded: Any = load_policy(path)
    assert read_content(path).metadata["base_sha256"] == base.content().sha256
    observation, _ = OneGap().reset(seed=5)
    first, second = policy.act(observation).actions, policy.act(observation).actions
    assert first.shape == (HORIZON, 2)
    assert not np.array_equal(first, second), "asked again it draws again"
    np.testing.assert_array_equal(loaded.act(observation).actions, first)
    assert roll_out(OneGap(), loaded, 1) == roll_out(OneGap(), policy, 1)
    content = read_content(path)
    mean = restore(replace(content, config=content.config | {"sampling": "mean"}))
    np.testing.assert_array_equal(mean.act(observation).actions, mean.act(observation).actions)
    np.testing.assert_array_equal(mean.act(observation).groups[NOISE_GROUP], np.zeros((HORIZON, 2), np.float32))


@pytest.mark.parametrize(
    "bad", [{"n_step": 3}, {"update_every": 0}, {"mode": "half"}, {"decision_steps": 3}, {"sampling": "best"}]
)
def test_impossible_settings_are_refused(
    base: SteerablePolicy, gaps: Demonstrations, tmp_path: Path, bad: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        dsrl.finetune(OneGap(), base, gaps, replace(TINY, **bad), Run(tmp_path, tensorboard=False), seed=0)


def test_presets_state_the_released_settings_and_the_small_ones() -> None:
    default = dsrl.PRESETS["default"]
    assert isinstance(default, DSRLConfig)
    assert (default.variant, default.box, default.utd_ratio, default.noise_critic_steps) == ("na", 1.5, 20, 10)
    assert (default.heads, default.activation, default.initial_temperature) == (2, "tanh", 1.0)
    assert dsrl.PRESETS["cpu_sac"].variant == "sac"


@pytest.mark.usefixtures("small_world")
def test_the_verb_steers_a_flow_policy_and_refuses_a_cloned_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--env", "gates/blocked-peg", "--recipe", "dsrl", "--preset", "debug", "--base-preset", "debug"]
    few = ["--demos", "4", "--eval-episodes", "2", "--curve-episodes", "1", "--json"]
    assert main(["finetune", "--base", "flow", *words, *few, "--out", str(tmp_path / "run")]) == 0
    result = json.loads(capsys.readouterr().out.strip().rpartition("\n")[2])
    assert "steerability/spread" in (tmp_path / "run/metrics.jsonl").read_text()
    assert result["gradient_updates"] > 0
    assert [point[0] for point in result["curve"]] == [0, 80, 160]
    assert main(["eval", "--env", "gates/blocked-peg", "--policy", str(result["policy"]), "--episodes", "2"]) == 0
    data = ["--data", str(tmp_path / "run/demos.safetensors")]
    assert main(["finetune", "--base", "bc", *words, *data, *few, "--out", str(tmp_path / "refused")]) != 0
    assert "noise_spec is None" in "".join(capsys.readouterr())
