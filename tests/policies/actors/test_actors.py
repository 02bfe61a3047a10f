"""Many actors, one learner: what they hand over, what a lost one costs, and that a run can be repeated."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.actors.contract import ActorLost, ActorsConfig, Order, follow
from policies.actors.crew import Crew
from policies.actors.explorers import GaussianTask, ResidualTask, parameters_of
from policies.actors.learning import WithActors
from policies.actors.processes import Processes
from policies.base.behavior_cloning import BehaviorCloning
from policies.data.demonstrations import Demonstrations
from policies.decisions import Decisions
from policies.finetune_verb import FinetuneConfig, finetuner
from policies.learners.sac import SACLearner
from policies.normalization import ActionLimits, StateNormalizer
from policies.recipes import sac
from policies.recipes.rlpd import RLPDConfig
from policies.recipes.sac import SACConfig
from policies.run import Run
from policies.state_file import read_tree, tree_hash
from robot.errors import ConfigError, RobotError
from tests.gates.blocked_peg import BlockedPeg
from tests.gates.two_rooms import TwoRooms
from tests.policies.rig import TINY

SMALL: dict[str, Any] = {"batch_size": 8, "utd_ratio": 1, "heads": 2, "actor_hidden": (8,), "critic_hidden": (8,)}
SAC = SACConfig(env_steps=200, warmup_steps=60, evaluate_every=0, checkpoint_every=0, log_every=50, **SMALL)
TASK = GaussianTask(
    TwoRooms,
    {"position": (2,)},
    StateNormalizer(np.zeros(2), np.ones(2)),
    ActionLimits(np.zeros(2), np.ones(2)),
    Decisions(),
    SAC,
)
TWO = ActorsConfig(count=2, segment_steps=10)


def order(steps: int = 10, *, explores: bool = True, seed: int = 0) -> Order:
    return Order(steps, explores, parameters_of(SACLearner(2, 2, SAC, seed=seed).actor), updates=0)


def crew(config: ActorsConfig = TWO, make: Callable[[int], Any] = TASK) -> Crew:
    return Crew(Processes(), make, config, seed=3)


def pid(of: Crew, index: int) -> int:
    worker: Any = of.seats[index].worker
    return worker.process.pid


def learn(folder: Path, config: Any = SAC, actors: ActorsConfig = TWO, **more: Any) -> tuple[Any, dict[str, Any]]:
    """Run sac with actors in the two rooms; return the loop's state and what the run left, without the time it took."""
    with_actors = WithActors("sac", TwoRooms, actors)
    state = with_actors.finetune(TwoRooms(), None, None, config, Run(folder, tensorboard=False), seed=1, **more)
    tree = read_tree(folder / "training_state.safetensors")
    tree["loop"].pop("wall_s")
    return state, tree


def test_an_actor_hands_over_what_its_explorer_makes_here() -> None:
    """Two segments of either kind: an episode goes on from one to the next, and new parameters are acted by."""
    orders = [order(), order(explores=False), order(45, explores=False, seed=1)]
    with crew(replace(TWO, count=1)) as one:
        remote = [one.next(lambda asked=asked: asked)[1] for asked in orders]
    here = TASK(int(np.random.SeedSequence([3, 0, 0]).generate_state(1)[0]))
    local = [follow(here, asked) for asked in orders]
    assert [len(segment) for segment in remote] == [10, 10, 45]
    assert sum(made.episodes for made in remote[2]) >= 1
    for mine, theirs in zip(local, remote, strict=True):
        assert tree_hash([[vars(t) for t in made.transitions] for made in mine]) == tree_hash(
            [[vars(t) for t in made.transitions] for made in theirs]
        )
    ended = [made.finished for made in remote[2] if made.episodes]
    assert ended[0] is not None and 20 <= len(ended[0]) <= 40


