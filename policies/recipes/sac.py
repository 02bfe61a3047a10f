"""SAC: maximum-entropy actor-critic from nothing but the world's reward (Haarnoja et al. 2018).

The paper's method box, as it is run here, per environment step:
1. Act: a ~ pi(s), the first `warmup_steps` uniformly in the box; store (s, a, r, s').
2. Critics: y = r + gamma (1 - e) (min_j Q'_j(s', a') - alpha log pi(a'|s')), one update per step.
3. Actor: minimise alpha log pi(a|s) - min_j Q_j(s, a).  Temperature: hold the entropy at -d.

There is no base and no demonstration in it. Where `tandem finetune` has a base, it is what the result is compared with.
Demonstrations, where given, say how states are scaled; the actions are the world's whole box.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from policies.actor_policy import ActorConfig, ActorPolicy
from policies.calibration import Calibrated
from policies.data.demonstrations import Demonstrations, Env, interface_of
from policies.decisions import refuse_images
from policies.learners.sac import SACLearner, SACLearnerConfig
from policies.normalization import StateNormalizer
from policies.online import OnlineConfig, OnlineSource, world_limits, world_states
from policies.recipe_training import train_recipe
from policies.run import Run
from policies.training import LoopState
from robot.policy import PolicySpec

NEEDS_BASE = False
restore = ActorPolicy.restore


@dataclass(frozen=True)
class SACConfig(OnlineConfig, SACLearnerConfig):
    """Settings; the defaults are the paper's."""

    env_steps: int = 1_000_000
    warmup_steps: int = 10_000
    demo_fraction: float = 0.0
    utd_ratio: int = 1
    heads: int = 2
    layer_norm: bool = False
    actor_value: str = "min"
    entropy_per_dimension: float = -1.0

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)
        SACLearnerConfig.__post_init__(self)


PRESETS = {
    "default": SACConfig(),
    "cpu": SACConfig(env_steps=20_000, warmup_steps=1_000, critic_learning_rate=1e-3, evaluate_every=2_000),
    "debug": SACConfig(
        env_steps=200,
        warmup_steps=60,
        batch_size=16,
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        evaluate_every=100,
        checkpoint_every=100,
        log_every=100,
    ),
}


def finetune(
    env: Env,
    _base: Any,
    demonstrations: Demonstrations | None,
    config: SACConfig,
    run: Run,
    *,
    seed: int,
    evaluate: Callable[[int, Path], Any] | None = None,
    stop_after: int | None = None,
) -> LoopState:
    """Run the recipe; continues where `run` holds a training state. Leaves the policy at `run.policy_path`."""
    if demonstrations is None:
        shapes, states = interface_of(env).observation_shapes, world_states(env)
    else:
        shapes = demonstrations.observation_shapes
        states = StateNormalizer.fit(demonstrations.states, config.state_std_floor)
    refuse_images(shapes, "sac")
    limits = world_limits(env)
    rows = config.batch_size * config.utd_ratio
    source = OnlineSource(env, shapes, states, limits, config=config, rows=rows, seed=seed)
    learner = SACLearner(*source.sizes, config, seed=seed)
    return train_actor("sac", source, learner, run, evaluate=evaluate, stop_after=stop_after)


def train_actor(
    kind: str,
    source: OnlineSource,
    learner: SACLearner,
    run: Run,
    *,
    evaluate: Callable[[int, Path], Any] | None,
    stop_after: int | None,
) -> LoopState:
    """Let the learner's actor explore in the source's world and learn from it; evaluated without noise."""
    collector = source.collector
    source.act = lambda: learner.act(source.state_now())
    policy = ActorPolicy(
        kind,
        actor_spec(collector.env, collector.shapes, source.config.decision_steps),
        learner.actor,
        collector.states,
        collector.limits,
        ActorConfig(learner.config.actor_hidden, learner.config.actor_layer_norm, learner.config.activation),
    )
    watched = Calibrated(source, learner.critics)
    return train_recipe(kind, watched, learner, policy, run, evaluate=evaluate, stop_after=stop_after)


def actor_spec(env: Env, shapes: Any, steps: int) -> PolicySpec:
    """Return the spec of a policy of its own for this world; `steps` actions to a decision."""
    world = interface_of(env)
    spec = PolicySpec(shapes, tuple(world.action_names), world.rate_hz, steps, steps)
    return replace(spec, joint_names=tuple(world.joint_names), units=world.units)
