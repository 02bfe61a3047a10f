"""The contract of an action-conditioned world model: what it reads, what it imagines, and what it refuses.

Words: a *frame* is what all views show at one moment; frames are `step_s` apart, which is `ticks_per_frame` control
ticks. A *command* is a station action (absolute, in station units) in force at the end of a frame's interval. The
*action* `a[t]` is what produced frame t, never what was issued after it: per dimension the change of the command since
frame t - 1 where `is_relative`, else the command itself (a gripper's target). Letters: B batch, m memory frames, c new
frames of a call, V views, A action dimensions, (C, H, W) the latent map of one view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from policies.presets import with_tuples
from robot.errors import CheckpointMismatch

Frames = Mapping[str, np.ndarray]  # by view: uint8 RGB, (B, T, size, size, 3)
STEP_TOLERANCE = 1e-6  # relative, of the time between frames


@dataclass(frozen=True)
class WorldModelSpec:
    """What a world model was made for. `horizon` is how many frames it may be chained before it is not to be trusted.

    `views` are cameras of the station in the order of the latents; images are square, `image_size` pixels.
    """

    station: str
    task: str
    views: tuple[str, ...]
    image_size: int
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    is_relative: tuple[bool, ...]
    control_rate_hz: float
    ticks_per_frame: int
    chunk: int
    memory: int
    latent_shape: tuple[int, int, int]  # (C, H, W) of one view
    horizon: int = 20

    def __post_init__(self) -> None:
        widths = {len(self.action_names), len(self.action_units), len(self.is_relative)}
        if not self.views or len(widths) > 1 or min(self.ticks_per_frame, self.chunk, self.memory) < 1:
            raise CheckpointMismatch(
                "a world model needs views, as many units and kinds as action names, and ticks_per_frame, chunk and "
                f"memory of 1 or more; found {self}"
            )

    @property
    def step_s(self) -> float:
        """Return the time between two frames."""
        return self.ticks_per_frame / self.control_rate_hz

    @property
    def action_dim(self) -> int:
        return len(self.action_names)

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """Return the shape of one frame's latents, (V, C, H, W)."""
        return (len(self.views), *self.latent_shape)

    def frame_actions(self, commands: Tensor, before: Tensor) -> Tensor:
        """Return the actions that stand for commands.

        Args:
            commands: at the end of each frame, (B, T, A) in station units.
            before: the command in force at the frame before the first, (B, A).

        Returns:
            Actions (B, T, A), of the dtype of `commands`.
        """
        previous = torch.cat([before[:, None].to(commands.dtype), commands[:, :-1]], dim=1)
        return torch.where(self._relative(commands), commands - previous, commands)

    def commands_after(self, actions: Tensor, before: Tensor) -> Tensor:
        """Return the commands (B, T, A) that actions lead to from `before` (B, A): the inverse of `frame_actions`."""
        return torch.where(self._relative(actions), before[:, None].to(actions.dtype) + actions.cumsum(1), actions)

    def null_actions(self, before: Tensor, count: int) -> Tensor:
        """Return `count` actions (B, count, A) that hold the command `before` (B, A)."""
        return self.frame_actions(before[:, None].expand(-1, count, -1), before)

    def last_of_frames(self, commands: Tensor) -> Tensor:
        """Return the command at the end of each frame, (B, T, A), out of one per tick, (B, T * ticks_per_frame, A)."""
        ticks = self.ticks_per_frame
        if commands.shape[1] % ticks:
            raise CheckpointMismatch(f"commands: expected a multiple of {ticks} ticks, found {commands.shape[1]}")
        return commands[:, ticks - 1 :: ticks]

    def _relative(self, like: Tensor) -> Tensor:
        return torch.tensor(self.is_relative, device=like.device)

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "WorldModelSpec":
        """Return the spec out of its JSON form; CheckpointMismatch where it is another version's."""
        known = {item.name for item in fields(cls)}
        if set(tree) != known:
            raise CheckpointMismatch(f"the world model's spec: expected {sorted(known)}, found {sorted(tree)}")
        return cls(**with_tuples(tree))