def test_a_run_with_actors_learns_from_every_step_and_can_be_repeated(tmp_path: Path) -> None:
    state, tree = learn(tmp_path / "first")
    assert state.updates == SAC.env_steps - SAC.warmup_steps, "as many updates for a step as without actors"
    assert tree["source"]["collector"]["env_steps"] == SAC.env_steps
    assert len(tree["source"]["online"]["rows"]) == SAC.env_steps, "every step is one row"
    assert tree["source"]["collector"]["starts"] == [1, 1]
    logged = (tmp_path / "first/metrics.jsonl").read_text()
    for name in ("env_steps_per_s", "updates_behind", "updates_behind_max", "lost", "waited_for_share"):
        assert f'"actors/{name}"' in logged
    _, again = learn(tmp_path / "again")
    assert tree_hash(tree) == tree_hash(again), "taken in turn, segments do not depend on who is first"


def test_parameters_are_as_old_as_what_is_under_way(tmp_path: Path) -> None:
    ages: list[float] = []
    run = Run(tmp_path, tensorboard=False)
    run.log = lambda _, metrics: ages.append(metrics["actors/updates_behind_max"])  # type: ignore[method-assign]
    WithActors("sac", TwoRooms, TWO).finetune(TwoRooms(), None, None, SAC, run, seed=1)
    assert max(ages) == 10, "one other actor's segment of ten steps, an update each, lies in between"


def test_a_killed_actor_costs_its_episode_and_nothing_else(tmp_path: Path) -> None:
    kills: list[int] = []

    def kill(env_steps: int, path: Path) -> list[float]:
        """Kill one of the running actors in the middle of the run: evaluation is where the loop lets us in."""
        if env_steps == 100:
            actors = multiprocessing.active_children()
            assert len(actors) == 2
            kills.append(actors[0].pid or 0)
            os.kill(kills[0], signal.SIGKILL)
        return [env_steps, 0.0, 1]

    state, tree = learn(tmp_path, replace(SAC, evaluate_every=100), evaluate=kill)
    collector = tree["source"]["collector"]
    assert len(kills) == 1
    assert sorted(collector["starts"]) == [1, 2], "one was started again, the other was left alone"
    assert collector["env_steps"] == len(tree["source"]["online"]["rows"]) == SAC.env_steps
    assert state.updates == SAC.env_steps - SAC.warmup_steps


def test_a_killed_actor_is_replaced_by_one_with_starts_of_its_own() -> None:
    with crew() as two:
        first = [two.next(order)[1] for _ in range(2)]
        os.kill(pid(two, 0), signal.SIGKILL)
        after = [two.next(order)[1] for _ in range(4)]
        assert two.lost == 1
        assert [seat.starts for seat in two.seats] == [2, 1]
    begins = [segment[0].transitions[0].state for segment in (*first, *after)]
    assert len({begin.tobytes() for begin in begins}) == 6


def test_a_frozen_actor_is_given_up() -> None:
    with crew(replace(TWO, count=1)) as one:
        one.next(order)
        worker: Any = one.seats[0].worker
        os.kill(worker.process.pid, signal.SIGSTOP)
        worker.ask(order())
        with pytest.raises(ActorLost, match=r"said nothing for 0\.2 s"):
            worker.answer(0.2)


def test_as_they_come_nobody_waits_for_a_frozen_actor() -> None:
    with crew(replace(TWO, in_turn=False)) as two:
        while not all(seat.starts for seat in two.seats):
            two.next(order)
        os.kill(pid(two, 0), signal.SIGSTOP)
        made = [two.next(order)[1] for _ in range(4)]
    assert len(made) == 4
    assert two.lost == 0


class Broken(TwoRooms):
    """A world whose arm comes off."""

    def step(self, action: np.ndarray) -> Any:
        raise RobotError("the arm came off")


def test_a_world_that_always_fails_ends_the_run_with_its_words() -> None:
    with (
        crew(replace(TWO, count=1, losses_in_a_row=2), replace(TASK, world=Broken)) as one,
        pytest.raises(RobotError, match="lost 2 times in a row") as failure,
    ):
        one.next(order)
    assert "the arm came off" in str(failure.value)


