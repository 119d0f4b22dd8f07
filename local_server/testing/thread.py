"""A server in the test's own process: a thread with a loop of its own, in memory, on free ports."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from local_server.config import Config
from local_server.rules import due
from local_server.rules.turn import Turn
from local_server.server import new_event_loop, serving
from local_server.store.idle import is_idle
from local_server.testing.clock import ShiftingListener, SkippingClock
from local_server.testing.server import PATIENCE, AnyServer

if TYPE_CHECKING:
    from local_server.engine import Engine

DESCRIPTORS = 1_024  # of which a test needs a few
LOOK = 0.001  # seconds between two looks whether anything runs
ON_THE_WAY = 1_000  # ms for which the claim of a task that has ended may still come
NEVER = 2**63 - 1
FARTHEST = 100 * 365 * 86_400_000  # ms; a promise that ends later than that has no time-out
STOP_DEADLINE = 10.0


class ThreadServer(AnyServer):
    """A server whose time can be skipped; it is used in a ``with``, at whose end it stops."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = SkippingClock()
        self._ready = threading.Event()
        self._engine: Engine | None = None
        self._error: BaseException | None = None
        self._skipping: asyncio.Task[None] | None = None
        self._skips = 0  # that hold
        self._thread = threading.Thread(target=self._run, name="local-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._error:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_children()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_DEADLINE)
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._serve(), loop_factory=new_event_loop)
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread of the test
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config = Config(port=0, poll_port=0, db=None)
        async with serving(config, DESCRIPTORS, clock=self._clock, api_listener=ShiftingListener) as (engine, *urls):
            self._engine, (self.url, self.poll_url) = engine, urls
            self._ready.set()
            await self._stop.wait()
            if self._skipping:
                self._skipping.cancel()

    # time

    def time(self) -> float:
        """Return the server's time, in seconds since the epoch."""
        return self._clock.wall() / 1_000

    def skip_time(self) -> AbstractContextManager[object]:
        """Let time-outs, sleeps, delays and schedules fall due at once, one after the other, while nothing else runs.

        Something runs as long as any task is on its way to a worker, held by one, or waits for one that has not come
        yet. So no step that runs can time out. What comes from outside, such as a person's answer, has to come before.
        It holds until the end of the ``with`` for which it is used, or else of the test.
        """
        self._do(self._begin())
        stack = ExitStack()
        stack.callback(lambda: self._do(self._end()))
        return stack

    def advance(self, seconds: float, *, wait: bool = True, timeout: float = PATIENCE) -> None:
        """Move the server's clock by hand, and return when all that has fallen due on the way has run.

        As with ``skip_time``, the clock stands while anything runs; so it stops at each time at which something falls
        due. With ``wait=False`` it moves at once, whatever runs: to see a step, or a call that nobody takes, time out.

        Raises:
            TimeoutError: something ran, or waited for a worker, for so many seconds; the message shows the trees.
        """
        try:
            self._do(self._advance(round(seconds * 1_000), timeout if wait else None))
        except TimeoutError as error:
            raise TimeoutError(f"{error}:\n{self.trees()}") from None

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _ask[T](self, operation: Callable[[Turn], T]) -> T:
        assert self._engine  # noqa: S101 - it is ready
        return await self._engine.ask(operation)

    async def _begin(self) -> None:
        self._skips += 1
        if self._skipping is None:
            self._skipping = self._loop.create_task(self._skip())

    async def _end(self) -> None:
        self._skips -= 1
        if self._skipping and not self._skips:
            self._skipping.cancel()
            self._skipping = None

    async def _skip(self) -> None:
        while True:
            if await self._ask(partial(self._go_on, NEVER)) == "moved":
                await self._sweep()
            await asyncio.sleep(LOOK)

    async def _advance(self, ms: int, patience: float | None) -> None:
        end = self._clock.wall() + ms
        busy_until = None
        while patience is not None and (found := await self._ask(partial(self._go_on, end))) != "nothing due":
            if found == "moved":
                await self._sweep()
                busy_until = None
            else:
                busy_until = busy_until or self._loop.time() + patience
                if self._loop.time() > busy_until:
                    raise TimeoutError(f"something runs, or waits for a worker, after {patience} s")
                await asyncio.sleep(LOOK)
        self._clock.put_to(end)
        await self._sweep()

    def _go_on(self, end: int, turn: Turn) -> Literal["busy", "nothing due", "moved"]:
        """Put the clock to the next time, up to ``end``, at which something falls due; but not while anything runs.

        It is one step, since the next request may begin something.
        """
        if not is_idle(turn.store.db, turn.now - ON_THE_WAY):
            return "busy"
        at, _ = turn.store.earliest()
        if at is None or at > min(end, turn.now + FARTHEST):
            return "nothing due"
        self._clock.put_to(at)
        return "moved"

    async def _sweep(self) -> None:
        """Let everything happen that is due."""
        while await self._ask(due.sweep):
            pass
