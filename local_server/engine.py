"""The turns of the server: every request that has arrived is decided, then one COMMIT, then all is answered and sent.

A turn opens with the first request and ends in the same pass of the event loop, so that requests that arrive together
share one COMMIT and none waits for another to come. One timer stands for every time-out, lease, delay and schedule.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from local_server import promises, schedules, tasks, wire
from local_server.errors import INTERNAL_ERROR, SHUTTING_DOWN, Refusal
from local_server.store import Store
from local_server.turn import Turn
from local_server.workers import Workers

logger = logging.getLogger(__name__)
type Answer[T] = Callable[[T | Refusal], None]

SWEEP = 256  # things that fall due handled in one turn; more of them take more turns, with requests in between
LONGEST_SLEEP = 10_000  # ms; the wall clock may jump, and the timer of the loop runs on the monotonic one


class Engine:
    """Runs the rules over one store, for all requests and for the clock."""

    def __init__(self, store: Store, base_url: str) -> None:
        self.store = store
        self.base_url = base_url  # of the API, as messages name it
        self.workers = Workers()
        self.version = 0  # another one after each turn that has written something
        self._loop = asyncio.get_running_loop()
        self._turn: Turn | None = None
        self._answers: list[tuple[Answer[Any], Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._closed = False

    def do[T](self, operation: Callable[[Turn], T], answer: Answer[T]) -> None:
        """Run an operation in the current turn; ``answer`` is called with its result once that is committed.

        It is called with a Refusal instead for what the operation refused, and with one of code 50000 when the turn
        could not be stored.
        """
        if self._closed:
            answer(Refusal(SHUTTING_DOWN, "found the server stopping; expected it running"))
            return
        try:
            if self._turn is None:
                self._turn = Turn(self.store, self.workers, int(time.time() * 1000), _mono())
                self.store.begin()
                self._loop.call_soon(self._commit)
            self._answers.append((answer, operation(self._turn)))
        except Refusal as refusal:
            self._answers.append((answer, refusal))
        except Exception:  # noqa: BLE001 - whatever it is, nothing of this turn may be stored
            self._answers.append((answer, None))
            self._fail()

    def tell(self, operation: Callable[[Turn], object]) -> None:
        """Run an operation that nobody waits for; what goes wrong is logged."""
        self.do(operation, lambda _: None)

    async def ask[T](self, operation: Callable[[Turn], T]) -> T:
        """Run an operation, and wait for its result; other requests are served meanwhile.

        Raises:
            Refusal: see ``do``.
        """
        future: asyncio.Future[T | Refusal] = self._loop.create_future()
        self.do(operation, lambda result: None if future.done() else future.set_result(result))
        result = await future
        if isinstance(result, Refusal):
            raise result
        return result

    def _commit(self) -> None:
        turn = self._turn
        if turn is None:  # it has failed
            return
        try:
            self.store.commit()
        except Exception:  # noqa: BLE001 - likewise
            self._fail()
            return
        self.version = self.store.changes
        self._turn, answers, self._answers = None, self._answers, []
        for delivery in turn.outbox.values():
            delivery.stream.send(wire.message(delivery, self.base_url))
        for answer, result in answers:
            self._answer(answer, result)
        self._wake_at(turn.wake_now, turn.wake_mono)

    def _fail(self) -> None:
        """Take the turn back: nothing of it is stored, nothing sent, and every request of it is told to come again."""
        logger.exception(  # noqa: LOG004 - it is called by handlers
            "the turn could not be stored; its requests are answered with 500"
        )
        self._turn, answers, self._answers = None, self._answers, []
        self.store.rollback()
        self.workers.take_stock(self.store.sent_or_claimed())
        for answer, _ in answers:
            self._answer(answer, Refusal(INTERNAL_ERROR, "the server could not store it; its log tells why"))

    @staticmethod
    def _answer(answer: Answer[Any], result: Any) -> None:
        """Give one answer; a fault in giving it is no reason to withhold the others."""
        try:
            answer(result)
        except Exception:
            logger.exception("an answer could not be given")

    # the clock

    def start(self) -> None:
        """Take over what the previous run has left, and start the clock."""
        self.tell(tasks.restarted)
        self._sweep()

    def _wake_at(self, now: int | None, mono: int | None) -> None:
        """Make sure that the timer fires by these times."""
        at = _mono() + LONGEST_SLEEP
        if mono is not None:
            at = min(at, mono)
        if now is not None:
            at = min(at, _mono() + now - int(time.time() * 1000))
        if self._timer is None or at < self._timer_at:
            if self._timer:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_later(max(0, at - _mono()) / 1000, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        if not self._closed:
            self.do(self._due, self._swept)

    def _swept(self, more: bool | Refusal) -> None:  # noqa: FBT001 - an answer
        if self._closed or isinstance(more, Refusal):
            self._wake_at(None, None)
        elif more:
            self._sweep()
        else:
            self._wake_at(*self.store.earliest())

    def _due(self, turn: Turn) -> bool:
        """Act on what is due; return whether there may be more."""
        due_promises = self.store.due_promises(turn.now, SWEEP)
        for promise in due_promises:
            promises.time_out(turn, promise)
        due_tasks = self.store.due_tasks(turn.mono, SWEEP)
        for task in due_tasks:
            tasks.deadline_passed(turn, task)
        delayed = self.store.delayed_tasks(turn.now, SWEEP)
        for task in delayed:
            tasks.delay_passed(turn, task)
        due_schedules = self.store.due_schedules(turn.now, SWEEP)
        for schedule in due_schedules:
            schedules.run(turn, schedule)
        return max(len(due_promises), len(due_tasks), len(delayed)) == SWEEP or bool(due_schedules)

    def close(self) -> None:
        """Commit what is open, and close the database."""
        self._commit()
        self._closed = True
        if self._timer:
            self._timer.cancel()
        self.store.close()


def _mono() -> int:
    return time.monotonic_ns() // 1_000_000
