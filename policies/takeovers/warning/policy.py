"""A policy that says with every chunk how likely a person takes over soon, and whether it is time to warn them."""

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from policies.checkpoint import PolicyContent, SavablePolicy, check_tensors, restore_policy
from policies.normalization import StateNormalizer
from policies.observations import flatten_batch
from policies.presets import with_tuples
from policies.takeovers.warning.forecast import ForecastConfig, TakeoverForecast, look
from robot.chunk_runner import ask_after
from robot.policy import ActionChunk
from robot.types import Array

KIND = "warned"
RISK, WARNING = "policy/takeover_risk", "policy/warning"  # record groups; the operator's page draws both


class WarnedPolicy:
    """Acts as its base does. Sees as many observations as the forecast looks back, which begin anew at a hand-back.

    `threshold` is the risk from which on `policy/warning` is 1.
    """

    def __init__(self, base: SavablePolicy, forecast: TakeoverForecast, threshold: float) -> None:
        self.base, self.forecast, self.threshold = base, forecast, threshold
        self.horizon = 1 + max(forecast.config.spans)
        self.spec = replace(base.spec, obs_horizon=max(self.horizon, base.spec.obs_horizon))

    def reset(self) -> None:
        self.base.reset()

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        return self._signed(self.base.act(self._of_base(observation)), observation)

    def act_after(self, observation: Mapping[str, np.ndarray], planned: Array, frozen: int) -> ActionChunk:
        """Answer with what is planned handed on where the base can continue it."""
        return self._signed(ask_after(self.base, self._of_base(observation), planned, frozen), observation)

    def _of_base(self, observation: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        count = self.base.spec.obs_horizon
        return {name: seen[-1] if count == 1 else seen[-count:] for name, seen in observation.items()}

    def _signed(self, chunk: ActionChunk, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        states = flatten_batch(observation, self.spec.observation_shapes)[-self.horizon :]
        shown = look(states, np.zeros(len(states), int), self.forecast.config.spans)[-1:]
        risk = float(self.forecast.risk(shown)[0])
        said = {RISK: np.float64(risk), WARNING: np.float64(risk >= self.threshold)}
        return replace(chunk, groups={**chunk.groups, **said})

    def content(self) -> PolicyContent:
        return PolicyContent(
            kind=KIND,
            config={
                "forecast": asdict(self.forecast.config),
                "log_odds": self.forecast.log_odds,
                "threshold": self.threshold,
            },
            spec=self.spec,
            tensors=self.forecast.tensors(),
            statistics={"forecast": self.forecast.classifier.states.statistics()},
            parts={"base": self.base.content()},
        )


def restore(content: PolicyContent) -> WarnedPolicy:
    """Build the policy of a checkpoint, its base included."""
    config = ForecastConfig(**with_tuples(content.config["forecast"]))
    shown = StateNormalizer.from_statistics(content.statistics.get("forecast", {}))
    forecast = TakeoverForecast(config, shown, log_odds=content.config["log_odds"])
    check_tensors(forecast.tensors(), content.tensors, "forecast of takeovers")
    forecast.classifier.network.load_state_dict(content.tensors)
    base = restore_policy(content.parts["base"])
    return WarnedPolicy(base, forecast, content.config["threshold"])  # type: ignore[arg-type]
