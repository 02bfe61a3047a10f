"""A gymnasium vector environment over a world model: many imagined episodes of one station at a time.

Actions are the station's, one per control tick, and pass through its tick and safety filter; every `ticks_per_frame`
ticks the model imagines the next frame. Between frames the images stay, as of a camera slower than the control loop.

Success is by first passage: the first frame whose calibrated probability reaches the threshold ends the episode, and
nothing after it counts (T10). Nothing is reset by itself: an ended episode stands still, masked, until `reset`, so the
members of a group keep the start and the anchor they share (T9).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from gymnasium.vector.vector_env import AutoresetMode

from robot.errors import CheckpointMismatch, ConfigError
from robot.specs import StationSpec
from robot.tick import Cell
from robot.types import Array
from robot.units import field_units
from robot.worlds import Interface
from world_models.commanded_arm import CommandedArm
from world_models.contract import History, WorldModel, check_world
from world_models.member import Member
from world_models.rollout import Rollout, imagine_on
from world_models.start_records import Pool, StartRecord, Starts, history_of, present
from world_models.trust import Trust

Observations = dict[str, np.ndarray]
Stepped = tuple[Observations, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


@dataclass(frozen=True)
class ImaginationConfig:
    """How episodes are imagined."""

    max_frames: int = 0  # an episode is cut after so many; 0: the model's horizon
    sampler_steps: int | None = None  # None: the model's own
    pool: Pool = "start"
    group_size: int = 1  # members that share a start
    reward: Literal["sparse", "soft"] = "sparse"  # 1 at success, or the rise of the highest probability so far
    is_gated: bool = True  # cut where the mean disagreement passes the gate
    has_shared_noise: bool = False  # members of a group draw the same noise (T13): only their actions tell them apart

    def __post_init__(self) -> None:
        if self.max_frames < 0 or self.group_size < 1:
            raise ConfigError(f"max_frames is {self.max_frames}, group_size {self.group_size}: must be >= 0 and >= 1")


class ImaginedEnv(gymnasium.vector.VectorEnv):
    """`num_envs` imagined episodes. Observations are as of the station's other worlds, with a leading axis of members.

    `info` has, per member: `success`, `success_probability` (calibrated), `disagreement` (mean so far), `depth`
    (frames), `is_live`, and `executed_action`, which learners must store in place of the action.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.DISABLED}  # type: ignore[misc]

    def __init__(
        self,
        model: WorldModel,
        station: StationSpec,
        starts: Starts,
        num_envs: int = 1,
        *,
        config: ImaginationConfig = ImaginationConfig(),
        trust: Trust = Trust(),  # noqa: B008
    ) -> None:
        check_world(model.spec, station.name, station.action_names, station.control_rate_hz)
        if num_envs < 1 or num_envs % config.group_size:
            raise ConfigError(f"num_envs is {num_envs}, it must be a multiple of group_size ({config.group_size})")
        self.model, self.station, self.starts, self.num_envs = model, station, starts, num_envs
        self.config, self.trust, self.cell = config, trust, Cell(station)
        self.max_frames = config.max_frames or model.spec.horizon
        self.members: list[Member] = []
        self._rng = np.random.default_rng()
        self.interface = self._make_interface()
        fields = {name: _field_space(name, shape) for name, shape in self.interface.observation_shapes.items()}
        self.single_observation_space: Any = spaces.Dict(fields)  # pyright: ignore[reportArgumentType]
        self.single_action_space = spaces.Box(station.action_low, station.action_high, dtype=np.float64)
        self.observation_space: Any = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin new episodes; the same seed begins the same ones. `options` may name `pool` and `group_size`."""
        config = replace(self.config, **(options or {}))
        if self.num_envs % config.group_size:
            raise ConfigError(f"group_size {config.group_size} does not divide the {self.num_envs} members")
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        groups = self.num_envs // config.group_size
        drawn = [int(value) for value in self._rng.integers(2**62, size=groups)]
        if seed is not None:
            drawn[0] = seed  # a single episode begins as the same seed begins it in the true world
        chosen = [self.starts.draw(value, config.pool) for value in drawn]
        records = [record for record in chosen for _ in range(config.group_size)]
        shared = [value for value in drawn for _ in range(config.group_size)]
        own = [value + (0 if config.has_shared_noise else row) for row, value in enumerate(shared)]
        return self.begin(records, own)

    def begin(self, records: Sequence[StartRecord], seeds: Sequence[int]) -> tuple[Observations, dict[str, Any]]:
        """Begin one episode per member, from exactly these starts with exactly these seeds."""
        if len(records) != self.num_envs or len(seeds) != self.num_envs:
            raise ConfigError(f"expected {self.num_envs} starts and seeds, got {len(records)} and {len(seeds)}")
        histories = history_of(self.model, records)
        self.members = [
            Member(
                CommandedArm(self.cell, np.array(record.joints)), histories.select([row]), present(record), int(seed)
            )
            for row, (record, seed) in enumerate(zip(records, seeds, strict=True))
        ]
        return self._observe(), self._info()

    def step(self, actions: np.ndarray) -> Stepped:  # type: ignore[override]
        """Execute one action per member for one control tick; actions (B, A) in station units."""
        return self.step_chunk(np.asarray(actions)[:, None])

    def step_chunk(self, actions: np.ndarray) -> Stepped:
        """Execute chunks of actions, one per control tick: (B, n, A) in station units.

        Rewards are sums over the chunk. `info` also has, per frame imagined in this call: `frame_success` (calibrated),
        `frame_uncertainty` and `frame_is_live` (B, frames): true up to and including the first success.
        """
        if not self.members:
            raise RuntimeError("step before reset: call reset() first")
        shape = (self.num_envs, self.model.spec.action_dim)
        if actions.ndim != 3 or (actions.shape[0], actions.shape[2]) != shape:
            raise CheckpointMismatch(f"actions: expected ({shape[0]}, ticks, {shape[1]}), found {actions.shape}")
        rows = [row for row, member in enumerate(self.members) if member.is_live]
        executed = np.array(actions, np.float64)
        for row in rows:
            for tick in range(actions.shape[1]):
                executed[row, tick] = self.members[row].arm.follow(actions[row, tick])
                self.members[row].pending.append(executed[row, tick])
        rewards, frames = self._imagine(rows)
        info = self._info() | frames | {"executed_action": executed if actions.shape[1] > 1 else executed[:, 0]}
        return self._observe(), rewards, info["success"].copy(), np.array([m.is_cut for m in self.members]), info

    def branch(self, state: dict[str, Any], seeds: Sequence[int] | None = None) -> tuple[Observations, dict[str, Any]]:
        """Let every member go on from one state (`states()`), which may be of another process.

        Args:
            state: of one member.
            seeds: of the members from here on; None: the first goes on as it would have, the others by their own.
        """
        self.members = [Member.from_state(self.cell, state) for _ in range(self.num_envs)]
        given = [int(state["seed"]) + row for row in range(self.num_envs)] if seeds is None else seeds
        for member, seed in zip(self.members, given, strict=True):
            member.seed = int(seed)
        return self._observe(), self._info()

    def states(self) -> list[dict[str, Any]]:
        """Return each member's whole state, a tree for `policies.state_file`."""
        return [member.state() for member in self.members]

    def replay(self, records: Sequence[StartRecord], commands: np.ndarray, seeds: Sequence[int]) -> Rollout:
        """Return what recorded commands lead to in imagination, unfiltered: they have been executed once.

        Args:
            records: where each begins.
            commands: in force at each new frame, (B, T, A) in station units.
            seeds: one per item.
        """
        history = history_of(self.model, records)
        given = torch.as_tensor(commands, dtype=history.commands.dtype, device=history.anchor.device)
        steps = self.config.sampler_steps
        return imagine_on(self.model, history, given, seeds, [0] * len(seeds), steps=steps)

    def _imagine(self, rows: Sequence[int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Imagine the frames that are due; return rewards (B,) and what each frame was like."""
        members, ticks = [self.members[row] for row in rows], self.model.spec.ticks_per_frame
        count = len(members[0].pending) // ticks if members else 0
        rewards = np.zeros(self.num_envs)
        names = ("frame_success", "frame_uncertainty", "frame_is_live")
        frames = {name: np.zeros((self.num_envs, count), bool if "live" in name else np.float64) for name in names}
        if not count:
            return rewards, frames
        history = History.stack([member.history for member in members])
        due = np.array([member.pending[ticks - 1 : count * ticks : ticks] for member in members])
        commands = torch.as_tensor(due, dtype=history.commands.dtype, device=history.anchor.device)
        made = imagine_on(
            self.model,
            history,
            commands,
            [member.seed for member in members],
            [member.depth for member in members],
            steps=self.config.sampler_steps,
            with_uncertainty=self.config.is_gated,
        )
        success = self.trust.success(made.success.cpu().numpy())
        uncertainty = np.nan_to_num(made.uncertainty.cpu().numpy().astype(np.float64))
        images = self.model.decode(made.latents[:, -1:])
        for place, (row, member) in enumerate(zip(rows, members, strict=True)):
            member.history = made.history.select([place])
            member.images = {view: frame[place, 0] for view, frame in images.items()}
            member.pending = member.pending[count * ticks :]
            frames["frame_success"][row], frames["frame_uncertainty"][row] = success[place], uncertainty[place]
            rewards[row], frames["frame_is_live"][row] = self._judge(member, success[place], uncertainty[place])
        return rewards, frames

    def _judge(self, member: Member, success: Array, uncertainty: Array) -> tuple[float, np.ndarray]:
        """Take up new frames until the episode ends; return the reward and which frames counted, (frames,)."""
        reward, is_live = 0.0, np.zeros(len(success), bool)
        for frame, (probability, disagreement) in enumerate(zip(success, uncertainty, strict=True)):
            if not member.is_live:
                break
            is_live[frame] = True
            member.depth += 1
            member.disagreement_sum += float(disagreement)
            reward += max(float(probability) - member.best, 0.0) if self.config.reward == "soft" else 0.0
            member.best = max(member.best, float(probability))
            member.is_success = bool(probability >= self.trust.threshold)
            reward += float(member.is_success and self.config.reward == "sparse")
            too_unsure = self.config.is_gated and member.disagreement > self.trust.gate
            member.is_cut = not member.is_success and (member.depth >= self.max_frames or too_unsure)
        return reward, is_live

    def _observe(self) -> Observations:
        each = [member.arm.values() | {f"image/{v}": i for v, i in member.images.items()} for member in self.members]
        return {name: np.stack([values[name] for values in each]) for name in self.interface.observation_shapes}

    def _info(self) -> dict[str, Any]:
        members = self.members
        return {
            "success": np.array([member.is_success for member in members]),
            "success_probability": np.array([member.best for member in members]),
            "disagreement": np.array([member.disagreement for member in members]),
            "depth": np.array([member.depth for member in members]),
            "is_live": np.array([member.is_live for member in members]),
        }

    def _make_interface(self) -> Interface:
        spec, station = self.model.spec, self.station
        arm = CommandedArm(self.cell, station.home.copy())
        size = spec.image_size
        shapes = {name: value.shape for name, value in arm.values().items()}
        shapes |= {f"image/{view}": (size, size, 3) for view in spec.views}
        units = {name: unit for name, unit in field_units(station).items() if name in shapes or name == "action"}
        max_steps = self.max_frames * spec.ticks_per_frame
        return Interface(shapes, station.action_names, station.control_rate_hz, max_steps, station.joint_names, units)


def _field_space(name: str, shape: tuple[int, ...]) -> spaces.Box:
    if name.startswith("image/"):
        return spaces.Box(0, 255, shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, shape, np.float64)
