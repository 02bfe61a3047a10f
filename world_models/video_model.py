"""The action-conditioned video world model: codec, dynamics and success head behind the contract, and its file.

A call encodes anchor and memory once, then takes Euler steps of the flow from noise to frames; latents are kept from
call to call and decoded only where somebody looks (no drift from 8-bit round trips).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.checkpoint import check_tensors
from policies.network import seeded
from policies.state_file import read_tree, write_tree
from robot.errors import CheckpointMismatch, ConfigError
from world_models.codec import Codec
from world_models.contract import (
    Frames,
    History,
    Imagined,
    WorldModelSpec,
    check_actions,
    check_history,
    check_views,
)
from world_models.dynamics import Dynamics, FrameFacts, Past
from world_models.settings import VideoModelConfig
from world_models.success_head import SuccessHead

KIND = "video_world_model"
MODEL_FILE = "world_model.safetensors"  # in the folder of a run
IMAGES_AT_ONCE = 512
CONSTANT = 1e-6  # half range of a dimension that the data never moved: it is left in its own units


@dataclass(frozen=True)
class ActionScale:
    """Middle and half range of actions and commands, 1st to 99th percentile of the data, each (A,) in station units."""

    action_middle: Tensor
    action_half: Tensor
    command_middle: Tensor
    command_half: Tensor

    @classmethod
    def fit(cls, actions: Tensor, commands: Tensor) -> "ActionScale":
        """Return the scale of actions (N, A) and commands (N, A)."""
        return cls(*_middle_and_half(actions), *_middle_and_half(commands))

    def actions(self, actions: Tensor) -> Tensor:
        return (actions.float() - self.action_middle) / self.action_half

    def commands(self, commands: Tensor) -> Tensor:
        return (commands.float() - self.command_middle) / self.command_half

    def to(self, device: str | torch.device) -> "ActionScale":
        return ActionScale(**{name: value.to(device) for name, value in vars(self).items()})


class VideoNetwork(nn.Module):
    """All that is learned, in one module; `feature_scale` is the size of the head's features on true frames."""

    feature_scale: Tensor

    def __init__(self, config: VideoModelConfig, spec: WorldModelSpec) -> None:
        super().__init__()
        views = len(spec.views)
        self.codec = Codec(config, views)
        self.dynamics = Dynamics(config, views, spec.action_dim)
        self.head = SuccessHead(config, views, spec.action_dim)
        self.register_buffer("feature_scale", torch.ones(()))


