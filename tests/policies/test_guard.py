"""No dip: what is deployed changes on evidence alone, and corrections act only where the critics agree."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.base.behavior_cloning import BehaviorCloning
from policies.checkpoint import load_policy, save_policy
from policies.data.demonstrations import Demonstrations
from policies.evaluation import roll_out
from policies.guard import GuardConfig, SuccessGuard
from policies.guarded_policy import GateConfig, make_gated
from policies.recipes.resfit_guarded import GuardedResFiT, GuardedResFiTConfig
from policies.residual_policy import ResidualConfig
from robot.errors import ConfigError
from robot.evaluation import wilson
from tests.gates.blocked_peg import BlockedPeg
from tests.policies.rig import TINY

GUARDED = GuardedResFiTConfig(**{**vars(TINY), "env_steps": 400, "warmup_steps": 100, "caution": 0.0})


def guard_after_base(successes: int, episodes: int, **settings: float) -> SuccessGuard:
    guard = SuccessGuard(GuardConfig(**settings))  # type: ignore[arg-type]
    for index in range(episodes):
        guard.add_base(index < successes)
    return guard


def test_a_correction_is_deployed_at_the_first_episode_whose_lower_bound_reaches_the_base() -> None:
    guard = guard_after_base(20, 50)
    passed = [guard.add_corrected(True) for _ in range(10)]
    required = 21 / 52 - 0.05
    assert passed == [wilson(n, n)[0] >= required for n in range(1, 11)]
    assert passed[0] is False
    assert passed[-1] is True


def test_a_correction_worse_than_the_base_is_hardly_ever_deployed() -> None:
    """A learner 20 points below its base (20 against 40 %), 60 episodes watched: the bound holds in 19 runs of 20."""
    rng, deployed = np.random.default_rng(0), 0
    for _ in range(200):
        guard = guard_after_base(20, 50)
        deployed += any(guard.add_corrected(bool(rng.random() < 0.2)) for _ in range(60))
    assert deployed <= 10


def test_what_is_deployed_is_not_replaced_by_a_learner_that_falls_off() -> None:
    guard = guard_after_base(20, 50)
    for _ in range(20):
        guard.add_corrected(True)
    accepted = guard.accepted
    assert accepted == wilson(20, 20)[0]
    assert not any(guard.add_corrected(False) for _ in range(30))
    assert guard.accepted == accepted
    assert any(guard.add_corrected(True) for _ in range(20)), "as good as before is taken again"


def test_the_base_runs_more_episodes_while_the_correction_is_known_to_be_worse() -> None:
    guard = guard_after_base(30, 50)
    assert sum(guard.next_is_base() for _ in range(100)) == pytest.approx(10, abs=1)
    for _ in range(20):
        guard.add_corrected(False)
    assert guard.is_worse
    assert sum(guard.next_is_base() for _ in range(100)) == pytest.approx(50, abs=1)


@pytest.mark.parametrize("settings", [{"window": 0}, {"margin": 1.0}, {"base_share": 0.0}, {"base_share": 0.6}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"base_share|must be"):
        GuardConfig(**settings)  # type: ignore[arg-type]


def test_heads_that_agree_let_a_correction_pass_and_heads_that_do_not_stop_it() -> None:
    gated = make_gated((2, 1), ResidualConfig(0.5, hidden=(8,)), GateConfig(1.0, hidden=(), heads=3, layer_norm=False))
    with torch.no_grad():
        gated.actor.body[-1].bias.fill_(3.0)  # a residual of nearly 1
    state, base = np.zeros(2, np.float32), np.zeros(1)

    def slopes(*values: float) -> float:
        """Let each head's value rise with the action by so much, and say what the gate answers."""
        with torch.no_grad():
            gated.critic.weights[0][:, 2, 0] = torch.tensor(values)
        return float(gated.act(state, base)[0])

    assert slopes(1.0, 1.0, 1.0) == pytest.approx(np.tanh(3.0), abs=0.05)
    assert slopes(3.0, 1.0, -2.0) == 0.0, "better on average, but the heads disagree"
    assert slopes(-1.0, -1.0, -1.0) == 0.0


def test_before_any_evidence_the_deployed_policy_is_the_base_bit_for_bit(
    base: BehaviorCloning, demonstrations: Demonstrations
) -> None:
    source = GuardedResFiT(BlockedPeg(), base, demonstrations, GUARDED, seed=0)
    for _ in range(250):
        batch = source.next()
        if batch is not None:
            source.learner.update(replace(batch, update_actor=True))
    found = source.metrics()
    assert all(np.isfinite(found[f"critic/{name}_td_error"]) for name in ("demos", "fresh"))
    assert source.guard.accepted is None
    assert float(source.learner.actor.body[-1].weight.detach().abs().sum()) > 0.0, "the learner itself has moved"
    for seed in range(3):
        assert roll_out(BlockedPeg(), source.policy(), seed) == roll_out(BlockedPeg(), base, seed)


def test_an_accepted_candidate_is_deployed_as_it_was_in_its_episode(
    base: BehaviorCloning, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    source = GuardedResFiT(BlockedPeg(), base, demonstrations, GUARDED, seed=0)
    torch.nn.init.normal_(source.learner.actor.body[-1].weight)
    source._runs_base, source._is_evidence, source._candidate = False, True, source._deployable()
    source.guard.accepted, source.guard.recent = 0.0, source.guard.recent.__class__([True] * 20)
    tried = source.learner.actor.body[-1].weight.clone()
    torch.nn.init.normal_(source.learner.actor.body[-1].weight)
    source._end_episode(is_success=True)
    save_policy(tmp_path / "policy.safetensors", source.policy())
    loaded = load_policy(tmp_path / "policy.safetensors")
    assert torch.equal(loaded.content().tensors["actor.body.6.weight"], tried)  # type: ignore[attr-defined]
    assert roll_out(BlockedPeg(), loaded, 1) == roll_out(BlockedPeg(), source.policy(), 1)


def test_the_reach_of_the_residual_is_the_same_wherever_it_is_used(
    base: BehaviorCloning, demonstrations: Demonstrations
) -> None:
    source = GuardedResFiT(BlockedPeg(), base, demonstrations, GUARDED, seed=0)
    for share in (GUARDED.initial_share, 0.7):
        source._set_share(share)
        scale = share * GUARDED.residual_scale
        assert source.learner.residual.scale == source.collector.scale == source.gated.scale == scale
        assert source._deployable()["scale"] == scale
