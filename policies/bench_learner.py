"""What an update costs: our learners against stable-baselines3's SAC and a plain loop over critics, equal in size.

Networks, batch and updates per step are the same; all take turns in one process. On one thread a turn is timed by its
processor time, on two by the clock, and the best turn counts: whatever else runs on the machine only ever adds.
A comparison ends after `TURNS` turns, or earlier, with `FEWEST_TURNS` made, once it has taken `LIMIT_S`. Every row is
told on stderr as soon as it is known.
"""

import importlib.util
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from policies.image_replay import ImageReplay
from policies.learners.sac import SACLearner, SACLearnerConfig, Transitions
from policies.network import mlp
from policies.replay import Replay
from robot.errors import MissingDependency
from robot.machine import machine
from robot.rows import row

TARGETS = Path(__file__).parents[1] / "benchmarks" / "targets.toml"
STATE, ACTION, HIDDEN, BATCH = 39, 4, (256, 256), 256
ROWS, IMAGE_ROWS = 50_000, 2_000
UTD = 20
CAMERAS, IMAGE = ("scene", "wrist"), (84, 84, 3)
TURNS, FEWEST_TURNS, LIMIT_S = 8, 3, 25.0
TWO_CRITICS = SACLearnerConfig(
    HIDDEN, HIDDEN, heads=2, layer_norm=False, utd_ratio=1, actor_value="min", entropy_per_dimension=-1.0
)
TEN_CRITICS = SACLearnerConfig(HIDDEN, HIDDEN, heads=10, utd_ratio=UTD)

Call = Callable[[], Any]


class PlainEnsemble(nn.Module):
    """Critics as one would write them first: a list of networks, asked one after the other."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        sizes = [STATE + ACTION, *HIDDEN, 1]
        self.members = nn.ModuleList(mlp(sizes, layer_norm=True) for _ in range(heads))

    def forward(self, state: Tensor, action: Tensor, subset: Tensor | None = None) -> Tensor:
        inputs = torch.cat([state, action], dim=-1)
        chosen = range(len(self.members)) if subset is None else subset.tolist()
        return torch.stack([self.members[index](inputs).squeeze(-1) for index in chosen])


class _World(gymnasium.Env[Any, np.ndarray]):
    """Nothing but spaces, which is all that a peer's learner asks of its world here."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = spaces.Box(-1.0, 1.0, (ACTION,))


def run() -> dict[str, Any]:
    """Measure and hold against the targets; takes two minutes, three where the machine is busy."""
    if importlib.util.find_spec("stable_baselines3") is None:
        raise MissingDependency("`tandem bench learner` measures against stable-baselines3: pip install '.[dev]'")
    before = torch.get_num_threads()
    try:
        rows = [_told(found) for found in chain(_measure_updates(1), _measure_updates(2), _measure_images())]
    finally:
        torch.set_num_threads(before)
    return {"name": "learner", "ok": all(row["ok"] for row in rows), "rows": rows, "machine": machine()}


def _told(found: dict[str, Any]) -> dict[str, Any]:
    figures = " ".join(f"{name} {found[name]}" for name in ("value", "unit", "ratio", "target", "ok"))
    print(f"learner: {found['metric']}: {figures}", file=sys.stderr, flush=True)
    return found


def _measure_updates(threads: int) -> Iterator[dict[str, Any]]:
    suffix = f"{threads}_thread" + "s" * (threads > 1)
    peer = sb3_update()
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    pair = _in_turns({"ours": our_update(TWO_CRITICS), "sb3": peer}, clock, calls_per_turn=10)
    yield _row(f"two_critics_per_sb3_{suffix}", 1.0 / pair["ours"], "updates/s", 1.0 / pair["sb3"])
    share = two_critic_flop() / pair["ours"] / matrix_product_rate(clock)
    yield _row(f"two_critics_share_of_matrix_products_{suffix}", share, "share", None)
    plain = our_update(TEN_CRITICS, PlainEnsemble)
    ten = _in_turns({"ours": our_update(TEN_CRITICS), "loop": plain}, clock, calls_per_turn=1)
    yield _row(f"ten_critics_per_loop_{suffix}", UTD / ten["ours"], "updates/s", UTD / ten["loop"])
    yield _row(f"two_critics_per_lerobot_{suffix}", None, "not measured: no lerobot here", None)


def our_update(config: SACLearnerConfig, ensemble: Callable[[int], nn.Module] | None = None) -> Call:
    """Return one call that samples a batch and updates a learner; `ensemble` replaces its critics."""
    learner = SACLearner(STATE, ACTION, config, seed=0)
    if ensemble is not None:
        critics: Any = learner.critics
        critics.live, critics.target = ensemble(config.heads), ensemble(config.heads)
        critics.target.load_state_dict(critics.live.state_dict())
        critics.parameters, critics._targets = list(critics.live.parameters()), list(critics.target.parameters())
        critics.renew_optimizer()
    replay = Replay({"state": STATE, "action": ACTION, "reward": 0, "discount": 0, "next_state": STATE}, ROWS)
    replay.rows[:] = 0.1 * np.random.default_rng(0).standard_normal(replay.rows.shape)
    replay.size = ROWS
    generator = torch.Generator().manual_seed(0)
    return lambda: learner.update(Transitions.of(replay.split(replay.sample(BATCH * config.utd_ratio, generator))))


