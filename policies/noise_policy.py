"""A frozen base and the actor that chooses its noise, behind the policy contract (DSRL)."""

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from policies.checkpoint import PolicyContent, check_tensors, restore_policy
from policies.learners.squashed_gaussian import SquashedGaussian
from policies.noise_decoder import NoiseDecoder, steered_by_noise
from policies.noise_space import NoiseSpace
from policies.presets import with_tuples
from policies.steerable import NOISE_GROUP
from robot.errors import ConfigError
from robot.policy import ActionChunk

SAMPLING = ("actor", "mean", "prior")


@dataclass(frozen=True)
class NoisePolicyConfig:
    """What acting needs to know of the actor and of the noise."""

    features: int
    hidden: tuple[int, ...]
    layer_norm: bool
    activation: str
    log_std: tuple[float, float]
    shape: tuple[int, ...]  # of the noise, and how it is chosen: as in `NoiseSpace`
    mode: str
    box: float
    rank: int
    active: tuple[int, ...]
    seed: int
    sampling: str = (
        "actor"  # noise drawn from the actor, its mean, or the clipped prior: the base as the actor found it
    )

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLING:
            raise ConfigError(f"sampling is '{self.sampling}', allowed: {', '.join(SAMPLING)}")

    def space(self) -> NoiseSpace:
        return NoiseSpace(self.shape, self.mode, self.box, self.rank, self.active, self.seed)

    def make_actor(self) -> SquashedGaussian:
        return SquashedGaussian(
            self.features,
            self.space().size,
            self.hidden,
            layer_norm=self.layer_norm,
            log_std=self.log_std,
            activation=self.activation,
        )


class NoisePolicy:
    """Answers with the base's chunk for the noise that the actor chooses; the base is asked once for each answer.

    What is drawn depends on the observation and on how often it was asked since the reset, so two runs of one start
    agree in any process. A chunk is as long as the base executes, and is followed as it was learned: receding.
    """

    kind = "dsrl"

    def __init__(self, decoder: NoiseDecoder, actor: SquashedGaussian, config: NoisePolicyConfig) -> None:
        self.decoder, self.actor, self.config = decoder, actor, config
        steps = decoder.steps
        self.spec = replace(decoder.base.spec, action_horizon=steps, execution_horizon=steps, execution="receding")
        self._asked = 0
        self._generator = torch.Generator()

    def reset(self) -> None:
        """Begin an episode."""
        self.decoder.base.reset()
        self._asked = 0

    @torch.inference_mode()
    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        encoded = self.decoder.encode(observation)
        self._generator.manual_seed(zlib.crc32(encoded.data, self._asked))
        self._asked += 1
        features = torch.from_numpy(encoded)[None]
        if self.config.sampling == "prior":
            coordinates = self.decoder.space.prior(1, self._generator)
        elif self.config.sampling == "mean":
            coordinates = self.actor.mode(features)
        else:
            coordinates = self.actor.sample(features, self._generator)[0]
        chunk = self.decoder(features, coordinates).reshape(self.decoder.steps, -1)
        groups = {NOISE_GROUP: self.decoder.space.noise(coordinates)[0].numpy()}
        return ActionChunk(self.decoder.base.postprocess(chunk), 1.0 / self.spec.rate_hz, groups=groups)

    def content(self) -> PolicyContent:
        base = self.decoder.base.content()
        return PolicyContent(
            kind=self.kind,
            config=asdict(self.config),
            spec=self.spec,
            tensors=dict(self.actor.state_dict()),
            statistics={},
            parts={"base": base},
            metadata={"base_sha256": base.sha256},
        )


def restore(content: PolicyContent) -> NoisePolicy:
    """Build the policy of a checkpoint, its base included."""
    config = NoisePolicyConfig(**with_tuples(content.config))
    decoder = NoiseDecoder(steered_by_noise(restore_policy(content.parts["base"])), config.space())
    actor = config.make_actor()
    check_tensors(dict(actor.state_dict()), content.tensors, "actor of 'dsrl'")
    actor.load_state_dict(content.tensors)
    return NoisePolicy(decoder, actor, config)
