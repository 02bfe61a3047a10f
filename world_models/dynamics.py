"""The dynamics network: what new frames look like, from clean and noised frames and the actions that produced them.

Views are groups of tokens (no convolution crosses a seam). Every frame has its own noise level and its own action,
which set scale, shift and gate of every layer for the tokens of that frame alone (adaptive layer norm, one shared map
with an offset per block: Peebles & Xie 2023, Chen et al. 2023). Time attention is causal over frames and space
attention stays within one, so the keys and values of the clean frames depend on nothing new: `remember` computes them
once for all steps of a sampler. The network predicts the clean frame as a change of the present one, and begins as
"nothing moves".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.network import SinusoidalTime
from world_models.settings import VideoModelConfig

Kept = tuple[Tensor, Tensor]  # keys and values over time, (B * S, heads, frames, width / heads)
Past = list[Kept]  # of every block
Parts = tuple[Tensor, ...]  # scale, shift and gate of time attention, space attention and the perceptron: (B, F, 1, D)
PARTS = 9
SCALES, GATES = [0, 3, 6], [2, 5, 8]
OPEN = 0.3  # of a gate at the start
CODE = 0.5  # standard deviation of what one entry of a code says at the start
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
        offsets = torch.zeros(PARTS, width)
        offsets[SCALES], offsets[GATES] = 1.0, OPEN
        self.offsets = nn.Parameter(offsets)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.time_in, self.time_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.space_in, self.space_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def parts(self, modulation: Tensor) -> Parts:
        """Return scale, shift and gate of the three steps of this block, of a modulation (B, F, PARTS, D)."""
        return (modulation + self.offsets).unsqueeze(-2).unbind(2)

    def forward(
        self, x: Tensor, parts: Parts, past: Kept | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Kept]:
        """Return tokens (B, F, S, D), and their keys and values over time.

        Args:
            x: tokens, (B, F, S, D).
            parts: what `parts` gave.
            past: keys and values of earlier frames.
            mask: who may look at whom, 0 or minus infinity, (F, earlier + F); None: each frame at those up to its own.
        """
        q, *kept = self._over_time(self.time_in(self._modulated(x, parts[0], parts[1])), 3).unbind(0)
        k, v = kept if past is None else (torch.cat(pair, dim=2) for pair in zip(past, kept, strict=True))
        x = torch.addcmul(x, parts[2], self._over_tokens(_attend(q, k, v, mask, is_causal=mask is None), x))
        x = torch.addcmul(x, parts[5], self._space(self._modulated(x, parts[3], parts[4])))
        hidden = functional.gelu(self.up(self._modulated(x, parts[6], parts[7])), approximate="tanh")
        return torch.addcmul(x, parts[8], self.down(hidden)), (kept[0], kept[1])

    def keys(self, x: Tensor, parts: Parts) -> Kept:
        """Return keys and values over time of tokens that come into this block, and nothing else."""
        width = x.shape[-1]
        weight, bias = self.time_in.weight[width:], self.time_in.bias[width:]
        both = functional.linear(self._modulated(x, parts[0], parts[1]), weight, bias)
        k, v = self._over_time(both, 2).unbind(0)
        return k, v

    def _modulated(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return torch.addcmul(shift, self.norm(x), scale)

    def _over_time(self, x: Tensor, count: int) -> Tensor:
        """Return (count, B * S, heads, F, d) of (B, F, S, count * D)."""
        batch, frames, tokens, _ = x.shape
        split = x.view(batch, frames, tokens, count, self.heads, -1)
        return split.permute(3, 0, 2, 4, 1, 5).reshape(count, batch * tokens, self.heads, frames, -1)

    def _over_tokens(self, mixed: Tensor, like: Tensor) -> Tensor:
        """Return what attention over time mixed, (B * S, heads, F, d), as tokens (B, F, S, D)."""
        batch, frames, tokens, width = like.shape
        mixed = mixed.view(batch, tokens, self.heads, frames, -1).permute(0, 3, 1, 2, 4)
        return self.time_out(mixed.reshape(batch, frames, tokens, width))

    def _space(self, x: Tensor) -> Tensor:
        batch, frames, tokens, width = x.shape
        q, k, v = self.space_in(x).view(batch * frames, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = _attend(q, k, v).transpose(1, 2)
        return self.space_out(mixed.reshape(batch, frames, tokens, width))


class Dynamics(nn.Module):
    """Frames are latents (B, F, V, C, H, W); places 0 the anchor, 1..m the memory, then the new frames."""

    blocks: Sequence[Block]

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
        inputs = action_dim * (2 if config.with_command else 1) * (1 + config.code_bins)
        reader = nn.Linear(inputs, width)
        nn.init.normal_(reader.weight, std=CODE)  # few entries of a code are not 0
        self.action = nn.Sequential(reader, nn.SiLU(), nn.Linear(width, width))
        self.level = nn.Sequential(SinusoidalTime(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, PARTS * width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.blocks))  # type: ignore[assignment]
        self.last_norm = nn.LayerNorm(width)
        nn.init.zeros_(self.tokens_out.weight)
        nn.init.zeros_(self.tokens_out.bias)
        nn.init.trunc_normal_(self.modulation[1].weight, std=0.02)  # pyright: ignore[reportArgumentType]

    def forward(self, frames: Tensor, facts: FrameFacts, is_absent: Tensor | None = None) -> Tensor:
        """Return the clean new frames (B, F - 1 - m, V, C, H, W) that it takes the last of `frames` for.

        Args:
            frames: anchor, memory and new frames, each noised as `facts.tau` says.
            facts: of all F frames.
            is_absent: views to be hidden, (B, V) bool.
        """
        x, modulation = self._embed(frames, 0, is_absent), self._modulation(facts)
        for block in self.blocks:
            x, _ = block(x, block.parts(modulation))
        return self._clean(x[:, self.known :], frames[:, self.known - 1 : self.known])

    def remember(self, clean: Tensor, facts: FrameFacts) -> Past:
        """Return keys and values of anchor and memory, which no new frame changes."""
        x, modulation = self._embed(clean, 0, None), self._modulation(facts)
        past: Past = []
        for block in self.blocks[:-1]:
            x, kept = block(x, block.parts(modulation))
            past.append(kept)
        last = self.blocks[-1]
        return [*past, last.keys(x, last.parts(modulation))]

    def step(self, noised: Tensor, parts: list[Parts], past: Past, present: Tensor) -> Tensor:
        """Return what `forward` does for the new frames, from what `remember` gave.

        Args:
            noised: the new frames.
            parts: one level of what `parts_of` gave.
            past: what `remember` gave.
            present: the newest memory frame, (B, 1, V, C, H, W).
        """
        x = self._embed(noised, self.known, None)
        mask = _causal_after(self.known, noised.shape[1], noised.device)
        for block, given, kept in zip(self.blocks, parts, past, strict=True):
            x, _ = block(x, given, kept, mask)
        return self._clean(x, present)

    def parts_of(self, facts: FrameFacts, levels: Tensor, draws: int) -> list[list[Parts]]:
        """Return what `step` wants of new frames, for every noise level (L,) that a sampler passes and every block.

        Each draw of several goes through the same ones; `facts.tau` is not read.
        """
        level = self.level(levels * TIME_SCALE)[:, None, None]
        modulation = self._modulation_of(self._said(facts) + level).repeat(1, draws, 1, 1, 1)
        return [[block.parts(each) for block in self.blocks] for each in modulation]

    def _modulation(self, facts: FrameFacts) -> Tensor:
        return self._modulation_of(self._said(facts) + self.level(facts.tau * TIME_SCALE))

    def _said(self, facts: FrameFacts) -> Tensor:
        """Return what actions and commands say of each frame, (B, F, D)."""
        read = torch.cat([facts.actions, facts.commands], dim=-1) if self.config.with_command else facts.actions
        if self.config.code_bins:
            read = torch.cat([read, two_hot(read, self.config.code_bins)], dim=-1)
        return torch.where(facts.is_null[..., None], self.null, self.action(read))

    def _modulation_of(self, said: Tensor) -> Tensor:
        return self.modulation(said).unflatten(-1, (PARTS, -1))

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
    if q.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)
    with torch.autocast("cpu", enabled=False):
        q, k, v = q.float(), k.float(), v.float()
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)


def _causal_after(known: int, count: int, device: torch.device) -> Tensor:
    """Return 0 where one of the last `count` of `known + count` frames may look, else minus infinity, (count, all)."""
    return torch.full((count, known + count), -torch.inf, device=device).triu(known + 1)


def two_hot(values: Tensor, bins: int) -> Tensor:
    """Return each number of [-1, 1] as the shares of its two nearest of evenly spaced bins, (..., A * bins).

    What moves by a pixel moves by a bin, so a network need not make sharp functions out of straight ones (World4RL,
    arXiv 2509.19080, found codes better than plain numbers). Numbers outside are those of the border.
    """
    centres = torch.linspace(-1.0, 1.0, bins, device=values.device)
    distance = (values.clamp(-1.0, 1.0)[..., None] - centres).abs() * ((bins - 1) / 2)
    return (1.0 - distance).clamp(min=0.0).flatten(-2)