class VideoWorldModel:
    """A `world_models.contract.WorldModel`; use it from one thread."""

    def __init__(
        self, spec: WorldModelSpec, config: VideoModelConfig, scale: ActionScale, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.spec, self.config = spec, config
        self.metadata: dict[str, Any] = {}
        with seeded(seed):
            self.network = VideoNetwork(config, spec)
        self.scale = scale
        self.to(device)

    def to(self, device: str) -> "VideoWorldModel":
        """Move the weights; histories and seeds may come from anywhere."""
        self.device = torch.device(device)
        self.network.to(self.device)
        self.scale = self.scale.to(self.device)
        return self

    @torch.no_grad()
    def encode(self, frames: Frames) -> Tensor:
        check_views(self.spec, frames)
        batch, count = next(iter(frames.values())).shape[:2]
        maps = []
        for number, view in enumerate(self.spec.views):
            images = torch.from_numpy(np.ascontiguousarray(frames[view])).flatten(0, 1)
            maps.append(torch.cat([self._encode(part, number) for part in images.split(IMAGES_AT_ONCE)]))
        return torch.stack(maps, dim=1).unflatten(0, (batch, count))

    def _encode(self, images: Tensor, view: int) -> Tensor:
        pixels = images.to(self.device).permute(0, 3, 1, 2).float() / 255.0
        return self.network.codec.encode(pixels, torch.full((len(images),), view, device=self.device))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> dict[str, np.ndarray]:
        if latents.ndim != 6 or tuple(latents.shape[2:]) != self.spec.frame_shape:
            raise CheckpointMismatch(
                f"latents: expected (B, T, *{self.spec.frame_shape}), found {tuple(latents.shape)}"
            )
        frames = {}
        for number, view in enumerate(self.spec.views):
            flat = latents[:, :, number].flatten(0, 1)
            images = torch.cat([self._decode(part, number) for part in flat.split(IMAGES_AT_ONCE)])
            frames[view] = images.unflatten(0, latents.shape[:2]).numpy()
        return frames

    def _decode(self, latents: Tensor, view: int) -> Tensor:
        numbers = torch.full((len(latents),), view, device=self.device)
        pixels = self.network.codec.decode(latents.to(self.device, torch.float32), numbers)
        return (pixels.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()

    @torch.no_grad()
    def imagine(
        self,
        history: History,
        actions: Tensor,
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        with_uncertainty: bool = True,
    ) -> Imagined:
        check_history(self.spec, history)
        check_actions(self.spec, history, actions, seeds)
        steps = self.config.sample_steps if steps is None else steps
        if steps < 1:
            raise ConfigError(f"sampler steps: expected 1 or more, found {steps}")
        steps = 1 if self.config.deterministic else steps  # it knows no frames between noise and clean
        actions = actions.to(self.device)
        commands = self.spec.commands_after(actions, history.commands[:, -1].to(self.device))
        draws = 2 if with_uncertainty and not self.config.deterministic else 1
        noise = self._noise(seeds, actions.shape[1], draws)
        frames = self.sample(history, actions, commands, noise, steps)
        scaled = self.scale.commands(commands)
        features = self.network.head.features(frames, scaled.expand(draws, *scaled.shape))
        success = torch.sigmoid(self.network.head.last(features[0])).squeeze(-1)
        return Imagined(frames[0], success, self._disagreement(features), commands)

    def sample(self, history: History, actions: Tensor, commands: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Return frames (draws, B, T, V, C, H, W) from noise of that shape by Euler steps of the flow."""
        draws = len(noise)
        clean, facts = self.clean_part(history)
        past = _repeated(self.network.dynamics.remember(clean, facts), draws)
        present = clean[:, -1:].repeat(draws, 1, 1, 1, 1, 1)
        new = self.new_facts(actions, commands)
        x = noise.flatten(0, 1)
        levels = torch.arange(steps, device=self.device) / steps
        for number, parts in enumerate(self.network.dynamics.parts_of(new, levels, draws)):
            clean_x = self.network.dynamics.step(x, parts, past, present)
            x = clean_x if number + 1 == steps else torch.lerp(x, clean_x, 1.0 / (steps - number))
        return x.unflatten(0, (draws, -1))

    def clean_part(self, history: History) -> tuple[Tensor, FrameFacts]:
        """Return anchor and memory as one row of frames, and what is said of them."""
        clean = torch.cat([history.anchor[:, None], history.memory], dim=1).to(self.device, torch.float32)
        actions = history.actions.to(self.device)
        first = torch.ones(len(clean), 1, dtype=torch.bool, device=self.device)
        facts = FrameFacts(
            tau=torch.ones(clean.shape[:2], device=self.device),
            actions=self.scale.actions(torch.cat([torch.zeros_like(actions[:, :1]), actions], dim=1)),
            commands=self.scale.commands(history.commands.to(self.device)),
            is_null=torch.cat([first, history.is_null.to(self.device)], dim=1),
        )
        return clean, facts

    def new_facts(self, actions: Tensor, commands: Tensor) -> FrameFacts:
        """Return what is said of new frames, as pure noise."""
        return FrameFacts(
            tau=torch.zeros(actions.shape[:2], device=self.device),
            actions=self.scale.actions(actions),
            commands=self.scale.commands(commands),
            is_null=torch.zeros(actions.shape[:2], dtype=torch.bool, device=self.device),
        )

    def _noise(self, seeds: Sequence[int], count: int, draws: int) -> Tensor:
        """Return (draws, B, count, V, C, H, W): every item from its own seed, zeros of a deterministic model."""
        shape = (draws, count, *self.spec.frame_shape)
        if self.config.deterministic:
            return torch.zeros(draws, len(seeds), *shape[1:], device=self.device)
        drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        return torch.stack(drawn, dim=1).to(self.device)

    def _disagreement(self, features: Tensor) -> Tensor:
        if len(features) == 2:
            return (features[0] - features[1]).square().mean(-1).sqrt() / self.network.feature_scale
        return torch.full(features.shape[1:3], 0.0 if self.config.deterministic else torch.nan, device=self.device)

    def save(self, path: Path, **metadata: Any) -> str:
        """Write everything that is needed to load it again; return the file's sha256."""
        tree = {
            "kind": KIND,
            "spec": self.spec.to_json(),
            "config": asdict(self.config),
            "scale": vars(self.scale),
            "tensors": dict(self.network.state_dict()),
            "metadata": self.metadata | metadata,
        }
        return write_tree(path, {"world_model": tree})

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> "VideoWorldModel":
        """Read a model's file; CheckpointMismatch where it is none, is damaged or of another version."""
        tree = read_tree(path)
        tree = tree.get("world_model") if isinstance(tree, dict) else None
        if not isinstance(tree, dict) or tree.get("kind") != KIND:
            found = tree.get("kind") if isinstance(tree, dict) else "another kind of checkpoint"
            raise CheckpointMismatch(
                f"{path}: expected a {KIND}, found {found}; give the model file that `tandem imagine train` wrote"
            )
        model = cls(WorldModelSpec.from_json(tree["spec"]), config_from(tree["config"]), ActionScale(**tree["scale"]))
        check_tensors(model.network.state_dict(), tree["tensors"], f"the world model {path}")
        model.network.load_state_dict(tree["tensors"])
        model.network.eval()
        model.metadata = dict(tree["metadata"])
        return model.to(device)


def config_from(tree: Mapping[str, Any]) -> VideoModelConfig:
    """Return settings out of their stored form; CheckpointMismatch where another version wrote them."""
    known = {item.name for item in fields(VideoModelConfig)}
    if set(tree) != known:
        odd = sorted(set(tree) ^ known)
        raise CheckpointMismatch(f"the world model's settings are another version's: {', '.join(odd)}; train it again")
    values: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in tree.items()}
    return VideoModelConfig(**values)


def _middle_and_half(values: Tensor) -> tuple[Tensor, Tensor]:
    low, high = torch.quantile(values.double(), torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0).float()
    half = (high - low) / 2
    return (low + high) / 2, torch.where(half < CONSTANT, 1.0, half)


def _repeated(past: Past, draws: int) -> Past:
    return past if draws == 1 else [(k.repeat(draws, 1, 1, 1), v.repeat(draws, 1, 1, 1)) for k, v in past]
