"""What imagination costs: env-frames per second, against the same network driven by a plain diffusers-style loop.

The plain loop gives the whole window to the network at every step and lets diffusers' flow-matching scheduler take the
step; ours keeps the keys and values of anchor and memory. Both run on the same weights and noise, in turns, on one
thread. Beside them: the true simulator, frame by frame at the model's image size.
"""

import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from robot.machine import machine
from robot.rows import row
from robot.worlds import make_env
from world_models.contract import History, WorldModelSpec
from world_models.dynamics import FrameFacts
from world_models.settings import PRESETS
from world_models.video_model import ActionScale, VideoWorldModel

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
BATCH, TURNS = 32, 5
ENV = "tandem/lift"
VIEWS = ("scene", "wrist")


def untrained(preset: str = "cpu") -> VideoWorldModel:
    """Return a model of a preset's size with drawn weights, for two views and four action dimensions."""
    config = PRESETS[preset]
    spec = WorldModelSpec(
        station="fr3_sim",
        task="lift",
        views=VIEWS,
        image_size=config.image_size,
        action_names=("tcp_x", "tcp_y", "tcp_z", "gripper"),
        action_units=("m",) * 4,
        is_relative=(True, True, True, False),
        control_rate_hz=20.0,
        ticks_per_frame=config.ticks_per_frame,
        chunk=config.chunk,
        memory=config.memory,
        latent_shape=config.latent_shape,
    )
    model = VideoWorldModel(spec, config, ActionScale(*(torch.zeros(4), torch.ones(4)) * 2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(model.network.dynamics.tokens_out.weight, std=0.02)  # else nothing would move
    model.network.eval()
    return model


@torch.no_grad()
def sample_plainly(
    model: VideoWorldModel, history: History, actions: Tensor, commands: Tensor, noise: Tensor, steps: int
) -> Tensor:
    """Return what `VideoWorldModel.sample` returns for one draw, (B, T, V, C, H, W), step by step by diffusers."""
    clean, known = model.clean_part(history)
    new = model.new_facts(actions, commands)
    scheduler = FlowMatchEulerDiscreteScheduler()
    sigmas: list[float] = np.linspace(1.0, 1.0 / steps, steps).tolist()
    scheduler.set_timesteps(sigmas=sigmas)
    assert scheduler.timesteps is not None
    x = noise
    for sigma, timestep in zip(sigmas, scheduler.timesteps, strict=True):
        facts = replace(new, tau=torch.full_like(new.tau, 1.0 - sigma))
        window = FrameFacts(*(torch.cat([getattr(part, name) for part in (known, facts)], 1) for name in vars(new)))
        found = model.network.dynamics(torch.cat([clean, x], dim=1), window)
        x = scheduler.step((x - found) / sigma, timestep, x).prev_sample  # type: ignore[union-attr, arg-type]
    return x


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes a minute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = untrained()
        simulator = simulator_frames_per_s(model.config.image_size, model.spec.ticks_per_frame)
        rows = [row for batch in (BATCH, 1) for steps in (1, 4) for row in _measure(model, batch, steps)]
        rows.append(_row("simulator_frames_per_s", simulator, "1/s"))
    finally:
        torch.set_num_threads(threads)
    rows.append(_preview(model))
    return {"name": "world_model", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def _measure(model: VideoWorldModel, batch: int, steps: int) -> list[dict[str, Any]]:
    history, actions = _call(model, batch)
    commands = model.spec.commands_after(actions, history.commands[:, -1])
    noise = torch.randn(1, batch, model.spec.chunk, *model.spec.frame_shape)
    given = (history, actions, commands)
    with torch.no_grad():
        times = _in_turns(
            {
                "ours": lambda: model.sample(*given, noise, steps),
                "plain": lambda: sample_plainly(model, *given, noise[0], steps),
            },
            calls=1 if batch > 1 else 8,
        )
    frames = {name: batch * model.spec.chunk / took for name, took in times.items()}
    name = f"frames_per_s_batch_{batch}_steps_{steps}"
    return [
        _row(name, frames["ours"], "1/s", frames["plain"]),
        _speedup(f"speedup_batch_{batch}_steps_{steps}", frames),
    ]


def _call(model: VideoWorldModel, batch: int) -> tuple[History, Tensor]:
    generator = torch.Generator().manual_seed(0)
    frame = torch.randn(batch, *model.spec.frame_shape, generator=generator)
    actions = 0.1 * torch.randn(batch, model.spec.chunk, model.spec.action_dim, generator=generator)
    history = History.start(model.spec, frame, torch.zeros(batch, model.spec.action_dim))
    return replace(history, is_null=torch.zeros_like(history.is_null)), actions


def _preview(model: VideoWorldModel) -> dict[str, Any]:
    """Return how long an operator waits for one chunk, decoded, on all cores."""
    history, actions = _call(model, 1)

    def preview() -> None:
        model.decode(model.imagine(history, actions, [0], with_uncertainty=False).latents)

    durations = []
    for _ in range(3 * TURNS):
        began = time.perf_counter()
        preview()
        durations.append(1e3 * (time.perf_counter() - began))
    return _row("preview_ms", float(np.median(durations)), "ms", is_lower_better=True)


def simulator_frames_per_s(
    image_size: int, ticks_per_frame: int, frames: int = 40, views: Sequence[str] = VIEWS
) -> float:
    """Return how many frames of all views the true simulator makes per second of processor time."""

    def seconds_per_tick(**options: Any) -> float:
        env = make_env(ENV, **options)
        env.reset(seed=0)
        low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
        env.step((low + high) / 2)
        began = time.process_time()
        for _ in range(frames):
            _, _, terminated, truncated, _ = env.step((low + high) / 2)
            if terminated or truncated:
                env.reset(seed=0)
        took = (time.process_time() - began) / frames
        env.close()
        return took

    blind = seconds_per_tick()
    seen = seconds_per_tick(images=tuple(views), image_size=image_size)
    return 1.0 / (ticks_per_frame * blind + max(seen - blind, 0.0))


def _in_turns(work: dict[str, Callable[[], Any]], *, calls: int) -> dict[str, float]:
    """Return the median processor time of one call of each [s] over turns; the first turn warms up."""
    durations: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(TURNS + 1):
        for name, call in work.items():
            began = time.thread_time()
            for _ in range(calls):
                call()
            durations[name].append((time.thread_time() - began) / calls)
    return {name: float(np.median(values[1:])) for name, values in durations.items()}


def _speedup(metric: str, frames: dict[str, float]) -> dict[str, Any]:
    return _row(metric, frames["ours"] / frames["plain"], "x", 1.0)


def _row(
    metric: str, value: float, unit: str, reference: float | None = None, *, is_lower_better: bool = False
) -> dict[str, Any]:
    """Return a row; the target is a lower limit of the value, or an upper one."""
    target = tomllib.loads(TARGETS.read_text())["world_model"].get(metric)
    ok = target is None or (value <= target if is_lower_better else value >= target)
    return row(metric, value, unit, target=target, ok=ok, reference=reference)
