"""What each phase of a world model's training minimises. Everything random comes from torch's global generator."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from world_models.codec import Codec
from world_models.contract import History
from world_models.dynamics import FrameFacts
from world_models.noise_levels import add_noise, draw_levels, loss_weight
from world_models.settings import VideoModelConfig
from world_models.success_head import SuccessHead
from world_models.video_model import VideoNetwork, VideoWorldModel

SEEDS = 2**31
Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class ImageBatch:
    """Images (N, S, S, 3) uint8 and the number of the view of each (N,)."""

    images: Tensor
    views: Tensor

    def pixels(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return images (N, 3, S, S) in [0, 1] and views."""
        return self.images.to(device).permute(0, 3, 1, 2).float() / 255.0, self.views.to(device)


@dataclass(frozen=True)
class WindowBatch:
    """Windows of anchor, memory (m) and T new frames, as `world_models.data` cuts them; in station units."""

    frames: Tensor  # (B, 1 + m + T, V, C, H, W) latents
    changes: Tensor  # (B, T, V, H, W) weights of the new frames
    actions: Tensor  # (B, m + T, A) that produced memory and new frames
    commands: Tensor  # (B, 1 + m + T, A) in force
    is_null: Tensor  # (B, m) bool
    success: Tensor  # (B, 1 + m + T)

    def to(self, device: torch.device) -> "WindowBatch":
        return WindowBatch(**{name: value.to(device) for name, value in vars(self).items()})

    def history(self, step_s: float) -> History:
        """Return what a call would be given for these windows."""
        memory = self.is_null.shape[1]
        return History(
            anchor=self.frames[:, 0],
            memory=self.frames[:, 1 : 1 + memory],
            actions=self.actions[:, :memory],
            is_null=self.is_null,
            commands=self.commands[:, : 1 + memory],
            step_s=step_s,
        )


def codec_loss(codec: Codec, batch: ImageBatch) -> tuple[Tensor, Metrics]:
    images, views = batch.pixels(codec.backgrounds.device)
    loss = codec.loss(images, views)
    return loss, {"loss": loss.detach()}


def dynamics_loss(model: VideoWorldModel) -> Callable[[VideoNetwork, WindowBatch], tuple[Tensor, Metrics]]:
    """Return the loss of dynamics and head: x-prediction flow with per-frame noise, and the label of each frame."""
    config, scale = model.config, model.scale

    def loss(network: VideoNetwork, batch: WindowBatch) -> tuple[Tensor, Metrics]:
        batch = batch.to(model.device)
        size, known = len(batch.frames), 1 + config.memory
        tau = draw_levels(config, size, model.device)
        noise = torch.randn_like(batch.frames)
        if config.deterministic:
            noise[:, known:] = 0.0
        facts = _facts(batch, model, tau)
        is_dropped = torch.rand(size, 1, device=model.device) < config.action_dropout
        facts = replace(facts, is_null=facts.is_null | is_dropped)
        is_absent = _hidden_views(config, size, batch.frames.shape[2], model.device)
        predicted = network.dynamics(add_noise(batch.frames, tau, noise), facts, is_absent)
        error = (predicted.float() - batch.frames[:, known:]).square().mean(dim=3)
        level = torch.ones_like(tau) if config.deterministic else loss_weight(tau, config.level_ramp)
        shown = (~is_absent).float()[:, None, :, None, None]
        weight = level[:, known:, None, None, None] * batch.changes * shown
        flow = (weight * error).sum() / weight.sum()
        commands = scale.commands(batch.commands)
        truth = _labelled(network.head, batch.frames, commands, batch.success, None)
        trust = torch.ones_like(tau[:, known:]) if config.deterministic else tau[:, known:].square()
        made = _labelled(network.head, predicted.detach().float(), commands[:, known:], batch.success[:, known:], trust)
        total = flow + config.head_weight * (truth + made)
        return total, {"loss": flow.detach(), "head_loss": truth.detach(), "head_loss_imagined": made.detach()}

    return loss


def head_loss(model: VideoWorldModel) -> Callable[[SuccessHead, WindowBatch], tuple[Tensor, Metrics]]:
    """Return the loss of the head alone: on true frames, and on chained calls of the model whose outcome is known."""

    def loss(head: SuccessHead, batch: WindowBatch) -> tuple[Tensor, Metrics]:
        batch = batch.to(model.device)
        known = 1 + model.config.memory
        steps = 1 if torch.rand(()) < 0.5 else model.config.sample_steps
        made = replay(model, batch, steps)
        commands = model.scale.commands(batch.commands)
        truth = _labelled(head, batch.frames, commands, batch.success, None)
        replayed = _labelled(head, made, commands[:, known:], batch.success[:, known:], None)
        return truth + replayed, {"loss": truth.detach(), "loss_replayed": replayed.detach()}

    return loss


def replay(model: VideoWorldModel, batch: WindowBatch, steps: int) -> Tensor:
    """Return what the model imagines in place of a batch's new frames, call after call from its own output."""
    memory, chunk = model.config.memory, model.config.chunk
    history, parts = batch.history(model.spec.step_s), []
    for start in range(memory, batch.actions.shape[1], chunk):
        actions = batch.actions[:, start : start + chunk]
        seeds = torch.randint(SEEDS, (len(actions),)).tolist()
        made = model.imagine(history, actions, seeds, steps=steps, with_uncertainty=False)
        history = history.after(made.latents, actions, made.commands)
        parts.append(made.latents)
    return torch.cat(parts, dim=1)


def _facts(batch: WindowBatch, model: VideoWorldModel, tau: Tensor) -> FrameFacts:
    first = torch.ones(len(tau), 1, dtype=torch.bool, device=tau.device)
    new = torch.zeros(len(tau), model.config.chunk, dtype=torch.bool, device=tau.device)
    actions = torch.cat([torch.zeros_like(batch.actions[:, :1]), batch.actions], dim=1)
    return FrameFacts(
        tau=tau,
        actions=model.scale.actions(actions),
        commands=model.scale.commands(batch.commands),
        is_null=torch.cat([first, batch.is_null, new], dim=1),
    )


def _hidden_views(config: VideoModelConfig, size: int, views: int, device: torch.device) -> Tensor:
    """Return which views are withheld, (size, views) bool; never all of a window."""
    hidden = torch.rand(size, views, device=device) < config.view_dropout
    return hidden & ~hidden.all(dim=1, keepdim=True)


def _labelled(head: SuccessHead, frames: Tensor, commands: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    """Return the binary cross-entropy of the head's labels."""
    if weight is None:
        return functional.binary_cross_entropy_with_logits(head(frames, commands).float(), labels)
    each = functional.binary_cross_entropy_with_logits(head(frames, commands).float(), labels, reduction="none")
    return (weight * each).sum() / weight.sum().clamp(min=1e-6)
