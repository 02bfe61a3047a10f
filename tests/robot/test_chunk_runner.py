"""Receding horizon, temporal ensembling and asynchronous inference: who is asked when, and what is followed."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from robot.chunk_runner import ChunkRunner, Execution, PrefixPolicy, _points
from robot.errors import ConfigError
from robot.plan import Plan
from robot.policy import ActionChunk, PolicySpec

H, RATE_HZ, DT_NS = 8, 20.0, 50_000_000
SPEC = PolicySpec({"step": (1,)}, ("a", "b"), RATE_HZ, H, H)


class Asked:
    """Point i of the answer to step k is (k, k + i): whom it comes from, and what it is for."""

    def __init__(self, horizon: int = H, execution_horizon: int = H, execution: str = "receding") -> None:
        self.spec = replace(SPEC, action_horizon=horizon, execution_horizon=execution_horizon, execution=execution)
        self.asked: list[int] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        step = int(observation["step"][0])
        self.asked.append(step)
        numbers = np.arange(self.spec.action_horizon)
        return ActionChunk(np.stack([np.full(len(numbers), float(step)), step + numbers], axis=1), 0.0)


class Told(Asked):
    """Also takes what is planned and frozen, and keeps it."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.prefixes: dict[int, np.ndarray] = {}
        self.planned: dict[int, np.ndarray] = {}

    def act_after(self, observation: Mapping[str, np.ndarray], planned: np.ndarray, frozen: int) -> ActionChunk:
        chunk = self.act(observation)
        self.prefixes[int(observation["step"][0])] = planned[:frozen]
        self.planned[int(observation["step"][0])] = planned
        return chunk


def seen(step: int) -> dict[str, np.ndarray]:
    return {"step": np.array([float(step)])}


def executed(runner: ChunkRunner, steps: int, generations: Mapping[int, int] = {}) -> np.ndarray:
    """Follow what is given out as the tick does, by a plan that an ownership edge clears; nan where there is none."""
    plan, generation, rows = Plan(), 0, []
    for step in range(steps):
        if step in generations:
            generation, plan = generations[step], Plan()
        chunk = runner.step(seen(step), step * DT_NS, generation)
        if chunk is not None:
            plan, refused = plan.accept(chunk, now_ns=step * DT_NS, generation=generation, not_before_ns=-1)
            assert not refused
        sample = plan.sample((step + 1) * DT_NS)
        rows.append(np.full(2, np.nan) if sample is None else sample.action)
    return np.array(rows)


def test_receding_horizon_asks_when_the_steps_are_used_up() -> None:
    policy = Asked(execution_horizon=3)
    rows = executed(ChunkRunner(policy), 10)
    assert policy.asked == [0, 3, 6, 9]
    assert rows[:, 0].tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]
    assert rows[:, 1].tolist() == list(range(10))
    policy = Asked()
    executed(ChunkRunner(policy, "receding:2"), 6)
    assert policy.asked == [0, 2, 4], "the command line wins over the policy"


def act_ensemble(steps: int, horizon: int, decay: float, since: int = 0) -> np.ndarray:
    """Temporal ensembling as ACT's evaluation does it: a table of all predictions by query and due step."""
    table = np.full((steps, steps + horizon), np.nan)
    for query in range(since, steps):
        table[query, query : query + horizon] = query
    rows = []
    for step in range(steps):
        predictions = table[~np.isnan(table[:, step]), step]
        weights = np.exp(-decay * np.arange(len(predictions)))
        rows.append((weights / weights.sum() * predictions).sum() if len(predictions) else np.nan)
    return np.array(rows)


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.5])
def test_temporal_ensembling_equals_act_at_every_step(decay: float) -> None:
    policy = Asked(execution=f"ensemble:{decay}")
    rows = executed(ChunkRunner(policy), 25)
    assert policy.asked == list(range(25)), "asked at every step, whatever the execution horizon"
    np.testing.assert_allclose(rows[:, 0], act_ensemble(25, H, decay), atol=1e-12)
    np.testing.assert_allclose(rows[:, 1], np.arange(25), atol=1e-12, err_msg="all answers are of the same time")


