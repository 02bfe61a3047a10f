"""The actors of one learner: each has one order at a time, and who is lost is replaced."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from policies.actors.contract import ActorLost, ActorsConfig, BackEnd, MakeExplorer, Order, Segment, Worker
from robot.errors import RobotError

log = logging.getLogger(__name__)


@dataclass
class Seat:
    """The place of one actor. `starts` counts who has sat there: each has a seed of its own, and so its own starts."""

    index: int
    starts: int = 0
    worker: Worker | None = None
    order: Order | None = None
    losses: int = 0  # in a row


class Crew:
    """Keeps every actor busy and hands out what they make, in turn or as it comes.

    Args:
        back_end: where the actors run.
        make: what they run.
        config: amounts.
        seed: of the learner; actors draw theirs from it.
    """

    def __init__(self, back_end: BackEnd, make: MakeExplorer, config: ActorsConfig, seed: int) -> None:
        self.back_end, self.make, self.config, self.seed = back_end, make, config, seed
        self.seats = [Seat(index) for index in range(config.count)]
        self._waiting: deque[Seat] = deque(self.seats)  # for an order
        self._busy: deque[Seat] = deque()  # the oldest order first
        self.lost = 0

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for seat in self.seats:
            if seat.worker is not None:
                seat.worker.close()
        self.back_end.close()

    @property
    def steps_under_way(self) -> int:
        """Control steps that are ordered and not handed out yet."""
        return sum(seat.order.steps for seat in self.seats if seat.order is not None)

    def next(self, make_order: Callable[[], Order]) -> tuple[Order, Segment]:
        """Give an order to everybody who has none, then wait for a segment and return it with its order.

        RobotError where one actor was lost time after time.
        """
        while True:
            while self._waiting:
                self._employ(self._waiting.popleft(), make_order())
            seat = self._choose()
            worker, order = seat.worker, seat.order
            assert worker is not None and order is not None
            try:
                segment = worker.answer(self.config.patience_s)
            except ActorLost as loss:
                self._dismiss(seat, loss)
                continue
            seat.order, seat.losses = None, 0
            self._waiting.append(seat)
            return order, segment

    def _employ(self, seat: Seat, order: Order) -> None:
        if seat.worker is None:
            entropy = [self.seed, seat.index, seat.starts]
            seat.worker = self.back_end.start(self.make, int(np.random.SeedSequence(entropy).generate_state(1)[0]))
            seat.starts += 1
        seat.order = order
        seat.worker.ask(order)
        self._busy.append(seat)

    def _choose(self) -> Seat:
        """Take the seat whose answer is due out of the busy ones; where nobody is ready in time, the longest busy."""
        place = None
        if not self.config.in_turn:
            workers = [seat.worker for seat in self._busy if seat.worker is not None]
            place = self.back_end.first_ready(workers, self.config.patience_s)
        seat = self._busy[place or 0]
        self._busy.remove(seat)
        return seat

    def _dismiss(self, seat: Seat, loss: ActorLost) -> None:
        """Give the seat to somebody new."""
        assert seat.worker is not None
        seat.worker.close()
        seat.worker = seat.order = None
        self.lost += 1
        seat.losses += 1
        if seat.losses >= self.config.losses_in_a_row:
            raise RobotError(
                f"actor {seat.index} was lost {seat.losses} times in a row and made nothing in between: {loss}; "
                "the same recipe without actors shows the cause in this process"
            ) from loss
        log.warning("actor %d is lost, and with it its episode; another one is started: %s", seat.index, loss)
        self._waiting.append(seat)

    def state(self) -> list[int]:
        return [seat.starts for seat in self.seats]

    def restore(self, starts: Sequence[int]) -> None:
        """Go on with fresh actors: nobody repeats the starts of those before."""
        for seat, count in zip(self.seats, starts, strict=False):
            seat.starts = max(seat.starts, count)