@dataclass(frozen=True)
class History:
    """What a call begins from: the anchor, the newest m frames with the actions that produced them, and all commands.

    A memory frame that is only a copy of the anchor has `is_null`: nothing produced it. All tensors are on one device;
    `state` and `from_state` make a tree for `policies.state_file` of it, so it survives a process.
    """

    anchor: Tensor  # (B, V, C, H, W)
    memory: Tensor  # (B, m, V, C, H, W), oldest first; the last one is the present frame
    actions: Tensor  # (B, m, A): what produced each memory frame
    is_null: Tensor  # (B, m) bool
    commands: Tensor  # (B, m + 1, A): in force at the anchor and at each memory frame, station units
    step_s: float

    def __len__(self) -> int:
        return len(self.anchor)

    @classmethod
    def start(cls, spec: WorldModelSpec, anchor: Tensor, command: Tensor) -> "History":
        """Return a cold start: every memory frame a copy of the anchor (B, V, C, H, W); `command` is (B, A)."""
        held = command[:, None]
        return cls(
            anchor=anchor,
            memory=anchor[:, None].expand(-1, spec.memory, -1, -1, -1, -1).clone(),
            actions=spec.null_actions(command, spec.memory),
            is_null=torch.ones(len(anchor), spec.memory, dtype=torch.bool, device=anchor.device),
            commands=held.expand(-1, spec.memory + 1, -1).clone(),
            step_s=spec.step_s,
        )

    def after(self, latents: Tensor, actions: Tensor, commands: Tensor) -> "History":
        """Return the history once T further frames (B, T, V, C, H, W) were produced by `actions` (B, T, A).

        `commands` (B, T, A) are those in force at the new frames (`WorldModelSpec.commands_after`).
        """
        count = self.memory.shape[1]
        fresh = torch.zeros(latents.shape[:2], dtype=torch.bool, device=self.is_null.device)
        return replace(
            self,
            memory=torch.cat([self.memory, latents], dim=1)[:, -count:],
            actions=torch.cat([self.actions, actions.to(self.actions.dtype)], dim=1)[:, -count:],
            is_null=torch.cat([self.is_null, fresh], dim=1)[:, -count:],
            commands=torch.cat(
                [
                    self.commands[:, :1],
                    torch.cat([self.commands[:, 1:], commands.to(self.commands.dtype)], 1)[:, -count:],
                ],
                dim=1,
            ),
        )

    def select(self, index: Sequence[int] | Tensor) -> "History":
        """Return the items named, in that order; one may come up more than once."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.anchor.device)
        return replace(self, **{name: value[rows] for name, value in self._tensors().items()})

    @staticmethod
    def stack(histories: "Sequence[History]") -> "History":
        """Return histories one after the other as one batch; CheckpointMismatch where their steps differ."""
        first = histories[0]
        for other in histories:
            _expect("time between frames [s]", first.step_s, other.step_s)
        parts = [history._tensors() for history in histories]
        return replace(first, **{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def state(self) -> dict[str, Any]:
        return {name: value.clone() for name, value in self._tensors().items()} | {"step_s": self.step_s}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "History":
        known = {item.name for item in fields(cls)}
        if set(state) != known:
            raise CheckpointMismatch(
                f"a stored history: expected {sorted(known)}, found {sorted(state)}; a keyframe needs its anchor, and "
                "its memory the actions that produced it"
            )
        return cls(**state)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


@dataclass(frozen=True)
class Imagined:
    """What came of one call, per item and new frame."""

    latents: Tensor  # (B, c, V, C, H, W)
    success: Tensor  # (B, c) probability that the task is solved in this frame
    uncertainty: Tensor  # (B, c) >= 0: disagreement of two draws; 0 of a deterministic model, nan where not asked for
    commands: Tensor  # (B, c, A) in force at the new frames, station units


class WorldModel(Protocol):
    """A model that answers for many items at once, each by its own seed: what others are in the batch is no matter.

    The same history, actions and seed give the same frames. Everything that does not fit `spec` is refused with
    CheckpointMismatch, expected against found (`check_views`, `check_history`, `check_actions`).
    """

    spec: WorldModelSpec

    def encode(self, frames: Frames) -> Tensor:
        """Return the latents (B, T, V, C, H, W) of frames, on the model's device."""
        ...

    def decode(self, latents: Tensor) -> Frames:
        """Return frames (B, T, size, size, 3) uint8 by view of latents (B, T, V, C, H, W)."""
        ...

    def imagine(
        self,
        history: History,
        actions: Tensor,
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        with_uncertainty: bool = True,
    ) -> Imagined:
        """Return the frames that actions lead to.

        Args:
            history: of B items.
            actions: what shall produce the new frames, (B, T, A) with 1 <= T <= chunk.
            seeds: one per item, of this call; chained calls want new ones.
            steps: of the sampler; None: the model's own. 1 from pure noise is what the sensitivity checks score.
            with_uncertainty: draw a second time for `Imagined.uncertainty`, at twice the cost.
        """
        ...


