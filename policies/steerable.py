"""Steerable policies: observation -> encode -> features; features and noise -> decode -> chunk, the same every time.

Whatever is random about a policy is in its noise (DESIGN section 3): who holds the noise holds the behaviour. So one
class is the whole policy of every family; families differ in their network only.
"""

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from policies.checkpoint import PolicyContent, check_tensors
from policies.data.chunks import ChunkBatch
from policies.inpainting import soft_mask
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import flatten, flatten_batch, images_of
from robot.errors import CheckpointMismatch, ConfigError
from robot.policy import ActionChunk, PolicySpec

NOISE_GROUP = "policy/latent_noise"  # where a chunk says which noise it was decoded from
NoiseSpec = tuple[tuple[int, ...], str]  # shape without batch axis, and the prior: "normal" is N(0, I)
ENCODERS = ("small", "resnet18", "frozen")


@dataclass(frozen=True)
class BaseConfig:
    """What every family of base policies is set by. Chunks are in normalised units, [-1, 1] the demonstrated range."""

    action_horizon: int = 16
    execution_horizon: int = 16
    obs_horizon: int = 1  # observations seen, the present one included
    steps: int = 4000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    beta1: float = 0.9
    warmup_steps: int = 0
    cosine: bool = False  # learning rate falls to zero over `steps`
    average_power: float = 0.0  # policy = moving average, decay 1 - (1 + n) ** -power; 0: the last weights
    state_std_floor: float = 0.01  # in the units of the state [m, rad, ...]
    half_range_floor: float = 0.05  # share of the world's action box
    execution: str = "receding"  # how chunks are executed, as in `robot.chunk_runner`
    sampling: str = "prior"  # noise where none is given: drawn from the prior, or its mean
    encoder: str = "small"  # of images: small, resnet18 or frozen
    encoder_path: str = ""  # of a frozen one
    image_features: int = 64  # per camera
    crop_share: float = 0.9  # side of the crop; at random while training, the middle one otherwise
    depth_range_m: float = 2.0
    device: str = "cpu"  # to train on
    precision: str = "float32"  # of training; policies always act in float32
    compiled: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.execution_horizon <= self.action_horizon:
            raise ConfigError(
                f"execution_horizon {self.execution_horizon} must lie in 1..action_horizon ({self.action_horizon})"
            )
        if self.obs_horizon < 1:
            raise ConfigError(f"obs_horizon is {self.obs_horizon}, it must be 1 or more")
        _one_of("sampling", self.sampling, ("prior", "mean"))
        _one_of("encoder", self.encoder, ENCODERS)
        _one_of("precision", self.precision, ("float32", "bfloat16"))
        if not 0.0 < self.crop_share <= 1.0:
            raise ConfigError(f"crop_share is {self.crop_share}, allowed: above 0, up to 1")


