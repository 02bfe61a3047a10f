"""The noise MDP: a decision is the noise of a chunk, a transition is what executing it led to (DSRL, section 2)."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from policies.data.demonstrations import Demonstrations, Env
from policies.decisions import store
from policies.learners.sac import Transitions
from policies.noise_decoder import FeatureWorld, NoiseDecoder
from policies.normalization import StateNormalizer
from policies.online import NO_RETURN, OnlineSource
from policies.replay import Transition, sample_mixed
from policies.steerability import Steerability, require_success


class NoiseSource(OnlineSource):
    """Decisions in the world as a frozen base sees it. A row keeps the executed chunk and the coordinates of its noise.

    `progress` counts control steps; a batch comes with the last step of every `update_every`-th decision.

    Args:
        env: the world.
        decoder: the base.
        demonstrations: with features in the place of states.
        config: settings (`DSRLConfig`), for this base.
        found: the probe's figures, told beside the metrics.
        seed: of starts, warm-up noise and batches.
    """

    def __init__(
        self,
        env: Env,
        decoder: NoiseDecoder,
        demonstrations: Demonstrations,
        config: Any,
        found: Steerability,
        *,
        seed: int,
    ) -> None:
        width = demonstrations.states.shape[1]
        self.beside = {"noise": decoder.space.size, "terminated": 0, "truncated": 0}
        super().__init__(
            FeatureWorld(env, decoder),
            {"features": (width,)},
            StateNormalizer(np.zeros(width), np.ones(width)),
            decoder.base.actions,
            config=config,
            rows=config.batch_size * config.slices,
            seed=seed,
            demonstrations=demonstrations if config.demo_fraction > 0.0 else None,
        )
        self.decoder, self.settings, self.found, self.decisions_made = decoder, config, found, 0
        self.explore = self.prior

    def prior(self) -> np.ndarray:
        """Return a choice of the warm-up, shape (size,): the base's own prior, clipped."""
        return self.decoder.space.prior(1, self.generator)[0].numpy()

    def next(self) -> Transitions | None:
        if self._owed == 0:
            self._owed = self.step()
        self._owed -= 1
        self.progress += 1
        if self.progress <= self.config.warmup_steps or self._owed > 0:
            return None
        return self.batch() if self.decisions_made % self.settings.update_every == 0 else None

    def step(self) -> int:
        """Make one decision; return how many control steps it took. The base is asked exactly once."""
        warming, before = self.is_warming_up, self.collector.env_steps
        coordinates = self.explore() if warming else self.act()
        self.execute(coordinates)
        self.decisions_made += 1
        if warming and not self.is_warming_up and self.config.demo_fraction == 0.0:
            require_success(self.collector.successes, self.collector.episodes, self.settings.min_successes)
        return self.collector.env_steps - before

    def execute(self, coordinates: np.ndarray) -> Transition:
        """Decode one choice, shape (size,), execute it until an end, and store what became of it."""
        before = self.collector.env_steps
        (transition,) = self.collector.step(self.decode(coordinates))
        executed = self.collector.env_steps - before
        if transition.discount > 0.0:
            transition = replace(transition, discount=self.config.discount**executed)
        ended = self.collector.finished
        beside = {
            "noise": coordinates,
            "terminated": float(ended is not None and ended.terminated),
            "truncated": float(ended is not None and ended.truncated),
        }
        store(self.online, [(transition, NO_RETURN)], len(self.demos.rows), beside)
        return transition

    def decode(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the chunk, normalised and flat, that one choice gives in the present state."""
        chosen = torch.from_numpy(np.float32(coordinates))[None]
        return self.decoder(self.state_now(), chosen)[0].numpy()

    def sample(self, rows: int, demo_fraction: float) -> Transitions:
        """Draw rows; their action is the executed chunk (na) or the coordinates of the noise (sac)."""
        drawn = self.online.split(sample_mixed(self.demos, self.online, rows, demo_fraction, self.generator))
        if self.settings.variant == "sac":
            drawn["action"] = drawn["noise"]
        return Transitions.of(drawn)

    def metrics(self) -> dict[str, float]:
        return super().metrics() | self.found.metrics() | {"collection/decisions": float(self.decisions_made)}

    def state(self) -> dict[str, Any]:
        return super().state() | {"decisions_made": self.decisions_made}

    def restore(self, state: Any) -> None:
        super().restore(state)
        self.decisions_made = state["decisions_made"]
