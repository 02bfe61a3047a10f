"""Actors as processes of this machine, over pipes. They end with their learner, however it ends."""

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

import torch

from policies.actors.contract import ActorLost, MakeExplorer, Order, Segment, Worker, follow

PRELOADED = [
    "policies.actors.explorers"
]  # once, by the process that all actors are forked from: a new one is there soon


@dataclass(frozen=True)
class Raised:
    """The last words of an actor."""

    words: str


class ProcessWorker:
    """One process and the pipe to it. Messages are plain pickles: torch would send tensors through shared memory."""

    def __init__(self, context: Any, make: MakeExplorer, seed: int) -> None:
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, pickle.dumps(make), seed), daemon=True)
        self.process.start()
        there.close()

    def ask(self, order: Order) -> None:
        try:
            self.pipe.send_bytes(pickle.dumps(order))
        except OSError:
            return  # it is dead, which `answer` tells

    def answer(self, timeout_s: float) -> Segment:
        if not self.pipe.poll(timeout_s):
            raise ActorLost(f"process {self.process.pid} said nothing for {timeout_s:g} s")
        try:
            answer = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            self.process.join(1.0)
            raise ActorLost(f"process {self.process.pid} ended with exit code {self.process.exitcode}") from None
        if isinstance(answer, Raised):
            raise ActorLost(f"process {self.process.pid} raised {answer.words}")
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Processes:
    """A back end without a cluster."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def start(self, make: MakeExplorer, seed: int) -> ProcessWorker:
        return ProcessWorker(self._context, make, seed)

    def first_ready(self, workers: Sequence[Worker], timeout_s: float) -> int | None:
        pipes = [worker.pipe for worker in workers if isinstance(worker, ProcessWorker)]
        ready = connection.wait(pipes, timeout_s)
        return next((place for place, pipe in enumerate(pipes) if pipe in ready), None)

    def close(self) -> None:
        """Nothing is left: every worker is closed by its crew."""


def _serve(pipe: Connection, make: bytes, seed: int) -> None:
    """Follow orders until the learner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the learner decides when an interrupt ends the work
    torch.set_num_threads(1)
    try:
        explorer = pickle.loads(make)(seed)
        while True:
            try:
                order = pickle.loads(pipe.recv_bytes())
            except EOFError:
                return
            pipe.send_bytes(pickle.dumps(follow(explorer, order)))
    except BrokenPipeError:
        return
    except Exception:
        pipe.send_bytes(pickle.dumps(Raised(traceback.format_exc(limit=-3))))