def test_ensembling_averages_the_whole_plan_so_a_late_answer_finds_it_as_well() -> None:
    runner = ChunkRunner(Asked(), "ensemble:0.5")
    chunks = [runner.step(seen(step), step * DT_NS) for step in range(3)]
    last = chunks[-1].actions
    weights = np.exp(-0.5 * np.arange(3))
    assert last.shape == (H, 2)
    np.testing.assert_allclose(last[:6, 0], (weights * [0, 1, 2]).sum() / weights.sum())
    np.testing.assert_allclose(last[6, 0], (weights[:2] * [1, 2]).sum() / weights[:2].sum())
    assert last[7].tolist() == [2.0, 9.0]


def test_ensembling_goes_by_time_where_observations_come_unevenly() -> None:
    """Answers of a smooth motion, asked at uneven times, average to that motion."""
    policy = Asked()
    policy.act = lambda observation: ActionChunk(  # type: ignore[method-assign]
        np.stack([observation["time_s"] + np.arange(1, H + 1) / RATE_HZ] * 2, axis=1), 0.0
    )
    runner = ChunkRunner(policy, "ensemble")
    for time_ns in (0, 47_000_000, 103_000_000, 149_500_000, 222_000_000):
        chunk = runner.step({"time_s": np.array(time_ns / 1e9)}, time_ns)
        expected = time_ns / 1e9 + np.arange(1, H + 1) / RATE_HZ
        np.testing.assert_allclose(chunk.actions[:, 0], expected, atol=1e-9)


def test_base_actions_are_averaged_beside_the_actions() -> None:
    policy = Asked()
    plain = policy.act
    policy.act = lambda o: replace(plain(o), base_actions=plain(o).actions + 100.0)  # type: ignore[method-assign]
    runner = ChunkRunner(policy, "ensemble")
    chunk = [runner.step(seen(step), step * DT_NS) for step in range(4)][-1]
    np.testing.assert_allclose(chunk.base - chunk.actions, 100.0)


