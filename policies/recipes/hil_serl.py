"""HIL-SERL: reinforcement learning with a person in the loop and demonstrations beside it (Luo et al. 2024).

The method box, as it is run here, per tick:
1. Act: a ~ pi(s), the gripper by its own critic, greedily. A person may take over; whoever drives, it is executed.
2. Store: every tick in the replay; a person's ticks among the demonstrations too (recoveries are not).
3. Batch: half of it replay, half demonstrations, row by row.
4. Critics: y = r + gamma m min_i Q_i'(s', a'), two heads, of the motion alone; actor: max mean_i Q_i - alpha log pi.
5. Gripper: y = r + p + gamma m Q_g'(s', argmax_b Q_g(s', b)), p the penalty of a command that changes its state.

The reward is the world's success, or a person's mark. With `reward` classifier it is the word of a classifier trained
on how the demonstrations end, inside the box of their ends, and what the world says of success counts nothing.
Where the last action is not called `gripper` there is no gripper critic. With `places`, these fields are seen from
where the tcp was when the episode began, and actions are ways from where it is: the world must be commanded by places.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.data.demonstrations import Demonstrations, Env
from policies.decisions import store
from policies.learners.sac import SACLearner, SACLearnerConfig, Transitions
from policies.online import NO_RETURN, OnlineConfig
from policies.recipe_training import train_recipe
from policies.recipes.sac import actor_spec
from policies.replay import sample_mixed
from policies.run import Run
from policies.takeovers.believed_control import BeliefConfig, BelievedControl, believe_demonstrations
from policies.takeovers.gripper import GripperCritic, decisions_of, grasp_penalties
from policies.takeovers.gripper_policy import GripperActorConfig, GripperActorPolicy
from policies.takeovers.relative import RelativeControl, RelativeFrames
from policies.takeovers.rewards import TaskReward
from policies.takeovers.source import TakeoverSource, Uses
from policies.training import LoopState
from robot.errors import ConfigError

NEEDS_BASE = False
NEEDS_PERSON = True
restore = GripperActorPolicy.restore


@dataclass(frozen=True)
class HILSERLConfig(OnlineConfig, SACLearnerConfig):
    """Settings; the defaults are the released code's."""

    warmup_steps: int = 100
    discount: float = 0.97
    utd_ratio: int = 2
    heads: int = 2
    backup_entropy: bool = False
    initial_temperature: float = 0.01
    replay_capacity: int = 200_000
    grasp_penalty: float = -0.02
    gripper_hidden: tuple[int, ...] = (256, 256)
    reward: str = "world"  # or classifier
    places: tuple[str, ...] = ()  # fields of places in relative frames, tcp_position among them; (): the world's frame
    believed_ticks: int = 2  # in a row, until the classifier pays; 1 where the world itself ends at success

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        SACLearnerConfig.__post_init__(self)
        if self.grasp_penalty > 0.0 or self.n_step != 1 or not self.gripper_hidden:
            raise ConfigError(
                f"hil_serl needs grasp_penalty <= 0 (it is added to the reward), n_step 1 and a gripper network; got "
                f"{self.grasp_penalty}, {self.n_step}, {self.gripper_hidden}"
            )
        if self.reward not in ("world", "classifier"):
            raise ConfigError(f"reward is '{self.reward}', allowed: world, classifier")


PRESETS = {
    "default": HILSERLConfig(),
    "cpu": HILSERLConfig(
        env_steps=20_000,
        warmup_steps=500,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
        gripper_hidden=(64, 64),
        initial_temperature=0.1,
        evaluate_every=2_000,
        checkpoint_every=5_000,
    ),
    "debug": HILSERLConfig(
        env_steps=200,
        warmup_steps=60,
        batch_size=16,
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        gripper_hidden=(16,),
        evaluate_every=100,
        checkpoint_every=100,
        log_every=100,
    ),
}


@dataclass(frozen=True)
class PenalisedTransitions(Transitions):
    """Transitions and the grasp penalty of each."""

    penalty: Tensor | None = None  # (batch,)

    def slices(self, count: int) -> list[Transitions]:
        """Cut as `Transitions` are, the penalties with them."""
        parts = {name: value.chunk(count) for name, value in vars(self).items() if value is not None}
        return [PenalisedTransitions(**{name: part[i] for name, part in parts.items()}) for i in range(count)]


