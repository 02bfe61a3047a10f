"""Recipes whose world is stepped by many actors: their sources, learners and loop are the recipe's own.

Only the collector is another one (`policies.actors.remote_collector`). The learner makes as many updates for a control
step as it does alone, whoever made the step; parameters are as old as what is under way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.actors.contract import ActorsConfig, BackEnd, MakeExplorer
from policies.actors.crew import Crew
from policies.actors.explorers import GaussianTask, ResidualTask, parameters_of
from policies.actors.processes import Processes
from policies.actors.ray_workers import RayCluster
from policies.actors.remote_collector import RemoteCollector, updates_made
from policies.checkpoint import save_policy
from policies.data.demonstrations import Demonstrations, Env, interface_of
from policies.decisions import refuse_images, store
from policies.evaluation import World
from policies.learners.sac import SACLearner
from policies.normalization import StateNormalizer
from policies.online import NO_RETURN, OnlineSource, demonstrated_source, world_limits, world_states
from policies.recipes.resfit import ResFiT
from policies.recipes.sac import train_actor
from policies.run import Run
from policies.training import LoopConfig, LoopState, train
from robot.errors import ConfigError, unknown_name

RECIPES = ("sac", "rlpd", "resfit")


def check_actors(recipe: str, count: int) -> None:
    """Raise ConfigError where a recipe cannot have so many actors."""
    if count < 1:
        raise ConfigError(f"actors must be >= 1, got {count}; without the flag the recipe steps its one world itself")
    if recipe not in RECIPES:
        raise unknown_name("recipe with actors", recipe, RECIPES)


@dataclass(frozen=True)
class WithActors:
    """A recipe with actors. `finetune` is called as the recipe's own; `world` is what each actor builds for itself.

    The given world itself is asked for its interface alone.
    """

    recipe: str
    world: World
    actors: ActorsConfig

    def __post_init__(self) -> None:
        check_actors(self.recipe, self.actors.count)

    def finetune(
        self,
        env: Env,
        base: Any,
        demonstrations: Demonstrations | None,
        config: Any,
        run: Run,
        *,
        seed: int,
        evaluate: Callable[[int, Path], Any] | None = None,
        stop_after: int | None = None,
    ) -> LoopState:
        """Run the recipe; a resumed run has its learner and replay as they were, and begins new episodes."""
        more: Any = {"evaluate": evaluate, "stop_after": stop_after}
        if self.recipe == "resfit":
            assert demonstrations is not None
            return self._residual(ResFiTWithActors(env, base, demonstrations, config, seed=seed), run, seed, **more)
        source: Any = _decision_source(self.recipe, env, demonstrations, config, seed)
        state, action = source.sizes
        learner, collector = SACLearner(state, action, config, seed=seed), source.collector
        task = GaussianTask(
            self.world, dict(collector.shapes), collector.states, collector.limits, config.decisions(), config
        )
        with self._crew(task, seed) as crew:
            source.collector = remote = RemoteCollector(
                collector,
                crew,
                warmup_steps=config.warmup_steps,
                parameters=lambda: parameters_of(learner.actor),
                updates=lambda: updates_made(learner.critics.optimizer),
            )
            source.step = lambda: take_decision(source, remote)
            return train_actor(self.recipe, source, learner, run, **more)

    def _crew(self, make: MakeExplorer, seed: int) -> Crew:
        back_end: BackEnd = RayCluster(self.actors.count) if self.actors.back_end == "ray" else Processes()
        return Crew(back_end, make, self.actors, seed)

    def _residual(
        self,
        source: Any,
        run: Run,
        seed: int,
        *,
        evaluate: Callable[[int, Path], Any] | None,
        stop_after: int | None,
    ) -> LoopState:
        config, learner = source.config, source.learner
        task = ResidualTask(self.world, source.base.content(), source.states, source.limits, config)
        with self._crew(task, seed) as crew:
            source.collector = RemoteCollector(
                source.collector,
                crew,
                warmup_steps=config.warmup_steps,
                parameters=lambda: parameters_of(learner.actor),
                updates=lambda: updates_made(learner.critic_optimizer),
            )
            return train(
                source,
                learner,
                LoopConfig(config.env_steps, config.log_every, config.checkpoint_every, config.evaluate_every),
                run,
                write_policy=lambda path, step: save_policy(path, source.policy(), env_steps=step),
                evaluate=evaluate,
                stop_after=stop_after,
                title="resfit",
            )


class ResFiTWithActors(ResFiT):
    """ResFiT's source, which also tells what its actors do."""

    def metrics(self) -> dict[str, float]:
        collector: Any = self.collector
        return collector.metrics()


def take_decision(source: OnlineSource, collector: RemoteCollector) -> int:
    """Store the next decision that some actor made; return how many control steps it took."""
    before = collector.env_steps
    found = [(transition, NO_RETURN) for transition in collector.step()]
    store(source.online, found, len(source.demos.rows))
    return collector.env_steps - before


def _decision_source(
    recipe: str, env: Env, demonstrations: Demonstrations | None, config: Any, seed: int
) -> OnlineSource:
    """Return the source that the recipe makes."""
    rows = config.batch_size * config.utd_ratio
    if recipe == "rlpd":
        assert demonstrations is not None
        return demonstrated_source(env, demonstrations, config, recipe, rows, seed)
    if demonstrations is None:
        shapes, states = interface_of(env).observation_shapes, world_states(env)
    else:
        shapes = demonstrations.observation_shapes
        states = StateNormalizer.fit(demonstrations.states, config.state_std_floor)
    refuse_images(shapes, recipe)
    return OnlineSource(env, shapes, states, world_limits(env), config=config, rows=rows, seed=seed)