@pytest.mark.parametrize(("delay", "horizon"), [(1, 4), (2, 4), (3, 3), (4, 4)])
def test_while_inference_runs_the_old_chunk_is_followed_and_its_actions_begin_the_new_one(
    delay: int, horizon: int
) -> None:
    policy = Told(execution_horizon=horizon)
    runner = ChunkRunner(policy, f"async:{delay}")
    assert isinstance(policy, PrefixPolicy)
    rows = executed(runner, 20)
    assert policy.asked == list(range(0, 20, horizon))
    chunk_of = [0 if step < horizon + delay else (step - delay) // horizon * horizon for step in range(20)]
    assert rows[:, 0].tolist() == chunk_of, "an answer is followed only once it could have been there"
    assert rows[:, 1].tolist() == list(range(20))
    for step, prefix in policy.prefixes.items():
        assert prefix.shape == (delay, 2)
        done = rows[step : step + delay]
        np.testing.assert_array_equal(prefix[: len(done)], done, err_msg="what is executed meanwhile")
    assert sorted(policy.prefixes) == policy.asked[1:], "the first answer has nothing to begin with"


def test_the_frozen_prefix_begins_the_chunk_of_a_policy_that_is_not_told_too() -> None:
    runner = ChunkRunner(Asked(execution_horizon=4), "async:2", in_real_time=True)
    given = [chunk for step in range(9) if (chunk := runner.step(seen(step), step * DT_NS))]
    assert [chunk.observation_time_ns // DT_NS for chunk in given] == [0, 4, 8], "in real time given out at once"
    assert given[1].actions[:, 0].tolist() == [0, 0, 4, 4, 4, 4, 4, 4]
    assert given[2].actions[:, 0].tolist() == [4, 4, 8, 8, 8, 8, 8, 8]


def test_in_real_time_the_longest_recent_inference_is_frozen() -> None:
    policy = Told(execution_horizon=6)
    runner = ChunkRunner(policy, "async", in_real_time=True)
    for step in range(30):
        if runner.step(seen(step), step * DT_NS) is not None:
            runner.note_latency(0.12 if step < 6 else 0.01)
    assert {len(prefix) for prefix in policy.prefixes.values()} == {3}, "0.12 s are three steps of 0.05 s"
    runner.note_latency(9.9)
    assert [len(policy.prefixes[s]) for step in range(30, 40) if runner.step(seen(step), step * DT_NS)
            for s in policy.asked[-1:]] == [4, 4, 4], "never more than half of a chunk"  # fmt: skip


@pytest.mark.parametrize("execution", ["receding", "receding:3", "ensemble", "ensemble:0.5", "async:2", "async:4"])
@pytest.mark.parametrize("edges", [{5: 1}, {5: 1, 6: 2}, {3: 1, 9: 2, 17: 3}])
def test_nothing_from_before_a_takeover_or_hand_back_survives_it(execution: str, edges: dict[int, int]) -> None:
    policy = Told(execution_horizon=4)
    runner = ChunkRunner(policy, execution)
    runner.reset()
    rows, policy_resets = executed(runner, 30, edges), policy.resets
    last = 0
    for edge in sorted(edges):
        assert edge in policy.asked, "asked afresh with the first observation of the new owner"
        last = edge
        later = [step for step in sorted(edges) if step > edge] or [30]
        assert (rows[edge : later[0], 0] >= edge - 1e-9).all(), "only answers from after the edge are followed"
        assert edge not in policy.prefixes, "and nothing of before is frozen"
    assert policy_resets == 1 + len(edges)
    fresh = executed(ChunkRunner(Told(execution_horizon=4), execution), 30 - last)
    np.testing.assert_allclose(rows[last:] - last, fresh, atol=1e-12, err_msg="as an episode that begins there")


@pytest.mark.parametrize("execution", ["receding:3", "ensemble:0.1", "async:2"])
def test_the_graph_decides_as_the_lock_step_loop(execution: str) -> None:
    """Both sides run this class: behind served weights in the graph, with the policy itself in lock-step."""
    pytest.importorskip("torch")
    from policies.served_policy import ServedPolicy

    edges = {7: 1, 9: 2, 23: 3}
    plain = Told(execution_horizon=4)
    served = Told(execution_horizon=4)
    in_graph = ChunkRunner(ServedPolicy(served, lambda: 0), execution)
    np.testing.assert_array_equal(executed(ChunkRunner(plain, execution), 40, edges), executed(in_graph, 40, edges))
    assert plain.asked == served.asked
    assert plain.prefixes.keys() == served.prefixes.keys()


@pytest.mark.parametrize("execution", ["receding", "receding:3", "ensemble", "async:1", "async:4"])
def test_a_rollout_executes_what_a_plan_gives(execution: str) -> None:
    """Lock-step rollouts index the chunk; the tick samples a plan by time. Same actions."""
    pytest.importorskip("torch")
    from policies.evaluation import roll_out

    class Counter:
        def __init__(self) -> None:
            self.actions: list[np.ndarray] = []

        def reset(self, seed: int) -> tuple[dict[str, np.ndarray], dict[str, bool]]:
            return seen(0), {}

        def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, bool]]:
            self.actions.append(action)
            return seen(len(self.actions)), 0.0, False, len(self.actions) == 21, {"success": False}

    env = Counter()
    roll_out(env, Asked(execution_horizon=5), 0, execution)
    expected = executed(ChunkRunner(Asked(execution_horizon=5), execution), 21)
    np.testing.assert_array_equal(env.actions, expected)


def test_points_are_sampled_as_the_plan_samples_them() -> None:
    chunk = ActionChunk(np.random.default_rng(0).normal(size=(H, 2)), 0.05, 1_000_000_000)
    times_ns = 1_000_000_000 + np.random.default_rng(1).integers(0, (H + 3) * DT_NS, 200)
    times_ns[:H] = 1_000_000_000 + np.arange(1, H + 1) * DT_NS
    actions, base, speaks = _points(chunk, times_ns)
    plan = Plan(chunk)
    for time_ns, action, says in zip(times_ns.tolist(), actions, speaks, strict=True):
        sample = plan.sample(time_ns)
        np.testing.assert_array_equal(action, sample.action)
        assert says == (not sample.is_starved)
    np.testing.assert_array_equal(base, actions)


REFUSED = {
    "recceding": "did you mean 'receding'",
    "receding:0": "it must lie in 1..8",
    "receding:9": "it must lie in 1..8",
    "receding:two": "expected int",
    "ensemble:-1": "it must lie in 0..100",
    "ensemble:nan": "it must lie in 0..100",
    "async:5": "it must lie in 0..4",
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items())
def test_what_cannot_be_executed_is_refused_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Execution.of(SPEC, text)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_policy_declares_its_own_way() -> None:
    assert Execution.of(replace(SPEC, execution="async:3")).delay_steps == 3
    assert Execution.of(replace(SPEC, execution="ensemble"), "receding:2") == Execution("receding", 2)
    assert ChunkRunner(SimpleNamespace(spec=replace(SPEC, execution="ensemble:0.2"))).execution.decay == 0.2