def test_a_resumed_run_goes_on_counting_with_new_episodes(tmp_path: Path) -> None:
    _, half = learn(tmp_path, stop_after=120)
    assert half["source"]["collector"]["env_steps"] == half["source"]["progress"] == 120
    state, whole = learn(tmp_path)
    rows = [tree["source"]["online"]["rows"] for tree in (half, whole)]
    assert np.array_equal(rows[1][:120], rows[0]), "what was learned from is kept"
    assert whole["source"]["collector"]["env_steps"] == SAC.env_steps
    assert whole["source"]["collector"]["starts"] == [2, 2]
    assert state.updates == SAC.env_steps - SAC.warmup_steps


def test_residual_and_demonstrations_with_actors(
    base: BehaviorCloning, demonstrations: Demonstrations, tmp_path: Path
) -> None:
    config = replace(TINY, log_every=20)
    run = Run(tmp_path / "resfit", tensorboard=False)
    actors = WithActors("resfit", BlockedPeg, TWO)
    state = actors.finetune(BlockedPeg(), base, demonstrations, config, run, seed=1)
    tree = read_tree(run.state_path)["source"]
    assert state.updates == config.critic_only_updates + (config.env_steps - config.warmup_steps) * config.utd_ratio
    assert tree["collector"]["env_steps"] == tree["progress"] == config.env_steps
    assert '"actors/updates_behind"' in (run.folder / "metrics.jsonl").read_text()
    explorer = ResidualTask(BlockedPeg, base.content(), *_fitted(demonstrations), config)(
        int(np.random.SeedSequence([1, 0, 0]).generate_state(1)[0])
    )
    first = explorer.step(explores=True) or explorer.step(explores=True) or explorer.step(explores=True)
    assert np.array_equal(tree["online"]["rows"][0][:8], first[0].state), "the seed's own start and limits"
    prior = RLPDConfig(env_steps=60, warmup_steps=20, evaluate_every=0, checkpoint_every=0, **SMALL)
    run = Run(tmp_path / "rlpd", tensorboard=False)
    state = WithActors("rlpd", BlockedPeg, TWO).finetune(BlockedPeg(), None, demonstrations, prior, run, seed=1)
    assert state.updates == 40


def _fitted(demonstrations: Demonstrations) -> tuple[StateNormalizer, ActionLimits]:
    floor = demonstrations.half_range_floor(TINY.half_range_floor)
    states = StateNormalizer.fit(demonstrations.states, TINY.state_std_floor)
    return states, ActionLimits.fit(demonstrations.actions, floor, widen=TINY.residual_scale)


def test_an_actor_ends_when_nobody_holds_the_other_end() -> None:
    """As it is when the learner is killed: the kernel closes its pipes."""
    with crew() as two:
        two.next(order)
        gone: Any = two.seats[0].worker
        gone.pipe.close()
        gone.process.join(60.0)
        assert gone.process.exitcode == 0
        two.next(order)  # the other one goes on


def test_the_verb_finetunes_with_actors() -> None:
    config = FinetuneConfig(env="gymnasium/Pendulum-v1", recipe="sac", actors=3, back_end="ray")
    assert finetuner(config, sac).__self__ == WithActors("sac", config.env, ActorsConfig(3, "ray"))
    assert finetuner(FinetuneConfig(recipe="sac"), sac) is sac.finetune


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown recipe with actors 'expo'"):
        FinetuneConfig(recipe="expo", actors=2)
    with pytest.raises(ConfigError, match="actors must be >= 1, got -1"):
        FinetuneConfig(recipe="sac", actors=-1)
    with pytest.raises(ConfigError, match="allowed: processes, ray"):
        ActorsConfig(back_end="threads")
    with pytest.raises(ConfigError, match="count"):
        ActorsConfig(count=0)
    with pytest.raises(ConfigError, match="known: resfit, rlpd, sac"):
        WithActors("expo", TwoRooms, TWO)
