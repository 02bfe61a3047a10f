"""The conditional 1-D U-Net of diffusion policy (Chi et al. 2023), over the steps of a chunk.

Parameters are named and shaped as in lerobot's module, so weights can be carried over by name; in the conditioning
layers the columns of the time come first, then those of the features.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.network import SinusoidalTime
from robot.errors import ConfigError


class ConvBlock(nn.Module):
    """Convolution, GroupNorm, Mish."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2), nn.GroupNorm(groups, outputs), nn.Mish()
        )

    def forward(self, maps: Tensor) -> Tensor:
        return self.block(maps)


class ConditionalBlock(nn.Module):
    """Two convolution blocks; between them FiLM by scale and bias (Perez et al. 2018); a 1 x 1 way around."""

    def __init__(self, inputs: int, outputs: int, condition: int, config: Any) -> None:
        super().__init__()
        kernel, groups = config.kernel, config.groups
        self.conv1 = ConvBlock(inputs, outputs, kernel, groups)
        self.cond_encoder = nn.Sequential(nn.Mish(), nn.Linear(condition, 2 * outputs))
        self.conv2 = ConvBlock(outputs, outputs, kernel, groups)
        self.residual_conv = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, maps: Tensor, film: Tensor) -> Tensor:
        scale, bias = film[..., None].chunk(2, dim=-2)
        out = torch.addcmul(bias, scale, self.conv1(maps))
        return self.conv2(out) + self.residual_conv(maps)


class ConditionalUnet(nn.Module):
    """Levels of two conditional blocks, half the steps and more channels at each, and back up again."""

    def __init__(self, horizon: int, action: int, features: int, config: Any) -> None:
        super().__init__()
        widths = config.channels
        if horizon % 2 ** (len(widths) - 1):
            raise ConfigError(
                f"action_horizon {horizon} must be a multiple of {2 ** (len(widths) - 1)}: the U-Net has "
                f"{len(widths)} levels; change action_horizon or channels"
            )
        time = config.time_features
        self.diffusion_step_encoder = nn.Sequential(
            SinusoidalTime(time), nn.Linear(time, 4 * time), nn.Mish(), nn.Linear(4 * time, time)
        )
        self.sizes = [time, features]

        def block(inputs: int, outputs: int) -> ConditionalBlock:
            return ConditionalBlock(inputs, outputs, time + features, config)

        levels = list(zip([action, *widths[:-1]], widths, strict=True))
        self.down_modules = nn.ModuleList(
            nn.ModuleList([block(inputs, outputs), block(outputs, outputs), nn.Conv1d(outputs, outputs, 3, 2, 1)])
            for inputs, outputs in levels
        )
        self.down_modules[-1][2] = nn.Identity()  # pyright: ignore[reportIndexIssue]
        self.mid_modules = nn.ModuleList([block(widths[-1], widths[-1]), block(widths[-1], widths[-1])])
        self.up_modules = nn.ModuleList(
            nn.ModuleList(
                [block(2 * outputs, inputs), block(inputs, inputs), nn.ConvTranspose1d(inputs, inputs, 4, 2, 1)]
            )
            for inputs, outputs in reversed(levels[1:])
        )
        self.final_conv = nn.Sequential(
            ConvBlock(widths[0], widths[0], config.kernel, config.groups), nn.Conv1d(widths[0], action, 1)
        )

    def fold(self, chunks: Tensor) -> Tensor:
        return chunks.transpose(1, 2).contiguous()

    def unfold(self, folded: Tensor) -> Tensor:
        return folded.transpose(1, 2)

    def condition(self, features: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        """Return scale and bias of every block: W mish([t, f]) + b = W_t mish(t) + (W_f mish(f) + b)."""
        time, observed = functional.mish(self.diffusion_step_encoder(times)), functional.mish(features)
        films = []
        for block in self.conditional_blocks():
            layer = block.cond_encoder[1]
            assert isinstance(layer, nn.Linear)
            of_time, of_features = layer.weight.split(self.sizes, dim=1)
            films.append(functional.linear(time, of_time) + functional.linear(observed, of_features, layer.bias))
        return tuple(films)

    def conditional_blocks(self) -> list[ConditionalBlock]:
        """Return the blocks in the order in which `forward` comes to them."""
        levels = [*self.down_modules, self.mid_modules, *self.up_modules]
        return [block for level in levels for block in list(level)[:2]]  # type: ignore[call-overload]

    def forward(self, folded: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        films, maps, skipped = iter(conditions), folded, []
        for first, second, shrink in self.down_modules:  # type: ignore[misc]
            maps = second(first(maps, next(films)), next(films))
            skipped.append(maps)
            maps = shrink(maps)
        for block in self.mid_modules:
            maps = block(maps, next(films))
        for first, second, grow in self.up_modules:  # type: ignore[misc]
            maps = torch.cat([maps, skipped.pop()], dim=1)
            maps = grow(second(first(maps, next(films)), next(films)))
        return self.final_conv(maps)
