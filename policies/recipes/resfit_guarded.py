"""ResFiT without the dip: what is deployed changes only when its own episodes say that it may.

What it adds to ResFiT with fine networks (policies/recipes/resfit_fine.py), as it is run here:
1. Per step: the correction acts where every critic's advantage over the base action is positive with some confidence
   (`caution`); elsewhere the base acts alone. In the run and in the deployed policy alike.
2. Per episode: every second episode of the warm-up and a small share of those after it are run by the base alone,
   without noise. The others are the running evidence on the correction.
3. Deployed, and so saved and evaluated, is the base until the Wilson lower bound of the latest corrected episodes
   reaches the base's rate less a margin; from then on the actor and critics as they were in the latest episode that
   passed. A later fall of the learner leaves the last good ones in place.
4. The reach of the residual starts at `initial_share` of its scale and grows with every corrected episode, unless the
   correction is known to be worse than the base: then it shrinks. Actor, target and world use the same scale at all
   times (residual spec, trap 9.8).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from policies.checkpoint import SavablePolicy, save_policy
from policies.collection import store
from policies.data.demonstrations import Demonstrations, Env
from policies.guard import GuardConfig, SuccessGuard
from policies.guarded_policy import GateConfig, GatedActor, GuardedPolicy, make_gated, restore
from policies.recipes import resfit
from policies.recipes.resfit_fine import FineResFiT, FineResFiTConfig
from policies.residual_calibration import residual_metrics
from policies.run import Run
from policies.training import LoopConfig, LoopState, train
from robot.errors import ConfigError

__all__ = ["PRESETS", "GuardedResFiT", "GuardedResFiTConfig", "finetune", "restore"]

GROWTH = 1.05  # of the residual's reach per corrected episode; it shrinks by the square of it


@dataclass(frozen=True)
class GuardedResFiTConfig(FineResFiTConfig):
    """The settings of `resfit_fine` and the guard's."""

    caution: float = 1.0
    initial_share: float = 0.5  # of the residual's scale
    guard_window: int = 20  # episodes
    guard_margin: float = 0.05
    base_share: float = 0.1  # of the episodes

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.initial_share <= 1.0:
            raise ConfigError(f"initial_share is {self.initial_share}, it must lie in (0, 1]")
        for check in (self.gate, self.guard):
            check()

    def gate(self) -> GateConfig:
        return GateConfig(self.caution, self.critic_hidden, self.heads, self.layer_norm, self.frequencies)

    def guard(self) -> GuardConfig:
        return GuardConfig(self.guard_window, self.guard_margin, self.base_share)


PRESETS = {name: GuardedResFiTConfig(**asdict(preset)) for name, preset in resfit.PRESETS.items()}


class GuardedResFiT(FineResFiT):
    """The fine source with the guard around acting: who runs an episode, what it may correct, what is deployed."""

    config: GuardedResFiTConfig

    def __init__(
        self, env: Env, base: SavablePolicy, demonstrations: Demonstrations, config: GuardedResFiTConfig, *, seed: int
    ) -> None:
        super().__init__(env, base, demonstrations, config, seed=seed)
        self.guard = SuccessGuard(config.guard())
        self.gated = GatedActor(self.learner.actor, self.learner.critic, config.residual_scale, config.caution)
        self._set_share(config.initial_share)
        self.deployed = self._deployable()  # the residual starts at exactly 0: the base
        self._begin_episode()

    def _set_share(self, share: float) -> None:
        """Set the reach of the residual wherever it is used: in the world, in the target and in the actor's loss."""
        self.share = share
        scale = share * self.config.residual_scale
        self.gated.scale = self.collector.scale = scale
        self.learner.residual = replace(self.learner.residual, scale=scale)

    def _deployable(self) -> dict[str, Any]:
        """Return actor, critics and scale as they are now, as copies."""
        return {
            "tensors": {name: value.clone() for name, value in self.gated.state_dict().items()},
            "scale": self.gated.scale,
        }

    @property
    def is_warming_up(self) -> bool:
        return self.collector.env_steps < self.config.warmup_steps

    def _begin_episode(self) -> None:
        self._runs_base = self.collector.episodes % 2 == 0 if self.is_warming_up else self.guard.next_is_base()
        self._is_evidence = not self.is_warming_up
        self._candidate = None if self._runs_base else self._deployable()

    def _step_warmup(self) -> None:
        width = 0.0 if self._runs_base else self.config.warmup_noise
        noise = self.rng.uniform(-width, width, self.limits.half.shape)
        self._step_world(np.zeros_like(noise), noise)

    def _step(self) -> None:
        if self._runs_base:
            self._step_world(np.zeros(self.limits.half.shape), np.zeros(self.limits.half.shape))
            return
        noise = self.rng.normal(0.0, self.config.sigma, self.limits.half.shape)
        residual = self.gated.act(self.collector.state_now, self.collector.base_now)
        self._step_world(residual, noise.clip(-self.config.noise_clip, self.config.noise_clip))

    def _step_world(self, residual: np.ndarray, noise: np.ndarray) -> None:
        collector = self.collector
        episodes, successes = collector.episodes, collector.successes
        store(self.online, collector.step(residual, noise))
        if collector.episodes > episodes:
            self._end_episode(collector.successes > successes)

    def _end_episode(self, is_success: bool) -> None:
        if self._runs_base:
            self.guard.add_base(is_success)
        elif self._is_evidence:
            if self.guard.add_corrected(is_success) and self._candidate is not None:
                self.deployed = self._candidate
            factor = GROWTH**-2 if self.guard.is_worse else GROWTH
            self._set_share(float(np.clip(self.share * factor, self.config.initial_share / 4, 1.0)))
        self._begin_episode()

    def policy(self) -> GuardedPolicy:  # type: ignore[override]
        """Return what is deployed, without noise."""
        residual, gate = replace(self.config.residual(), scale=self.deployed["scale"]), self.config.gate()
        gated = make_gated((self.online.layout["state"], self.online.layout["action"]), residual, gate)
        gated.load_state_dict(self.deployed["tensors"])
        return GuardedPolicy(self.base, gated, self.states, self.limits, residual, gate)

    def metrics(self) -> dict[str, float]:
        found = super().metrics() | self.guard.metrics() | {"guard/share": self.share}
        for name, replay in (("demos", self.demos), ("fresh", self.online)):
            found |= residual_metrics(name, self.learner, replay)
        return found

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "guard": self.guard.state(),
            "share": self.share,
            "deployed": self.deployed,
            "candidate": self._candidate,
            "runs_base": self._runs_base,
            "is_evidence": self._is_evidence,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.guard.restore(state["guard"])
        self._set_share(state["share"])
        self.deployed, self._candidate = state["deployed"], state["candidate"]
        self._runs_base, self._is_evidence = state["runs_base"], state["is_evidence"]


def finetune(
    env: Env,
    base: SavablePolicy,
    demonstrations: Demonstrations,
    config: GuardedResFiTConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; as `policies.recipes.resfit.finetune`. The policy at `run.policy_path` is the deployed one."""
    source = GuardedResFiT(env, base, demonstrations, config, seed=seed)
    loop = LoopConfig(config.env_steps, config.log_every, config.checkpoint_every, config.evaluate_every)
    return train(
        source,
        source.learner,
        loop,
        run,
        write_policy=lambda path, step: save_policy(path, source.policy(), env_steps=step),
        evaluate=evaluate,
        stop_after=stop_after,
        title="resfit, guarded",
    )