def sb3_update() -> Call:
    """Return the same of stable-baselines3's SAC, which has ReLU, two critics and a learned temperature as well."""
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import configure

    world = _World(spaces.Box(-np.inf, np.inf, (STATE,), np.float32))
    sizes = {"net_arch": list(HIDDEN)}
    model = SAC("MlpPolicy", world, batch_size=BATCH, buffer_size=ROWS, policy_kwargs=sizes, device="cpu", seed=0)
    model.set_logger(configure(None, []))
    buffer: Any = model.replay_buffer
    for values in (buffer.observations, buffer.next_observations, buffer.actions):
        values[:] = 0.1 * np.random.default_rng(0).standard_normal(values.shape)
    buffer.full = True
    return lambda: model.train(gradient_steps=1, batch_size=BATCH)


def two_critic_flop() -> float:
    """Return the operations of the matrix products in one two-critic update, each product counted once.

    Critics: target forward; live forward, and backward to weights and hidden layers; for the actor forward, and
    backward to the action. Actor: two forward passes, and backward to weights and hidden layers.
    """

    def products(sizes: list[int]) -> tuple[int, int]:
        """Return multiplications per row of all layers, and of all but the first."""
        each = [a * b for a, b in pairwise(sizes)]
        return sum(each), sum(each[1:])

    every, inner = products([STATE + ACTION, *HIDDEN, 1])
    critics = 2 * (every + (2 * every + inner) + (every + inner + ACTION * HIDDEN[0]))
    every, inner = products([STATE, *HIDDEN, 2 * ACTION])
    return 2.0 * BATCH * (critics + 3 * every + inner)


def matrix_product_rate(clock: Callable[[], float]) -> float:
    """Return the floating-point operations per second of batched 256-wide products, measured as the learners are."""
    first, second = torch.randn(2, BATCH, 256), torch.randn(2, 256, 256)
    out = torch.empty(2, BATCH, 256)
    best = _in_turns({"product": lambda: torch.bmm(first, second, out=out)}, clock, calls_per_turn=40)["product"]
    return 2.0 * 2 * BATCH * 256 * 256 / best


def _measure_images() -> Iterator[dict[str, Any]]:
    """Sample two 84x84 images of each of two states, from ours and from stable-baselines3's dictionary buffer."""
    from stable_baselines3.common.buffers import DictReplayBuffer

    torch.set_num_threads(1)
    ours = ImageReplay(
        {"action": ACTION, "reward": 0, "discount": 0}, dict.fromkeys(CAMERAS, IMAGE), IMAGE_ROWS, ends=1
    )
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (16, *IMAGE), np.uint8)
    for index in range(IMAGE_ROWS + 1):
        ours.see({name: pictures[(index + shift) % 16] for shift, name in enumerate(CAMERAS)})
        if index:
            ours.add(index - 1, index, action=np.zeros(ACTION), reward=0.0, discount=1.0)
    seen = spaces.Dict({name: spaces.Box(0, 255, IMAGE, np.uint8) for name in CAMERAS})
    theirs: Any = DictReplayBuffer(IMAGE_ROWS, seen, spaces.Box(-1.0, 1.0, (ACTION,)), device="cpu")
    for values in (*theirs.observations.values(), *theirs.next_observations.values()):
        values[:] = pictures[np.arange(len(values)) % 16][:, None]
    theirs.full = True
    generator = torch.Generator().manual_seed(0)
    calls: dict[str, Call] = {"ours": lambda: ours.sample(BATCH, generator), "sb3": lambda: theirs.sample(BATCH)}
    best = _in_turns(calls, time.thread_time, calls_per_turn=4)
    arrays = [*theirs.observations.values(), *theirs.next_observations.values()]
    arrays += [theirs.actions, theirs.rewards, theirs.dones, theirs.timeouts]
    their_bytes = sum(array.nbytes for array in arrays) / IMAGE_ROWS
    yield _row("image_batches_per_sb3", 1.0 / best["ours"], "batches/s", 1.0 / best["sb3"])
    yield _row("image_bytes_per_sb3", ours.bytes_per_transition, "bytes", their_bytes, most=True)


def _in_turns(calls: dict[str, Call], clock: Callable[[], float], calls_per_turn: int) -> dict[str, float]:
    """Return the time of one call of each [s], the best turn's; the first turn warms up."""
    best = dict.fromkeys(calls, float("inf"))
    end = time.perf_counter() + LIMIT_S
    for turn in range(TURNS + 1):
        if turn > FEWEST_TURNS and time.perf_counter() > end:
            break
        for name, call in calls.items():
            began = clock()
            for _ in range(calls_per_turn):
                call()
            if turn:
                best[name] = min(best[name], (clock() - began) / calls_per_turn)
    return best


def _row(metric: str, value: float | None, unit: str, reference: float | None, *, most: bool = False) -> dict[str, Any]:
    """Return a row; the ratio to the reference is held to be at least the target, or at most."""
    target = tomllib.loads(TARGETS.read_text())["learner"].get(metric)
    ratio = value / reference if value is not None and reference else None
    ok = target is None or ratio is None or (ratio <= target if most else ratio >= target)
    return row(metric, value, unit, target=target, ok=ok, reference=reference)