def check_views(spec: WorldModelSpec, frames: Frames) -> None:
    """Refuse frames of other views, sizes or types, and a ragged batch."""
    _expect("views", spec.views, tuple(frames))
    size = (spec.image_size, spec.image_size, 3)
    leading = next(iter(frames.values())).shape[:2]
    for view, images in frames.items():
        _expect(f"images of '{view}'", f"uint8 {(*leading, *size)}", f"{images.dtype} {tuple(images.shape)}")


def check_step(spec: WorldModelSpec, step_s: float) -> None:
    """Refuse frames that are another time apart."""
    if not abs(step_s - spec.step_s) <= STEP_TOLERANCE * spec.step_s:
        raise CheckpointMismatch(f"time between frames: expected {spec.step_s:g} s, found {step_s:g} s")


def check_world(spec: WorldModelSpec, station: str, action_names: Sequence[str], control_rate_hz: float) -> None:
    """Refuse another station, action space or control rate than the model was made for."""
    _expect("station", spec.station, station)
    _expect("actions", spec.action_names, tuple(action_names))
    _expect("control rate [Hz]", spec.control_rate_hz, control_rate_hz)


def check_history(spec: WorldModelSpec, history: History) -> None:
    """Refuse a history without anchor, memory without its actions, and what has other shapes or another rate."""
    check_step(spec, history.step_s)
    count, memory, width = len(history.anchor), spec.memory, spec.action_dim
    shapes = {
        "anchor": (count, *spec.frame_shape),
        "memory": (count, memory, *spec.frame_shape),
        "actions": (count, memory, width),
        "is_null": (count, memory),
        "commands": (count, memory + 1, width),
    }
    for name, shape in shapes.items():
        _expect(f"history.{name}", shape, tuple(getattr(history, name).shape))
    if not count:
        raise CheckpointMismatch("history.anchor: expected at least one item, found none")


def check_actions(spec: WorldModelSpec, history: History, actions: Tensor, seeds: Sequence[int]) -> None:
    """Refuse actions of another number, width or batch, actions that are not finite, and a wrong number of seeds."""
    shape = tuple(actions.shape)
    if len(shape) != 3 or shape[0] != len(history) or not 1 <= shape[1] <= spec.chunk or shape[2] != spec.action_dim:
        expected = f"({len(history)}, 1..{spec.chunk}, {spec.action_dim}) for {', '.join(spec.action_names)}"
        raise CheckpointMismatch(f"actions: expected {expected}, found {shape}")
    if not bool(torch.isfinite(actions).all()):
        raise CheckpointMismatch("actions: expected finite numbers, found nan or infinity")
    _expect("seeds", len(history), len(seeds))


def _expect(what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise CheckpointMismatch(f"{what}: expected {expected}, found {found}")
