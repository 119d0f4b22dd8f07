"""One turn of the server: everything the rules need to decide, and what they decided to send.

A turn is given one reading of the clocks, works in one transaction, and sends only after that is committed.
"""

from typing import TYPE_CHECKING, NamedTuple

from local_server.model import Promise, Task
from local_server.workers import Stream, Workers

if TYPE_CHECKING:
    from local_server.store import Store


class Delivery(NamedTuple):
    """A message for a worker: a task to claim, or (notify) the promise that has completed."""

    stream: Stream
    task: Task
    promise: Promise | None


class Turn:
    """The surroundings of the rules.

    Attributes:
        now: ms since the epoch, for what people see and for time-outs of promises.
        mono: ms of the monotonic clock, for leases and the time to claim: a suspended laptop loses none.
        outbox: what to send after the commit, by task id, in order.
        wake_now: the earliest time by ``now`` at which a write of this turn falls due, None for none.
        wake_mono: the same by ``mono``.
    """

    def __init__(self, store: "Store", workers: Workers, now: int, mono: int) -> None:
        self.store = store
        self.workers = workers
        self.now = now
        self.mono = mono
        self.outbox: dict[str, Delivery] = {}
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
