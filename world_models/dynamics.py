"""The dynamics network: what new frames look like, from clean and noised frames and the actions that produced them.

Views are groups of tokens (no convolution crosses a seam). Every frame has its own noise level and its own action,
which set scale, shift and gate of every layer for the tokens of that frame alone (adaptive layer norm, one shared map
with an offset per block: Peebles & Xie 2023, Chen et al. 2023). Time attention is causal over frames and space
attention stays within one, so the keys and values of the clean frames depend on nothing new: `remember` computes them
once for all steps of a sampler. The network predicts the clean frame as a change of the present one, and begins as
"nothing moves".
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.network import SinusoidalTime
from world_models.settings import VideoModelConfig

Past = list[tuple[Tensor, Tensor]]  # of every block: keys and values over time, (B * S, heads, frames, width / heads)
PARTS = 9  # scale, shift and gate of time attention, space attention and the perceptron
TIME_SCALE = 1000.0


@dataclass(frozen=True)
class FrameFacts:
    """What is said of F frames beside their latents. Actions and commands are normalised."""

    tau: Tensor  # (B, F) 1: clean, 0: pure noise
    actions: Tensor  # (B, F, A) that produced the frame
    commands: Tensor  # (B, F, A) in force at the frame
    is_null: Tensor  # (B, F) bool: the frame was produced by nothing, or what produced it is withheld

    def part(self, frames: slice) -> "FrameFacts":
        return FrameFacts(*(value[:, frames] for value in vars(self).values()))


class Block(nn.Module):
    """Attention over time, attention over the tokens of a frame, a perceptron; each modulated by its frame."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.offsets = nn.Parameter(torch.zeros(PARTS, width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.time_in, self.time_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.space_in, self.space_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, modulation: Tensor, past: tuple[Tensor, Tensor] | None, mask: Tensor | None) -> Tensor:
        """Return tokens (B, F, S, D); `modulation` is (B, F, PARTS, D), `past` what `keys` gave for earlier frames."""
        parts = (modulation + self.offsets).unsqueeze(-2).unbind(2)
        x = x + parts[2] * self._time(self._modulated(x, parts[0], parts[1]), past, mask)
        x = x + parts[5] * self._space(self._modulated(x, parts[3], parts[4]))
        hidden = functional.gelu(self.up(self._modulated(x, parts[6], parts[7])), approximate="tanh")
        return x + parts[8] * self.down(hidden)

    def keys(self, x: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values over time of tokens that come into this block."""
        parts = (modulation[:, :, :2] + self.offsets[:2]).unsqueeze(-2).unbind(2)
        width = x.shape[-1]
        weight, bias = self.time_in.weight[width:], self.time_in.bias[width:]
        both = functional.linear(self._modulated(x, *parts), weight, bias)
        k, v = self._over_time(both, 2).unbind(0)
        return k, v

    def _modulated(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return torch.addcmul(shift, self.norm(x), 1.0 + scale)

    def _over_time(self, x: Tensor, count: int) -> Tensor:
        """Return (count, B * S, heads, F, d) of (B, F, S, count * D)."""
        batch, frames, tokens, _ = x.shape
        split = x.view(batch, frames, tokens, count, self.heads, -1)
        return split.permute(3, 0, 2, 4, 1, 5).reshape(count, batch * tokens, self.heads, frames, -1)

    def _time(self, x: Tensor, past: tuple[Tensor, Tensor] | None, mask: Tensor | None) -> Tensor:
        batch, frames, tokens, width = x.shape
        q, k, v = self._over_time(self.time_in(x), 3).unbind(0)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        mixed = _attend(q, k, v, mask, is_causal=mask is None)
        mixed = mixed.view(batch, tokens, self.heads, frames, -1).permute(0, 3, 1, 2, 4)
        return self.time_out(mixed.reshape(batch, frames, tokens, width))

    def _space(self, x: Tensor) -> Tensor:
        batch, frames, tokens, width = x.shape
        q, k, v = self.space_in(x).view(batch * frames, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = _attend(q, k, v).transpose(1, 2)
        return self.space_out(mixed.reshape(batch, frames, tokens, width))


class Dynamics(nn.Module):
    """Frames are latents (B, F, V, C, H, W); places 0 the anchor, 1..m the memory, then the new frames."""

    def __init__(self, config: VideoModelConfig, views: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        width, side = config.width, config.cells // config.patch
        self.grid = (views, config.latent_channels, side, config.patch)
        self.known = 1 + config.memory
        size = config.latent_channels * config.patch**2
        self.tokens_in, self.tokens_out = nn.Linear(size, width), nn.Linear(width, size)
        self.places = nn.Parameter(0.02 * torch.randn(self.known + config.chunk, 1, width))
        self.cells = nn.Parameter(0.02 * torch.randn(views * side * side, width))
        self.absent = nn.Parameter(0.02 * torch.randn(width))
        self.null = nn.Parameter(0.02 * torch.randn(width))
        inputs = action_dim * (2 if config.with_command else 1)
        self.action = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))
        self.level = nn.Sequential(SinusoidalTime(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, PARTS * width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.blocks))
        self.last_norm = nn.LayerNorm(width)
        nn.init.zeros_(self.tokens_out.weight)
        nn.init.zeros_(self.tokens_out.bias)
        nn.init.trunc_normal_(self.modulation[1].weight, std=0.02)  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            for block in self.blocks:
                block.offsets[[2, 5, 8]] = 0.3  # gates open a little from the start  # type: ignore[index]

    def forward(self, frames: Tensor, facts: FrameFacts, is_absent: Tensor | None = None) -> Tensor:
        """Return the clean new frames (B, F - 1 - m, V, C, H, W) that it takes the last of `frames` for.

        Args:
            frames: anchor, memory and new frames, each noised as `facts.tau` says.
            facts: of all F frames.
            is_absent: views to be hidden, (B, V) bool.
        """
        x, modulation = self._embed(frames, 0, is_absent), self._modulation(facts)
        for block in self.blocks:
            x = block(x, modulation, None, None)
        return self._clean(x[:, self.known :], frames[:, self.known - 1 : self.known])

    def remember(self, clean: Tensor, facts: FrameFacts) -> Past:
        """Return keys and values of anchor and memory, which no new frame changes."""
        x, modulation = self._embed(clean, 0, None), self._modulation(facts)
        past: Past = []
        for block in self.blocks:
            past.append(block.keys(x, modulation))  # type: ignore[operator]
            if len(past) < len(self.blocks):
                x = block(x, modulation, None, None)
        return past

    def step(self, noised: Tensor, modulation: Tensor, past: Past, present: Tensor) -> Tensor:
        """Return what `forward` does for the new frames, from what `remember` gave; `present` is (B, 1, V, C, H, W)."""
        x = self._embed(noised, self.known, None)
        mask = _causal_after(self.known, noised.shape[1], noised.device)
        for block, kept in zip(self.blocks, past, strict=True):
            x = block(x, modulation, kept, mask)
        return self._clean(x, present)

    def modulation_of(self, facts: FrameFacts) -> Tensor:
        """Return what `step` wants of the new frames, (B, F, PARTS, D)."""
        return self._modulation(facts)

    def _modulation(self, facts: FrameFacts) -> Tensor:
        read = torch.cat([facts.actions, facts.commands], dim=-1) if self.config.with_command else facts.actions
        said = torch.where(facts.is_null[..., None], self.null, self.action(read))
        return self.modulation(said + self.level(facts.tau * TIME_SCALE)).unflatten(-1, (PARTS, -1))

    def _embed(self, frames: Tensor, first: int, is_absent: Tensor | None) -> Tensor:
        x = self.tokens_in(self._patches(frames))
        if is_absent is not None:
            hidden = is_absent.repeat_interleave(self.grid[2] ** 2, dim=1)[:, None, :, None]
            x = torch.where(hidden, self.absent, x)
        return x + self.cells + self.places[first : first + frames.shape[1]]

    def _clean(self, x: Tensor, present: Tensor) -> Tensor:
        return present + self._maps(self.tokens_out(self.last_norm(x)))

    def _patches(self, frames: Tensor) -> Tensor:
        """Return (B, F, V * side * side, C * patch * patch)."""
        views, channels, side, patch = self.grid
        cut = frames.reshape(*frames.shape[:2], views, channels, side, patch, side, patch)
        return cut.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*frames.shape[:2], views * side * side, -1)

    def _maps(self, patches: Tensor) -> Tensor:
        views, channels, side, patch = self.grid
        cut = patches.view(*patches.shape[:2], views, side, side, channels, patch, patch)
        maps = cut.permute(0, 1, 2, 5, 3, 6, 4, 7)
        return maps.reshape(*patches.shape[:2], views, channels, side * patch, side * patch)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, is_causal: bool = False) -> Tensor:
    """Return attention; on a processor in full precision, since its gradient in bfloat16 takes ten times as long."""
    if q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)
    with torch.autocast("cpu", enabled=False):
        q, k, v = q.float(), k.float(), v.float()
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)


def _causal_after(known: int, count: int, device: torch.device) -> Tensor:
    """Return which of `known + count` frames each of the last `count` may look at, (count, known + count) bool."""
    return torch.ones(count, known + count, dtype=torch.bool, device=device).tril(known)
