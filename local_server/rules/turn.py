"""One turn of the server: everything the rules need to decide, and what they decided.

A turn is given one reading of the clocks and works in one transaction. Nothing leaves the server before that is
committed: the rules only note what is to be sent and closed, and who has left.

They also note what became free: a root of which another task may run, a worker that may be sent more. What that lets
run is sent by ``dispatch.drain``, once, before COMMIT.
"""

from typing import TYPE_CHECKING

from local_server.rules.workers import Delivery, Gone, Stream, Worker, Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_server.store.store import Store


class Turn:
    """The surroundings of the rules.

    Attributes:
        now: ms since the epoch, for what people see and for time-outs of promises.
        mono: ms of the monotonic clock, for leases and the time to claim: a suspended laptop loses none.
        resumed: since when the server runs without a pause, in ms since the epoch.
        freed_roots: root promises that may have no running task left, in order (a dict as an ordered set).
        freed_workers: workers that have connected, or left, or hold less than before, likewise.
        outbox: what to send after the commit, by task id, in order.
        closing: streams to close after the commit.
        gone: workers that have left in this turn.
        later: what is left to be done, each in a turn of its own after the commit.
        warnings: what people should know, a line each, for the log.
        wake_now: the earliest time by ``now`` at which a write of this turn falls due, None for none.
        wake_mono: the same by ``mono``.
    """

    def __init__(self, store: "Store", workers: Workers, now: int, mono: int, resumed: int) -> None:
        self.store = store
        self.workers = workers
        self.now = now
        self.mono = mono
        self.resumed = resumed
        self.freed_roots: dict[str, None] = {}
        self.freed_workers: dict[Worker, None] = {}
        self.outbox: dict[str, Delivery] = {}
        self.closing: list[Stream] = []
        self.gone: list[Gone] = []
        self.later: list[Callable[[Turn], object]] = []
        self.warnings: list[str] = []
        self.wake_now: int | None = None
        self.wake_mono: int | None = None

    def due_at(self, now: int) -> None:
        """Note that something falls due by the wall clock."""
        if self.wake_now is None or now < self.wake_now:
            self.wake_now = now

    def due_in(self, ms: int) -> int:
        """Note that something falls due ``ms`` from now by the monotonic clock; return that deadline."""
        deadline = self.mono + min(ms, 2**62)  # saturated: clients do send a ttl of 2**63 - 1
        if self.wake_mono is None or deadline < self.wake_mono:
            self.wake_mono = deadline
        return deadline

    def send(self) -> None:
        """Let out what was decided; only after the commit."""
        self.workers.gone.extend(self.gone)
        for stream in self.closing:
            stream.close()
        for delivery in self.outbox.values():
            delivery.stream.send(delivery)
        for worker in self.freed_workers:  # not before: a turn that fails is decided anew, about the same workers
            self.workers.release(worker)
