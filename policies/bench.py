"""What a chunk costs: our denoisers and solvers against the plain way to write them, at equal sizes and steps.

The plain way is that of diffusion policy's code and lerobot's: at every step the network gets noisy chunk, time and
features, and diffusers' scheduler works out the next chunk. Both run on the same weights, in turns, one chunk at a time
on one thread. lerobot's own U-Net runs too where it is installed.
"""

import importlib.util
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from policies.base.conditional_unet import ConditionalBlock, ConditionalUnet
from policies.base.denoisers import MlpDenoiser
from policies.base.diffusion import DiffusionConfig, DiffusionNetwork
from policies.base.flow import FlowConfig, FlowNetwork
from policies.base.lerobot.reference_unet import reference_unet
from policies.network import seeded
from robot.machine import machine

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
STATE, ACTION, HORIZON = 20, 7, 16
TRAIN_STEPS, STEPS = 100, 16
SIZES: dict[str, Any] = {"time_features": 128, "hidden": (512, 512, 512), "channels": (64, 128, 256)}
TURNS = 30


class PlainMlp(nn.Module):
    """The MLP denoiser as one would write it first: chunk, time and features side by side into the first layer."""

    def __init__(self, ours: MlpDenoiser) -> None:
        super().__init__()
        self.time, self.first, self.hidden, self.last = ours.time, ours.first, ours.hidden, ours.last

    def forward(self, chunks: Tensor, times: Tensor, features: Tensor) -> Tensor:
        hidden = nn.functional.mish(self.first(torch.cat([chunks.flatten(1), self.time(times), features], dim=-1)))
        for layer in self.hidden:
            hidden = nn.functional.mish(layer(hidden))
        return self.last(hidden).view_as(chunks)


class PlainUnet(nn.Module):
    """The U-Net as published: every block works out its scale and bias from time and features at every step."""

    def __init__(self, ours: ConditionalUnet) -> None:
        super().__init__()
        self.unet = ours

    def forward(self, chunks: Tensor, times: Tensor, features: Tensor) -> Tensor:
        condition = torch.cat([self.unet.diffusion_step_encoder(times), features], dim=-1)
        maps, skipped = chunks.transpose(1, 2), []
        for first, second, shrink in self.unet.down_modules:  # type: ignore[misc]
            maps = self.block(second, self.block(first, maps, condition), condition)
            skipped.append(maps)
            maps = shrink(maps)
        for block in self.unet.mid_modules:
            maps = self.block(block, maps, condition)  # type: ignore[arg-type]
        for first, second, grow in self.unet.up_modules:  # type: ignore[misc]
            maps = torch.cat([maps, skipped.pop()], dim=1)
            maps = grow(self.block(second, self.block(first, maps, condition), condition))
        return self.unet.final_conv(maps).transpose(1, 2)

    @staticmethod
    def block(block: ConditionalBlock, maps: Tensor, condition: Tensor) -> Tensor:
        scale, bias = block.cond_encoder(condition).unsqueeze(-1).chunk(2, dim=1)
        return block.conv2(scale * block.conv1(maps) + bias) + block.residual_conv(maps)


def make_scheduler(train_steps: int, spacing: str, prediction: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=train_steps,
        beta_schedule="squaredcos_cap_v2",
        timestep_spacing=spacing,  # pyright: ignore[reportArgumentType]
        prediction_type="v_prediction" if prediction == "v" else prediction,  # pyright: ignore[reportArgumentType]
    )


