"""ResFiT where a hundredth decides: its networks can tell a narrow hole from the surface beside it.

What it adds to ResFiT (policies/recipes/resfit.py), as it is run here:
1. Actor and critics see sines and cosines of the normalised state beside it (policies/state_waves.py). Plain networks
   of this size give a peg that is stuck beside its hole the value of one above it, and the actor learns to press.
2. Targets are clipped to the values that success at the end can have (residual spec, section 3; off in the paper).
3. The critics' last layer starts small, so that no state begins with a value of its own that must fade first.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from policies.checkpoint import SavablePolicy, save_policy
from policies.data.demonstrations import Demonstrations, Env
from policies.fine_residual import FineActor, FineConfig, FinePolicy, FineResidualLearner, restore
from policies.recipes import resfit
from policies.recipes.resfit import ResFiT, ResFiTConfig
from policies.run import Run
from policies.training import LoopConfig, LoopState, train

__all__ = ["PRESETS", "FineResFiT", "FineResFiTConfig", "finetune", "restore"]


@dataclass(frozen=True)
class FineResFiTConfig(ResFiTConfig):
    """ResFiT's settings and those of `policies.fine_residual.FineConfig`."""

    frequencies: tuple[float, ...] = (2.0, 4.0, 8.0)
    value_range: tuple[float, float] | None = (0.0, 1.0)
    critic_output_gain: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fine()

    def fine(self) -> FineConfig:
        return FineConfig(self.frequencies, self.value_range, self.critic_output_gain)


PRESETS = {name: FineResFiTConfig(**asdict(preset)) for name, preset in resfit.PRESETS.items()}


class FineResFiT(ResFiT):
    """ResFiT's source with the fine learner in the place of its own."""

    learner: FineResidualLearner

    def __init__(
        self, env: Env, base: SavablePolicy, demonstrations: Demonstrations, config: FineResFiTConfig, *, seed: int
    ) -> None:
        super().__init__(env, base, demonstrations, config, seed=seed)
        layout = self.online.layout
        self.learner = FineResidualLearner(
            layout["state"], layout["action"], config.residual(), config.learner(), fine=config.fine(), seed=seed
        )

    def policy(self) -> FinePolicy:
        """Return the deterministic policy as it is now."""
        actor: FineActor = self.learner.actor
        return FinePolicy(self.base, actor, self.states, self.limits, self.config.residual())


def finetune(
    env: Env,
    base: SavablePolicy,
    demonstrations: Demonstrations,
    config: FineResFiTConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; as `policies.recipes.resfit.finetune`."""
    source = FineResFiT(env, base, demonstrations, config, seed=seed)
    loop = LoopConfig(config.env_steps, config.log_every, config.checkpoint_every, config.evaluate_every)
    return train(
        source,
        source.learner,
        loop,
        run,
        write_policy=lambda path, step: save_policy(path, source.policy(), env_steps=step),
        evaluate=evaluate,
        stop_after=stop_after,
        title="resfit, fine",
    )