class HILSERLSource(TakeoverSource):
    """A `TakeoverSource` whose rows know their grasp penalty."""

    beside = MappingProxyType({"penalty": 0})

    def __init__(self, env: Env, demonstrations: Demonstrations, config: HILSERLConfig, *, seed: int) -> None:
        rows = config.batch_size * config.utd_ratio
        frames = RelativeFrames(config.places) if config.places else None
        demonstrations = demonstrations if frames is None else frames.demonstrations(demonstrations)
        through = None if frames is None else partial(RelativeControl, frames=frames)
        uses = Uses(TaskReward(), demonstrates=True, through=through)
        super().__init__(env, demonstrations, config, uses, rows=rows, seed=seed)
        self._penalty = config.grasp_penalty
        limits = self.collector.limits
        if config.reward == "classifier":
            belief = BeliefConfig(in_a_row=config.believed_ticks)
            believed = believe_demonstrations(demonstrations, self.collector.states, belief, seed=seed)
            shapes = demonstrations.observation_shapes
            self.collector.control = BelievedControl(self.collector.control, believed, shapes)
        found = [self._penalties(limits.normalize(item.actions)) for item in demonstrations.trajectories]
        column = self.demos.split(torch.from_numpy(self.demos.rows))["penalty"]
        column[: len(self.demos)] = torch.from_numpy(np.float32(np.concatenate(found)))
        self._last: list[np.ndarray] = []
        first = np.mean([limits.normalize(item.actions[0])[-1] for item in demonstrations.trajectories])
        self.first_command = float(decisions_of(np.array([first]))[0])

    @property
    def gripper_command(self) -> float:
        """The gripper's command of the tick before, in [-1, 1]; at an episode's beginning as demonstrated."""
        return float(self._last[-1][-1]) if self._last else self.first_command

    def _penalties(self, actions: np.ndarray) -> np.ndarray:
        return grasp_penalties(actions[:, -1], self._penalty)

    def step(self) -> int:
        """Make one tick; its transition is complete at once, and knows the command before it."""
        episode = self.collector.episodes
        transitions = self.collector.step(self.explore() if self.is_warming_up else self.act())
        for transition, is_his in zip(transitions, self.collector.is_demonstrated, strict=True):
            self._last.append(transition.action)
            row = [(transition, NO_RETURN)]
            beside = {"penalty": float(self._penalties(np.array(self._last))[-1])}
            store(self.online, row, len(self.demos.rows), beside)
            if is_his:
                store(self.demos, row, beside=beside)
        if self.collector.episodes != episode:
            self._last = []
        return 1

    def sample(self, rows: int, demo_fraction: float) -> PenalisedTransitions:
        drawn = sample_mixed(self.demos, self.online, rows, demo_fraction, self.generator)
        return PenalisedTransitions.of(self.online.split(drawn))  # type: ignore[return-value]

    def state(self) -> dict[str, Any]:
        return super().state() | {"last": self._last}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._last = list(state["last"])


class HILSERLLearner:
    """SAC for the motion, and the gripper's critic."""

    def __init__(self, state: int, action: int, config: HILSERLConfig, *, has_gripper: bool, seed: int) -> None:
        self.config = config
        self.motion = SACLearner(state, action - has_gripper, config, seed=seed)
        self.gripper: GripperCritic | None = None
        if has_gripper:
            rate = config.critic_learning_rate
            self.gripper = GripperCritic(state, config.gripper_hidden, rate, self.motion.generator)

    def act(self, state: Tensor, gripper_command: float) -> np.ndarray:
        """Sample a motion, and decide about the gripper; to stay is to repeat its last command."""
        motion = self.motion.act(state)
        if self.gripper is None:
            return motion
        decision = int(self.gripper.decide(state)[0])
        return np.append(motion, decision or gripper_command)

    def update(self, batch: PenalisedTransitions) -> dict[str, Tensor]:
        if self.gripper is None:
            return self.motion.update(batch)
        metrics: dict[str, Tensor] = {}
        for part in batch.slices(self.config.utd_ratio):
            assert isinstance(part, PenalisedTransitions) and part.penalty is not None
            metrics = self.gripper.update(part, part.penalty, self.config.tau)
        values = {name: value for name, value in vars(batch).items() if name != "penalty"}
        return self.motion.update(Transitions(**{**values, "action": batch.action[:, :-1]})) | metrics

    def networks(self) -> nn.ModuleDict:
        parts: dict[str, nn.Module] = {"actor": self.motion.actor}
        return nn.ModuleDict(parts if self.gripper is None else parts | {"gripper": self.gripper.live})

    def state(self) -> dict[str, Any]:
        gripper = {} if self.gripper is None else self.gripper.state()
        return {"motion": self.motion.state(), "gripper": gripper}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.motion.restore(state["motion"])
        if self.gripper is not None:
            self.gripper.restore(state["gripper"])


def finetune(
    env: Env,
    _base: Any,
    demonstrations: Demonstrations,
    config: HILSERLConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    source = HILSERLSource(env, demonstrations, config, seed=seed)
    has_gripper = demonstrations.action_names[-1] == "gripper"
    learner = HILSERLLearner(*source.sizes, config, has_gripper=has_gripper, seed=seed)
    source.act = lambda: learner.act(source.state_now(), source.gripper_command)
    collector = source.collector
    hidden = config.gripper_hidden if has_gripper else ()
    networks = (config.actor_hidden, config.actor_layer_norm, config.activation, hidden)
    acting = GripperActorConfig(*networks, source.first_command, config.places)
    spec = actor_spec(env, collector.shapes, 1)
    policy = GripperActorPolicy("hil_serl", spec, learner.networks(), collector.states, collector.limits, acting)
    return train_recipe("hil_serl", source, learner, policy, run, evaluate=evaluate, stop_after=stop_after)
