"""What the contract costs in simulation: a whole environment step against bare physics, and with images bare drawing.

Environment and peer run in turns on the same model, so that a busy machine slows both; figures are medians over turns.
Physics is timed by this thread's CPU time; drawing by the clock, since it may use more threads or a GPU.
"""

import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from robot.env import TandemEnv
from robot.machine import machine
from robot.worlds import Expert
from sim.renderer import plain_renderer
from sim.scene import TIMESTEP_S
from sim.suites.tandem import make_env, make_expert

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
TASK = "peg-insert"
FULL_STATE = mujoco.mjtState.mjSTATE_INTEGRATION  # pyright: ignore[reportAttributeAccessIssue]
CAMERAS = ("scene", "wrist")
IMAGE_SIZE = 84
TURNS = 20
SWAY_M = 0.02


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes ten seconds."""
    rows = [
        _row("env_step_per_bare_physics", "steps/s", *_measure_step()),
        _row("env_step_with_images_per_bare_drawing", "steps/s", *_measure_images()),
    ]
    return {"name": "sim", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def _measure_step() -> tuple[float, float]:
    """Return steps per second of the environment over the expert's episodes, and of `mj_step` alone over the same.

    The peer starts every control period from the same state, so it meets the same contacts.
    """
    env, expert = make_env(TASK), make_expert(TASK)
    world: Any = env.loop.world
    n_steps = round(world.station.period_s / TIMESTEP_S)
    data = mujoco.MjData(world.model)
    episodes = [_rehearse(env, expert, seed) for seed in range(TURNS)]
    rates = []

    def physics(state: np.ndarray) -> None:
        mujoco.mj_setState(world.model, data, state, FULL_STATE)
        mujoco.mj_step(world.model, data, nstep=n_steps)

    for seed, (actions, states) in enumerate(episodes):
        env.reset(seed=seed)
        rates.append((_rate(env.step, actions), _rate(physics, states)))
    ours_hz, peer_hz = np.median(rates[1:], axis=0)  # the first turn warms up
    return float(ours_hz), float(peer_hz)


def _rehearse(env: TandemEnv, expert: Expert, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the expert's actions in one episode, and the physics' state before each."""
    world: Any = env.loop.world
    observation, _ = env.reset(seed=seed)
    expert.reset(seed)
    actions, states, ended = [], [], False
    while not ended:
        actions.append(expert.act(observation))
        states.append(np.zeros(mujoco.mj_stateSize(world.model, FULL_STATE)))
        mujoco.mj_getState(world.model, world.data, states[-1], FULL_STATE)
        observation, _, terminated, truncated, _ = env.step(actions[-1])
        ended = terminated or truncated
    return actions, states


def _measure_images() -> tuple[float, float]:
    """Return steps per second with two images, and how often two images alone are drawn of the same model."""
    env = make_env(TASK, images=CAMERAS, image_size=IMAGE_SIZE)
    model = env.loop.world.model  # type: ignore[attr-defined]
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = plain_renderer(model, IMAGE_SIZE, IMAGE_SIZE)

    def draw() -> None:
        for camera in CAMERAS:
            renderer.update_scene(data, camera)
            renderer.render()

    rates = _in_turns(_mover(env), draw, 20, time.perf_counter)
    renderer.close()
    env.close()
    return rates


def _mover(env: TandemEnv) -> Callable[[], None]:
    """Return a step that sways the tcp sideways, for ever."""
    observation, _ = env.reset(seed=0)
    start = np.append(observation["tcp_position"], observation["joint_position"][-1])
    state = {"step": 0}

    def step() -> None:
        state["step"] += 1
        action = start.copy()
        action[1] += SWAY_M * np.sin(0.2 * state["step"])
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.loop.reset(0)

    return step


def _in_turns(
    ours: Callable[[], None], peer: Callable[[], None], calls: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Return the median rates of both [1/s] over turns of `calls` each; the first turn warms up."""
    rates = np.array(
        [[_drawing_rate(ours, calls, clock), _drawing_rate(peer, calls, clock)] for _ in range(TURNS + 1)]
    )[1:]
    ours_hz, peer_hz = np.median(rates, axis=0)
    return float(ours_hz), float(peer_hz)


def _rate(call: Callable[[np.ndarray], Any], inputs: list[np.ndarray]) -> float:
    """Return calls per second of this thread's processor time."""
    start = time.thread_time()
    for value in inputs:
        call(value)
    return len(inputs) / (time.thread_time() - start)


def _drawing_rate(call: Callable[[], None], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        call()
    return calls / (clock() - start)


def _row(metric: str, unit: str, value: float, reference: float) -> dict[str, Any]:
    target = tomllib.loads(TARGETS.read_text())["sim"][metric]
    ratio = value / reference
    return {
        "metric": metric,
        "value": value,
        "unit": unit,
        "reference": reference,
        "ratio": ratio,
        "target": target,
        "ok": ratio >= target,
    }