def _one_of(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{setting} is '{value}', allowed: {', '.join(allowed)}")


class PolicyNetwork(Protocol):
    """What a family adds: a torch module with these methods, all in normalised units.

    Built as `Network(observation_shapes, action_dim, config, archive)`; `archive` holds a frozen image encoder.
    """

    noise_spec: NoiseSpec | None

    def encode(self, states: Tensor, images: Mapping[str, Tensor]) -> Tensor:
        """Return features, shape (batch, ...), of flat states (batch, state) and images (batch, H, W[, 3])."""
        ...

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return chunks, shape (batch, action_horizon, action_dim); a function of its arguments alone."""
        ...

    def loss(self, batch: ChunkBatch) -> Tensor:
        """Return the mean loss of a batch; padded steps count nothing. Draws from torch's global generator."""
        ...


@runtime_checkable
class ContinuingNetwork(Protocol):
    """A network whose chunk can lean to another one while it is being decoded."""

    def decode_after(self, features: Tensor, noise: Tensor, planned: Tensor, weights: Tensor) -> Tensor:
        """Return chunks as `decode`, drawn to `planned` by `weights`, shape (action_horizon, 1), of 0 to 1."""
        ...


class SteerablePolicy:
    """A policy of any family: numpy at the door, torch inside. A family is a subclass that names its parts."""

    kind: ClassVar[str]
    Config: ClassVar[type[BaseConfig]]
    Network: ClassVar[Any]

    def __init__(
        self,
        spec: PolicySpec,
        config: Any,
        states: StateNormalizer,
        actions: ActionLimits,
        network: nn.Module | None = None,
    ) -> None:
        self.spec, self.config, self.states, self.actions = spec, config, states, actions
        made: Any = (
            self.Network(spec.observation_shapes, len(spec.action_names), config) if network is None else network
        )
        self.network = made.eval()
        self._asked = 0
        self._generator = torch.Generator()

    @property
    def noise_spec(self) -> NoiseSpec | None:
        """Shape and prior of the noise for one chunk; None where the policy cannot be steered."""
        return self.network.noise_spec

    def reset(self) -> None:
        """Begin an episode: noise that is drawn here depends on the observation and on how often it was asked since."""
        self._asked = 0

    def encode(self, states: np.ndarray, images: Mapping[str, np.ndarray] | None = None) -> Tensor:
        """Return features, shape (batch, ...), of flat states (batch, state) and images (batch, H, W[, 3]).

        With obs_horizon > 1 states are (batch, obs_horizon, state), images (batch, obs_horizon, H, W[, 3]).
        """
        if self.network.training:
            self.network.eval()
        tensors = {name: torch.from_numpy(np.ascontiguousarray(image)) for name, image in (images or {}).items()}
        return self.network.encode(torch.from_numpy(self.states.normalize(states)), tensors)

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return normalised chunks, shape (batch, action_horizon, action_dim), bit-equal for equal arguments.

        Args:
            features: of `encode`.
            noise: shape (batch, *noise_spec[0]), float32; None only where the policy cannot be steered.
        """
        if self.network.training:
            self.network.eval()
        spec = self.noise_spec
        expected = None if spec is None else (len(features), *spec[0])
        found = None if noise is None else tuple(noise.shape)
        if expected is not None and found != expected:
            raise CheckpointMismatch(f"noise of shape {expected} is needed, got {found or 'none'}")
        return self.network.decode(features, noise)

    def postprocess(self, chunks: Tensor) -> np.ndarray:
        """Clip to the demonstrated range and un-normalise; the one place that does."""
        return self.actions.denormalize(chunks.clamp(-1.0, 1.0).numpy().astype(np.float64))

    def draw_noise(self, states: np.ndarray, images: Mapping[str, np.ndarray] | None = None) -> Tensor | None:
        """Return noise for observations, as `config.sampling` says; None where the policy cannot be steered.

        Drawn from the prior, it is a function of the observations and of the number of answers since the reset: two
        runs of one start agree, in any process, and two starts are independent.
        """
        if self.noise_spec is None:
            return None
        shape = (len(states), *self.noise_spec[0])
        if self.config.sampling == "mean":
            return torch.zeros(shape)
        digest = zlib.crc32(np.ascontiguousarray(states).data, self._asked)
        for image in (images or {}).values():
            digest = zlib.crc32(np.ascontiguousarray(image).data, digest)
        return torch.randn(shape, generator=self._generator.manual_seed(digest))

    @torch.inference_mode()
    def act_states(
        self,
        states: np.ndarray,
        images: Mapping[str, np.ndarray] | None = None,
        noise: Tensor | None = None,
    ) -> np.ndarray:
        """Return chunks in station units for flat states, shape (batch, action_horizon, action_dim)."""
        noise = self.draw_noise(states, images) if noise is None else noise
        return self.postprocess(self.decode(self.encode(states, images), noise))

    def act_batch(self, observations: Mapping[str, np.ndarray], noise: Tensor | None = None) -> np.ndarray:
        """Return chunks for observations with a leading batch axis, before that of time if obs_horizon > 1."""
        return self.act_states(*self._flat(observations), noise)

    def _flat(self, observations: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return states and images of a batch, as `encode` takes them."""
        shapes, steps = self.spec.observation_shapes, self.spec.obs_horizon
        images = images_of(observations, shapes)
        if steps == 1:
            return flatten_batch(observations, shapes), images
        each = ({name: values[:, step] for name, values in observations.items()} for step in range(steps))
        return np.stack([flatten_batch(one, shapes) for one in each], axis=1), images

    def act(self, observation: Mapping[str, np.ndarray], noise: np.ndarray | None = None) -> ActionChunk:
        """Return the chunk for one observation, and in its groups the noise it was decoded from.

        Args:
            observation: arrays without a batch axis.
            noise: shape `noise_spec[0]`, to steer by; None: as `config.sampling` says.
        """
        states, images, drawn = self._asked_for(observation, noise)
        return self._answer(self.act_states(states, images, drawn)[0], drawn)

    def act_after(
        self,
        observation: Mapping[str, np.ndarray],
        planned: np.ndarray,
        frozen: int,
        noise: np.ndarray | None = None,
    ) -> ActionChunk:
        """Return a chunk that begins with the first `frozen` actions of `planned` and leans to the rest of them.

        A family whose network has no `decode_after` answers as it always does; its runner freezes the beginning.

        Args:
            observation: arrays without a batch axis.
            planned: actions in station units, shape (points >= frozen, action_dim), for the chunk's first points.
            frozen: how many of them will be executed whatever the answer is.
            noise: as in `act`.
        """
        if not isinstance(self.network, ContinuingNetwork):
            return self.act(observation, noise)
        states, images, drawn = self._asked_for(observation, noise)
        assert drawn is not None
        count = min(len(planned), self.spec.action_horizon)
        towards = torch.zeros(1, self.spec.action_horizon, len(self.spec.action_names))
        towards[0, :count] = torch.from_numpy(self.actions.normalize(planned[:count]))
        weights = soft_mask(frozen, count, self.spec.action_horizon)
        with torch.no_grad():  # not inference mode: the solver differentiates
            decoded = self.network.decode_after(self.encode(states, images), drawn, towards, weights)
        actions = self.postprocess(decoded)[0]
        actions[:frozen] = planned[:frozen]
        return self._answer(actions, drawn)

    def _asked_for(
        self, observation: Mapping[str, np.ndarray], noise: np.ndarray | None
    ) -> tuple[np.ndarray, dict[str, np.ndarray], Tensor | None]:
        """Return states, images and noise of one observation, each with a batch axis, and count the question."""
        shapes = self.spec.observation_shapes
        if self.spec.obs_horizon == 1:
            states = flatten(observation, shapes)[None]
            images = {name: image[None] for name, image in images_of(observation, shapes).items()}
        else:
            states, images = self._flat({name: values[None] for name, values in observation.items()})
        drawn = self.draw_noise(states, images) if noise is None else torch.from_numpy(np.float32(noise))[None]
        self._asked += 1
        return states, images, drawn

    def _answer(self, actions: np.ndarray, noise: Tensor | None) -> ActionChunk:
        groups = {} if noise is None else {NOISE_GROUP: noise[0].numpy()}
        return ActionChunk(actions, 1.0 / self.spec.rate_hz, groups=groups)

    def content(self) -> PolicyContent:
        return PolicyContent(
            kind=self.kind,
            config=asdict(self.config),
            spec=self.spec,
            tensors=dict(self.network.state_dict()),
            statistics={"states": self.states.statistics(), "actions": self.actions.statistics()},
        )

    @classmethod
    def restore(cls, content: PolicyContent) -> Self:
        """Build the policy of a checkpoint from the checkpoint alone."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.config.items()
        }
        config, spec = cls.Config(**values), content.spec
        archive = content.tensors.get("encoder.archive")
        network = cls.Network(spec.observation_shapes, len(spec.action_names), config, archive)
        check_tensors(dict(network.state_dict()), content.tensors, cls.__doc__ or cls.kind)
        network.load_state_dict(content.tensors)
        return cls(
            spec,
            config,
            StateNormalizer.from_statistics(content.statistics.get("states", {})),
            ActionLimits.from_statistics(content.statistics.get("actions", {})),
            network,
        )


def masked_mean(errors: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of errors (batch, horizon, action) over the steps that mask (batch, horizon, 1) keeps."""
    return (errors * mask).sum() / (mask.sum() * errors.shape[-1])
