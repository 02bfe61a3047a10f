"""Evaluate a policy through the running graph: its own processes, real time, every episode recorded."""

from collections.abc import Sequence
from pathlib import Path

from policies.evaluation import EpisodeResult, Evaluation
from robot.errors import ConfigError
from robot.ros.description import GraphOptions, NodeSpec, describe

MARGIN_S = 30.0  # beyond an episode's own length: reset, discovery, a slow machine
TAKEOVER = "3+5"  # start and length, in control steps: early and short, so that the policy has to finish


def graph_nodes(task: str, policy: Path, store: Path, *, has_takeover: bool, execution: str = "") -> list[NodeSpec]:
    """Return the graph that serves the policy; a scripted person takes over once per episode where wanted."""
    return describe(
        GraphOptions(
            task=task,
            policy=str(policy),
            execution=execution,
            operator="scripted" if has_takeover else "none",
            record=str(store),
            script={"takeovers": TAKEOVER} if has_takeover else {},
        )
    )


def evaluate_in_graph(
    env_id: str,
    policy: Path,
    seeds: Sequence[int],
    store: Path,
    *,
    has_takeover: bool = False,
    execution: str = "",
    longest_s: float = 60.0,
) -> Evaluation:
    """Run one episode from each start; blocks for their length in real time.

    Args:
        env_id: a station task, `tandem/<task>`.
        policy: the policy's file.
        seeds: the starts.
        store: folder of the episode store that gets the records.
        has_takeover: let the scripted person drive for a while in every episode.
        execution: how chunks are executed, as in `robot.chunk_runner`; "" takes the policy's own way.
        longest_s: no episode of the task lasts longer.
    """
    suite, _, task = env_id.partition("/")
    if suite != "tandem" or "?" in task:
        raise ConfigError(f"{env_id} has no graph: only plain station tasks (tandem/<task>) run through one")
    from robot.ros.running_graph import choose_domain, running_graph

    results = []
    nodes = graph_nodes(task, policy, store, has_takeover=has_takeover, execution=execution)
    with running_graph(nodes, domain_id=choose_domain(None), log_dir=store.parent / "logs") as graph:
        for seed in seeds:
            episode = graph.client.start_episode(seed, metadata={"policy": str(policy)})
            end = graph.client.wait_for_end(episode.id, longest_s + MARGIN_S)
            graph.check()
            results.append(EpisodeResult(seed, end.end_reason == "success", end.step + 1))
    return Evaluation(tuple(results))
