"""Actors on a Ray cluster: the one that RAY_ADDRESS names, or one of this machine for as long as the run lasts."""

import os
from collections.abc import Sequence
from typing import Any

import torch

from policies.actors.contract import ActorLost, Explorer, MakeExplorer, Order, Segment, Worker, follow
from robot.errors import MissingDependency

STORE_BYTES = 256 * 2**20  # of a cluster of our own: segments are small


class RemoteExplorer:
    """What Ray runs: an explorer that follows orders."""

    def __init__(self, make: MakeExplorer, seed: int) -> None:
        torch.set_num_threads(1)
        self.explorer: Explorer = make(seed)

    def follow(self, order: Order) -> Segment:
        return follow(self.explorer, order)


class RayWorker:
    """One Ray actor. Ray starts none again by itself: the crew does, so that all losses are counted."""

    def __init__(self, ray: Any, make: MakeExplorer, seed: int) -> None:
        self._ray = ray
        remote = ray.remote(RemoteExplorer).options(max_restarts=0, scheduling_strategy="SPREAD")
        self._actor = remote.remote(make, seed)
        self.reference: Any = None

    def ask(self, order: Order) -> None:
        self.reference = self._actor.follow.remote(order)

    def answer(self, timeout_s: float) -> Segment:
        try:
            return self._ray.get(self.reference, timeout=timeout_s)
        except self._ray.exceptions.GetTimeoutError:
            raise ActorLost(f"a Ray actor said nothing for {timeout_s:g} s") from None
        except self._ray.exceptions.RayError as error:
            raise ActorLost(f"a Ray actor ended: {error}") from error

    def close(self) -> None:
        self._ray.kill(self._actor)


class RayCluster:
    """A back end on one machine or many. The code, and what its worlds need, must be installed on each."""

    def __init__(self, count: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingDependency("actors on Ray need the extra `scale`: pip install '.[scale]'") from error
        self._ray: Any = ray
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_worker_niceness", "0")  # actors are what the learner waits for
            own: dict[str, Any] = {"num_cpus": count, "object_store_memory": STORE_BYTES, "include_dashboard": False}
            ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else own))

    def start(self, make: MakeExplorer, seed: int) -> RayWorker:
        return RayWorker(self._ray, make, seed)

    def first_ready(self, workers: Sequence[Worker], timeout_s: float) -> int | None:
        references = [worker.reference for worker in workers if isinstance(worker, RayWorker)]
        ready, _ = self._ray.wait(references, num_returns=1, timeout=timeout_s)
        return references.index(ready[0]) if ready else None

    def close(self) -> None:
        if self._is_ours:
            self._ray.shutdown()