def solve_plainly(
    denoiser: nn.Module,
    features: Tensor,
    noise: Tensor,
    *,
    train_steps: int,
    count: int,
    spacing: str,
    scheduler: DDIMScheduler | None = None,
) -> Tensor:
    """Denoise with diffusers' scheduler, step by step; shapes as in `DiffusionNetwork.decode`."""
    scheduler = scheduler or make_scheduler(train_steps, spacing)
    scheduler.set_timesteps(count)
    chunks = noise
    for step in scheduler.timesteps:
        predicted = denoiser(chunks, step.expand(len(chunks)), features)
        chunks = scheduler.step(predicted, step, chunks).prev_sample  # type: ignore[union-attr, arg-type]
    return chunks


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes half a minute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [*_measure_mlp(), *_measure_unet()]
    finally:
        torch.set_num_threads(threads)
    return {"name": "policy", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def _networks(denoiser: str) -> tuple[DiffusionNetwork, dict[int, FlowNetwork]]:
    shapes, sizes = {"state": (STATE,)}, SIZES | {"action_horizon": HORIZON, "denoiser": denoiser}
    with seeded(0):
        diffusion = DiffusionNetwork(
            shapes, ACTION, DiffusionConfig(train_steps=TRAIN_STEPS, inference_steps=STEPS, spacing="leading", **sizes)
        )
        flows = {n: FlowNetwork(shapes, ACTION, FlowConfig(inference_steps=n, **sizes)) for n in (1, 2, 4)}
    return diffusion.eval(), {count: flow.eval() for count, flow in flows.items()}


def _measure_mlp() -> list[dict[str, Any]]:
    diffusion, flows = _networks("mlp")
    assert isinstance(diffusion.denoiser, MlpDenoiser)
    calls = {"ours": _decode(diffusion), "plain": _plain(PlainMlp(diffusion.denoiser))}
    times = _in_turns(calls | {f"flow {count}": _decode(flow) for count, flow in flows.items()}, calls_per_turn=10)
    rows = [_row("mlp_ddim16_speedup", times["ours"], times["plain"], faster=True)]
    return rows + [
        _row(f"mlp_flow{count}_speedup_over_ddim16", times[f"flow {count}"], times["ours"], faster=True)
        for count in flows
    ]


def _measure_unet() -> list[dict[str, Any]]:
    diffusion, _ = _networks("unet")
    assert isinstance(diffusion.denoiser, ConditionalUnet)
    calls = {"ours": _decode(diffusion), "plain": _plain(PlainUnet(diffusion.denoiser))}
    if importlib.util.find_spec("lerobot") is not None:
        calls["lerobot"] = _plain(reference_unet(diffusion.denoiser))
    times = _in_turns(calls, calls_per_turn=1)
    peers = [peer for peer in times if peer != "ours"]
    return [_row(f"unet_ddim16_per_{peer}", times["ours"], times[peer], faster=False) for peer in peers]


def _decode(network: DiffusionNetwork | FlowNetwork) -> Callable[[], Tensor]:
    features, noise = torch.zeros(1, STATE), torch.randn(1, HORIZON, ACTION)
    return lambda: network.decode(features, noise)


def _plain(denoiser: nn.Module) -> Callable[[], Tensor]:
    features, noise, scheduler = (
        torch.zeros(1, STATE),
        torch.randn(1, HORIZON, ACTION),
        make_scheduler(TRAIN_STEPS, "leading"),
    )
    settings: dict[str, Any] = {"train_steps": TRAIN_STEPS, "count": STEPS, "spacing": "leading"}
    return lambda: solve_plainly(denoiser, features, noise, **settings, scheduler=scheduler)


@torch.inference_mode()
def _in_turns(calls: dict[str, Callable[[], Tensor]], calls_per_turn: int) -> dict[str, float]:
    """Return the median processor time of one call of each [ms] over turns; the first turn warms up."""
    durations: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS + 1):
        for name, call in calls.items():
            began = time.thread_time()
            for _ in range(calls_per_turn):
                call()
            durations[name].append(1e3 * (time.thread_time() - began) / calls_per_turn)
    return {name: float(np.median(values[1:])) for name, values in durations.items()}


def _row(metric: str, value_ms: float, reference_ms: float, *, faster: bool) -> dict[str, Any]:
    """Return a row; the ratio is how many times faster, or how much of the reference's time."""
    target = tomllib.loads(TARGETS.read_text())["policy"].get(metric)
    ratio = reference_ms / value_ms if faster else value_ms / reference_ms
    ok = target is None or (ratio >= target if faster else ratio <= target)
    return {
        "metric": metric,
        "value": value_ms,
        "unit": "ms",
        "reference": reference_ms,
        "ratio": ratio,
        "target": target,
        "ok": ok,
    }
