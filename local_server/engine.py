"""The turns of the server: every request that has arrived is decided, then one COMMIT, then all is answered and sent.

A turn opens with the first request and ends in the same pass of the event loop, so that requests that arrive together
share one COMMIT and none waits for another to come. One timer stands for every time-out, lease, delay and schedule.
What has fallen due is swept up in slices. While requests come, the pause behind a slice is SWEEP_PAUSE times as long as
its turn, so that a crowd of time-outs takes a seventh of the time at most. It takes all of it when nobody asks. What a
turn has left to others (``Turn.later``) is done likewise, with a pause of LATER.

What can go wrong in a turn, and what becomes of it:

- A request is refused by the rules: that is its answer, like any other. What it wrote before, such as a time-out that
  had passed, is committed.
- A request cannot be decided (a fault, or more than SQLite takes): it is answered with 500. The transaction is rolled
  back and the others run again, since the writes of one request cannot be undone alone. They notice nothing.
- It is not known which request that is, since a database elsewhere tells faults late: the turn is decided again, with
  each statement waited for.
- The database holds no such thing (PostgreSQL, a NUL character): that request alone is refused with 400.
- The database is lost: nothing is answered, since nobody knows what is stored, and the engine is closed.
- The turn cannot be stored (a full disk): every request of it is answered with 500, and comes again. Nothing of the
  turn is left, in the store or in memory: the next turn first rebuilds, from the stored tasks, who holds what. A turn
  that was committed and could not be synced is left in the store, though: there the next one begins as after a restart.
- Events that nobody waits for (a worker has come, a process has ended) are tried again until a turn with them is
  stored.

Reading is a request like any other, and may write: a promise whose time-out has passed is completed by whoever looks
first, a GET as well as the clock. So there is one way in which it completes, and no reader ever sees it pending.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from local_server.clock import TICK, Clock
from local_server.errors import BAD_REQUEST, INTERNAL_ERROR, Refusal
from local_server.rules import dispatch, due, losses
from local_server.rules.turn import Turn
from local_server.rules.workers import Workers
from local_server.store.errors import (
    StoreLostError,
    StoreUnsyncedError,
    UnstorableError,
    is_of_the_file,
    one_line,
)
from local_server.store.store import Store

logger = logging.getLogger(__name__)
type OnResult[T] = Callable[[T | Refusal], None]

LONGEST_SLEEP = 10_000  # ms between two sweeps at most
SWEEP_PAUSE = 6  # times as long as a slice of a sweep
QUIET = 0.1  # seconds without a request
LATER = 0.03  # seconds until a turn goes on with what another one has left, while requests come
TRY_AGAIN = 500  # ms after a turn that could not be stored


class _Request:
    """An operation of the current turn, whose result is given when the turn is committed."""

    __slots__ = ("failed", "on_result", "operation", "result")

    def __init__(self, operation: Callable[[Turn], Any], on_result: OnResult[Any] | None) -> None:
        self.operation, self.on_result = operation, on_result
        self.result: Any = None
        self.failed = False


class Engine:
    """Runs the rules over one store, for all requests and for the clock."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self.store, self.clock = store, clock or Clock()
        self.workers = Workers()
        self.version = 0  # another one after each turn that has written something
        self._loop = asyncio.get_running_loop()
        self._turn: Turn | None = None
        self._requests: list[_Request] = []  # of the turn that is open, or to be decided by the next
        self._stale = False  # the books in ``workers`` are those of a turn that failed
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0  # when something falls due, by the clock of leases
        self._asked = 0.0  # when somebody asked last, by the clock of the loop
        self._closed = False
        self.lost = asyncio.Event()  # the database cannot be reached any more
        self._trouble = ""  # why turns cannot be stored; said once, however often they are tried again

    def do[T](self, operation: Callable[[Turn], T], on_result: OnResult[T]) -> None:
        """Run an operation in the current turn; ``on_result`` is called with its result once that is committed.

        It is called with a Refusal instead for what the operation refused, and with one of code 50000 when it could not
        be decided or stored. An operation may be run more than once before it is committed. Once the engine is closed,
        nothing is called: the SDK would end its process over any answer, and comes again over a closed connection.
        """
        if not self._closed:
            self._asked = self._loop.time()
            self._decide(_Request(operation, on_result))

    def tell(self, operation: Callable[[Turn], object]) -> None:
        """Run an operation that nobody waits for, again and again until it is committed; a fault in it is logged."""
        if not self._closed:
            self._decide(_Request(operation, None))

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

    def _decide(self, request: _Request) -> None:
        """Take a request into the turn; open one if there is none."""
        self._requests.append(request)
        try:
            if self._turn:
                self._run([request], self._turn)
            else:
                self._loop.call_soon(self._commit)
                self._run(self._requests, self._open())
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of this turn may be stored
            self._fail(error)

    def _open(self) -> Turn:
        self.store.begin()
        mono = self.clock.leases()
        self._turn = Turn(self.store, self.workers, self.clock.wall(), mono, self.clock.resumed)
        if self._stale:
            dispatch.rebuild(self._turn)
        return self._turn

    def _run(self, requests: list[_Request], turn: Turn) -> None:
        """Run operations; begin the turn anew without one that cannot be decided."""
        while not self._decided(requests, turn):
            requests, turn = [one for one in self._requests if not one.failed], self._open()

    def _decided(self, requests: list[_Request], turn: Turn) -> bool:
        """Run operations until one cannot be decided, or nobody knows which; tell whether none was like that."""
        for request in requests:
            try:
                request.result = request.operation(turn)
            except Refusal as refusal:
                request.result = refusal
            except Exception as error:
                if is_of_the_file(error):  # it is the turn that cannot be stored
                    raise
                self._stale = True
                if not self.store.unsure():
                    request.failed, request.result = True, _undecided(error)
                return False
        return True

    def _commit(self) -> None:
        turn = self._turn
        if turn is None:  # it has failed
            return
        try:
            dispatch.drain(turn)
            self.store.commit()
        except Exception as error:  # noqa: BLE001 - likewise
            if not is_of_the_file(error) and self.store.unsure():
                self._decide_again()
            else:
                self._fail(error)
            return
        if self._trouble and self.store.wrote:
            logger.warning("turns are stored again")
            self._trouble = ""
        self.version = self.store.changes
        self._turn, requests, self._requests, self._stale = None, self._requests, [], False
        turn.send()
        for operation in turn.later:
            self._loop.call_later(0 if self._quiet else LATER, self.tell, operation)
        for request in requests:
            _answer(request, request.result)
        for warning in turn.warnings:
            logger.warning("%s", warning)
        self._wake_at(turn.wake_now, turn.wake_mono)

    def _decide_again(self) -> None:
        """Find out which request of the turn cannot be stored."""
        self._stale = True
        try:
            self._run([one for one in self._requests if not one.failed], self._open())
        except Exception as error:  # noqa: BLE001 - likewise
            self._fail(error)
        else:
            self._commit()

    def _fail(self, error: Exception) -> None:
        """Take the turn back: nothing of it is stored, nothing sent, and every request of it is told to come again."""
        if isinstance(error, StoreLostError):
            logger.error("%s", error)
            self._turn, self._requests, self._closed = None, [], True
            self.lost.set()
            return
        if repr(error) != self._trouble:
            self._trouble = repr(error)
            _log("nothing can be stored; requests are answered with 500, and it is tried again and again", error)
        self._turn, requests, self._stale = None, self._requests, True
        self._requests = [one for one in requests if one.on_result is None and not one.failed]
        if isinstance(error, StoreUnsyncedError) and losses.restarted not in [one.operation for one in self._requests]:
            self._requests.insert(0, _Request(losses.restarted, None))
        try:
            self.store.rollback()
        except Exception as second:  # noqa: BLE001 - likewise
            _log("the turn could not be taken back; the next one tries again", second)
        for request in requests:
            _answer(request, Refusal(INTERNAL_ERROR, "the server could not store it; its log tells why"))
        self._wake_at(None, self.clock.leases() + TRY_AGAIN)

    # the clock

    def start(self) -> None:
        """Take over what the previous run has left, and start the clock."""
        self.tell(losses.restarted)
        self._sweep()

    def _wake_at(self, wall: int | None, mono: int | None) -> None:
        """Make sure that there is a sweep by these times of the two clocks."""
        now = self.clock.leases()
        at = min(
            self._due if self._timer else now + LONGEST_SLEEP,
            now + LONGEST_SLEEP if mono is None else mono,
            now + LONGEST_SLEEP if wall is None else now + wall - self.clock.wall(),
        )
        if self._timer is None or at < self._due:
            if self._timer:
                self._timer.cancel()
            self._due = at
            self._timer = self._loop.call_later(min(max(0, at - now), TICK) / 1000, self._tick)

    def _tick(self) -> None:
        """Read the clock; sweep if something is due by now."""
        self._timer = None
        if self.store.behind and not self._requests and not self._closed:
            self.tell(lambda turn: turn.store.keep())
        if self.clock.leases() < self._due:
            self._wake_at(None, self._due)
        elif not self._closed:
            self._sweep()

    @property
    def _quiet(self) -> bool:
        """Whether nobody has asked for a while."""
        return self._loop.time() - self._asked > QUIET

    def _sweep(self) -> None:
        self._decide(_Request(due.sweep, partial(self._swept, self.clock.leases())))

    def _swept(self, began: int, more: bool | Refusal) -> None:  # noqa: FBT001 - a result
        if isinstance(more, Refusal):
            self._wake_at(None, self.clock.leases() + TRY_AGAIN)
        elif more:
            now = self.clock.leases()
            self._wake_at(None, now if self._quiet else now + SWEEP_PAUSE * (now - began + 1))
        else:
            self.do(lambda turn: turn.store.earliest(), self._rest)

    def _rest(self, earliest: tuple[int | None, int | None] | Refusal) -> None:
        self._wake_at(*((None, self.clock.leases() + TRY_AGAIN) if isinstance(earliest, Refusal) else earliest))

    def close(self) -> None:
        """Commit what is open, and close the database."""
        if not self._closed:
            self._commit()
        self._closed = True
        if self._timer:
            self._timer.cancel()
        self.store.close()


def _undecided(error: Exception) -> Refusal:
    """Return the answer to a request that could not be decided."""
    if isinstance(error, UnstorableError):
        return Refusal(BAD_REQUEST, str(error))
    _log("a request could not be decided; it is answered with 500, and the turn goes on without it", error)
    return Refusal(INTERNAL_ERROR, "the server could not decide it; its log tells why")


def _answer(request: _Request, result: Any) -> None:
    """Give one answer; a fault in giving it is no reason to withhold the others."""
    if request.on_result:
        try:
            request.on_result(result)
        except Exception:
            logger.exception("an answer could not be given")


def _log(what: str, error: Exception) -> None:
    """Log a fault: in one line where the file or the disk is to blame, else with all that may help to mend it."""
    logger.error("%s: %s", what, one_line(error), exc_info=None if is_of_the_file(error) else error)
