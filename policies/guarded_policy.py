"""A residual policy that corrects only where its critics agree that the correction is better than the base."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from policies.checkpoint import PolicyContent, SavablePolicy, check_tensors, restore_policy
from policies.fine_residual import FineActor, FineCritics
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import state_size
from policies.presets import with_tuples
from policies.residual_policy import ResidualConfig, ResidualPolicy, compose
from robot.errors import ConfigError

KIND = "resfit_guarded"


@dataclass(frozen=True)
class GateConfig:
    """The critics that judge a correction, and how sure they must be."""

    caution: float = 1.0  # standard deviations between heads that an advantage must exceed
    hidden: tuple[int, ...] = (256, 256)
    heads: int = 10
    layer_norm: bool = True
    frequencies: tuple[float, ...] = ()  # of the state, that actor and critics see

    def __post_init__(self) -> None:
        if self.heads < 2 or self.caution < 0.0:
            raise ConfigError(f"a gate needs heads >= 2 and caution >= 0, got {self.heads} and {self.caution}")


class GatedActor(nn.Module):
    """Answers the actor's residual where critics trust it, else 0; shares actor and critic with who trains them.

    The advantage A_j = Q_j(s, compose(b, r)) - Q_j(s, b) is taken within each head, where the value of the state
    cancels; the correction passes when mean_j A_j exceeds `caution` times the standard deviation over the heads.
    """

    def __init__(self, actor: FineActor, critic: FineCritics, scale: float, caution: float) -> None:
        super().__init__()
        self.actor, self.critic, self.scale, self.caution = actor, critic, scale, caution

    @torch.inference_mode()
    def act(self, state: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Answer for one normalised state and base action, in [-1, 1] before scaling."""
        states, bases = torch.from_numpy(state)[None], torch.from_numpy(base.astype(np.float32))[None]
        residual = self.actor(states, bases)
        return (residual if self.trusts(states, bases, residual) else torch.zeros_like(residual))[0].numpy()

    def trusts(self, state: Tensor, base: Tensor, residual: Tensor) -> bool:
        """Return whether the critics prefer the corrected action; shapes (1, state), (1, action), (1, action)."""
        actions = torch.cat([compose(base, residual, self.scale), compose(base, torch.zeros_like(base), self.scale)])
        corrected, plain = self.critic(state.expand(2, -1), actions).unbind(dim=1)
        advantage = corrected - plain
        return bool(advantage.mean() > self.caution * advantage.std())


class GuardedPolicy(ResidualPolicy):
    """Base and gated residual: what `resfit_guarded` deploys."""

    def __init__(
        self,
        base: SavablePolicy,
        gated: GatedActor,
        states: StateNormalizer,
        limits: ActionLimits,
        config: ResidualConfig,
        gate: GateConfig,
    ) -> None:
        super().__init__(base, gated, states, limits, config)  # type: ignore[arg-type]
        self.gate = gate

    def content(self) -> PolicyContent:
        content = super().content()
        return replace(content, kind=KIND, config={"residual": content.config, "gate": asdict(self.gate)})


def make_gated(sizes: tuple[int, int], residual: ResidualConfig, gate: GateConfig) -> GatedActor:
    """Return an actor of these settings with its critics; weights are yet to be drawn or loaded."""
    critic = FineCritics(
        *sizes,
        gate.hidden,
        gate.heads,
        frequencies=gate.frequencies,
        use_layer_norm=gate.layer_norm,
        action_gain=residual.action_gain,
    )
    return GatedActor(FineActor(*sizes, residual, gate.frequencies), critic, residual.scale, gate.caution)


def restore(content: PolicyContent) -> GuardedPolicy:
    """Build the policy of a checkpoint, its base included."""
    residual, gate = (with_tuples(content.config[name]) for name in ("residual", "gate"))
    config, gate_config = ResidualConfig(**residual), GateConfig(**gate)
    gated = make_gated(
        (state_size(content.spec.observation_shapes), len(content.spec.action_names)), config, gate_config
    )
    check_tensors(dict(gated.state_dict()), content.tensors, "gated actor")
    gated.load_state_dict(content.tensors)
    return GuardedPolicy(
        restore_policy(content.parts["base"]),  # type: ignore[arg-type]
        gated,
        StateNormalizer.from_statistics(content.statistics.get("states", {})),
        ActionLimits.from_statistics(content.statistics.get("actions", {})),
        config,
        gate_config,
    )
