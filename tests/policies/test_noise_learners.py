"""DSRL-SAC and DSRL-NA: targets, distillation, gradients, units (numbers of the traps: DSRL spec, section 12)."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.learners.noise_steering import NoiseAliasingLearner, NoiseSACLearner, NoiseSteeringConfig
from policies.learners.sac import Transitions
from policies.noise_space import NoiseSpace
from robot.errors import ConfigError

STATE, CHUNK = 3, 4
SPACE = NoiseSpace((2, 2), box=1.5)
SMALL: dict[str, Any] = {
    "actor_hidden": (32,),
    "critic_hidden": (32,),
    "utd_ratio": 1,
    "noise_critic_steps": 1,
    "initial_temperature": 0.05,
}
MIXING = 0.4 * torch.randn(SPACE.size, CHUNK, generator=torch.Generator().manual_seed(7))


def decode(features: Tensor, coordinates: Tensor) -> Tensor:
    """A base that is known: a smooth map of the noise alone."""
    return torch.tanh(SPACE.noise(coordinates).flatten(1) @ MIXING)


def aliasing(seed: int = 0, **changes: Any) -> NoiseAliasingLearner:
    return NoiseAliasingLearner(STATE, CHUNK, SPACE, decode, NoiseSteeringConfig(**(SMALL | changes)), seed=seed)


def transitions(rows: int = 16, width: int = CHUNK, seed: int = 0) -> Transitions:
    made = torch.Generator().manual_seed(seed)
    state, following = torch.randn(2, rows, STATE, generator=made)
    action = torch.rand(rows, width, generator=made) * 2 - 1
    return Transitions(state, action, torch.rand(rows, generator=made), torch.full((rows,), 0.9), following)


def copies(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def unchanged(before: list[Tensor], module: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_trap_3_networks_see_coordinates_and_the_base_alone_sees_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = aliasing(log_std_low=-20.0)
    asked: list[Tensor] = []
    noise = NoiseSpace.noise
    monkeypatch.setattr(NoiseSpace, "noise", lambda self, c: asked.append(noise(self, c)) or asked[-1])
    seen: list[Tensor] = []
    learner.noise_critic.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].detach()))
    learner.update(Transitions(*(torch.cat([part] * 2) for part in list(vars(transitions(8)).values())[:5])))
    assert len(seen) == 2, "the actor's update and one distillation"
    assert max(float(part.abs().max()) for part in seen) <= 1.0
    torch.testing.assert_close(asked[-1].flatten(1), 1.5 * seen[-1], msg="Q^W is taught at w / box of what is decoded")


def test_trap_4_the_actors_gradient_goes_through_the_noise_critic_and_reaches_the_actor_alone() -> None:
    learner = aliasing(actor_head_gain=1e-2)
    actor, valued, of_noise = (copies(m) for m in (learner.actor, learner.critics.live, learner.noise_critic))
    learner.update_actor(transitions())
    assert not unchanged(actor, learner.actor)
    assert unchanged(valued, learner.critics.live)
    assert unchanged(of_noise, learner.noise_critic)
    assert all(p.grad is None for p in [*learner.noise_critic.parameters(), *learner.critics.live.parameters()])
    assert float(learner.actor.body[-1].weight.grad.abs().max()) > 0.0


def test_trap_5_distillation_copies_the_live_critics_head_by_head(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = aliasing(critic_learning_rate=1e-2)
    with torch.no_grad():
        for head, value in enumerate((-5.0, 5.0)):
            learner.critics.live.biases[-1][head] += value
        learner.critics.target.biases[-1].fill_(50.0)
    live = copies(learner.critics.live)
    for _ in range(300):
        learner.distill(torch.zeros(64, STATE))
    assert unchanged(live, learner.critics.live)
    coordinates = SPACE.prior(64, torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = learner.noise_critic(torch.zeros(64, STATE), coordinates)
        wanted = learner.critics.values(torch.zeros(64, STATE), decode(torch.zeros(64, STATE), coordinates))
    assert found.mean(dim=1).tolist() == pytest.approx(wanted.mean(dim=1).tolist(), abs=0.3)
    assert abs(float(wanted[1].mean() - wanted[0].mean())) > 8.0


def test_the_noise_critic_has_no_target_and_half_its_teaching_noise_is_the_actors() -> None:
    learner = aliasing(actor_share=0.5)
    with torch.no_grad():
        learner.actor.body[-1].bias[: SPACE.size] = 3.0
        learner.actor.body[-1].bias[SPACE.size :] = -8.0
    noise = learner.teaching_noise(torch.zeros(40, STATE))
    assert (noise[:20] > 0.99).all()
    assert abs(float(noise[20:].mean())) < 0.2
    assert noise.abs().max() <= 1.0
    assert "target" not in dict(learner.noise_critic.named_children())


def test_na_values_the_next_state_by_the_target_critics_at_what_the_base_makes_of_the_actors_noise() -> None:
    learner = aliasing(seed=3)
    batch = transitions()
    state = learner.generator.get_state()
    found = learner.target(batch)
    learner.generator.set_state(state)
    with torch.no_grad():
        noise, log_prob = learner.actor.sample(batch.next_state, learner.generator)
        values = learner.critics.target(batch.next_state, decode(batch.next_state, noise)).amin(dim=0)
    expected = batch.reward + batch.discount * (values - 0.05 * log_prob)
    torch.testing.assert_close(found, expected)
    ended = learner.target(Transitions(batch.state, batch.action, batch.reward, torch.zeros(16), batch.next_state))
    torch.testing.assert_close(ended, batch.reward)


def test_trap_8_the_entropy_target_is_of_coordinates_so_that_the_box_does_not_shift_it() -> None:
    wide = NoiseAliasingLearner(STATE, CHUNK, NoiseSpace((2, 2), box=2.5), decode, NoiseSteeringConfig(**SMALL), seed=0)
    assert wide.temperature.target_entropy == aliasing().temperature.target_entropy == 0.0
    with torch.no_grad():
        samples, log_prob = wide.actor.sample(torch.zeros(20000, STATE), torch.Generator().manual_seed(0))
    assert samples.abs().max() <= 1.0
    # The entropy of tanh of a standard normal, by quadrature.
    grid = torch.linspace(-6, 6, 20001, dtype=torch.float64)
    density = torch.exp(-0.5 * grid.square()) / np.sqrt(2 * np.pi)
    log_density = torch.log(density) - torch.log1p(-torch.tanh(grid).square())
    entropy = -float(torch.trapezoid(density * log_density, grid))
    assert float(-log_prob.mean()) == pytest.approx(4 * entropy, abs=0.05)


def test_zeroed_heads_make_the_first_noise_nearly_the_priors() -> None:
    learner = aliasing()
    mean, log_std = learner.actor(torch.randn(50, STATE))
    assert float(mean.detach().abs().max()) == 0.0
    assert float(log_std.detach().abs().max()) == 0.0
    spread = 1.5 * learner.actor.sample(torch.zeros(20000, STATE), torch.Generator().manual_seed(0))[0].std()
    assert float(spread.detach()) == pytest.approx(0.94, abs=0.01)


def test_check_bandit_na_finds_the_noise_whose_chunk_is_wanted() -> None:
    space = NoiseSpace((1, 2), box=1.5)

    def known(features: Tensor, coordinates: Tensor) -> Tensor:
        return torch.tanh(space.noise(coordinates).flatten(1))

    settings: dict[str, Any] = {"critic_learning_rate": 3e-3, "actor_learning_rate": 3e-3, "critic_hidden": (64, 64)}
    config = NoiseSteeringConfig(**SMALL | settings | {"initial_temperature": 0.01, "entropy_per_dimension": -3.0})
    learner = NoiseAliasingLearner(STATE, 2, space, known, config, seed=1)
    draws = torch.Generator().manual_seed(0)
    state, after = torch.ones(128, STATE), torch.zeros(128)
    for _ in range(700):
        action = known(state, space.prior(128, draws))
        learner.update(Transitions(state, action, -(action[:, 0] - 0.5).abs(), after, state))
    with torch.no_grad():
        reached = known(state[:1], learner.actor.mode(state[:1]))[0, 0]
        fresh, states = space.prior(500, draws), torch.ones(500, STATE)
        values = learner.noise_critic(states, fresh)[0], learner.critics.values(states, known(states, fresh))[0]
    assert abs(float(reached) - 0.5) < 0.05
    assert float(torch.corrcoef(torch.stack(values))[0, 1]) > 0.95


def test_sac_updates_actor_and_temperature_on_every_slice() -> None:
    learner = NoiseSACLearner(
        STATE, SPACE.size, NoiseSteeringConfig(**SMALL | {"variant": "sac", "utd_ratio": 3}), seed=0
    )
    learner.update(transitions(24, SPACE.size))
    assert int(learner.entropic.optimizer.state_dict()["state"][0]["step"]) == 3


def test_check_values_outside_their_range_are_told() -> None:
    config = NoiseSteeringConfig(value_low=-10.0, value_high=0.0)
    values = torch.tensor([[-12.0, -10.9, -5.0], [0.5, 1.5, 0.0]])
    assert float(config.outside(values)) == pytest.approx(2 / 6)


@pytest.mark.parametrize("variant", ["na", "sac"])
def test_learners_resume_bit_for_bit(variant: str) -> None:
    def make() -> Any:
        if variant == "na":
            return aliasing()
        return NoiseSACLearner(STATE, SPACE.size, NoiseSteeringConfig(**SMALL | {"variant": "sac"}), seed=0)

    width = CHUNK if variant == "na" else SPACE.size
    whole, first, second = make(), make(), make()
    for step in range(6):
        whole.update(transitions(16, width, step))
    for step in range(3):
        first.update(transitions(16, width, step))
    second.restore(first.state())
    for step in range(3, 6):
        second.update(transitions(16, width, step))
    assert unchanged(copies(whole.actor), second.actor)
    assert unchanged(copies(whole.critics.target), second.critics.target)
    if variant == "na":
        assert unchanged(copies(whole.noise_critic), second.noise_critic)


@pytest.mark.parametrize(
    "bad", [{"variant": "sca"}, {"noise_critic_steps": 0}, {"actor_share": 1.5}, {"activation": "gelu"}]
)
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        NoiseSteeringConfig(**bad)
