"""Who is connected, what each of them holds, and who is offered the next task. Kept in memory; no IO.

A worker is a (group, id) with an open event stream. It keeps its record while it holds tasks or its process is known,
connected or not, since a claim outlives a broken stream.
"""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from local_server.model import Task
from local_server.routing import Address

REMEMBERED = 64  # workers that have gone
NAMED = 5  # tasks of each
WINDOW = 16  # messages sent on a stream and not claimed yet: enough to keep a worker busy, few to offer anew


class Stream(Protocol):
    """The sending side of an event stream."""

    def send(self, message: bytes) -> None:
        """Send one event; never blocks, never fails."""

    def close(self) -> None:
        """End the stream."""

    def cut(self) -> None:
        """Close the connection in the middle of the stream, which its reader takes for a fault."""


@dataclass(frozen=True)
class OsProcess:
    """A process id, and its start in seconds since the epoch: together they name one process of this machine."""

    pid: int
    started: float


@dataclass(frozen=True)
class Gone:
    """A worker that has left, with or without a word."""

    name: str  # group/id
    pid: int | None
    at: int  # ms since the epoch
    held: tuple[str, ...]  # ids of some of the tasks that it had claimed
    holds: int  # how many these were


@dataclass(eq=False)
class Worker:
    """One member of a group."""

    group: str
    id: str
    stream: Stream | None = None
    process: OsProcess | None = None  # None: not known, as for a worker on another machine
    unclaimed: set[str] = field(default_factory=set)  # ids of the tasks sent and not claimed
    claimed: set[str] = field(default_factory=set)
    notified: set[str] = field(default_factory=set)  # ids of the notify tasks sent a moment ago
    overdue: bool = False  # it did not claim in time, and has claimed nothing since: stopped, or hung
    turn: int = 0  # when it was chosen last, so that equals take turns

    @property
    def name(self) -> str:
        """``group/id``, as tasks name their recipient."""
        return f"{self.group}/{self.id}"

    @property
    def lines(self) -> tuple[str, str]:
        """The lines that it serves: its group's, and its own."""
        return Address("any", self.group, "").waiting_line, Address("uni", self.group, self.id).own_line

    @property
    def has_room(self) -> bool:
        """Whether it may be sent one more message that must be claimed."""
        return self.stream is not None and len(self.unclaimed) < WINDOW

    def held(self) -> set[str]:
        """Return the ids of the tasks sent to it or claimed by it, except what it is only notified of."""
        return self.unclaimed | self.claimed

    def forget(self, task_id: str) -> None:
        """Note that it no longer holds a task."""
        self.unclaimed.discard(task_id)
        self.claimed.discard(task_id)
        self.notified.discard(task_id)


class Workers:
    """All workers known now."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, Worker]] = {}
        self._by_id: dict[str, list[Worker]] = {}
        self._turns = 0
        self.gone: deque[Gone] = deque(maxlen=REMEMBERED)  # the latest last; for people only
        self.moves = 0  # counts who comes and goes
        self.unconfirmed: set[str] = set()  # tasks claimed from the server's previous run
        self.crowded: set[str] = set()  # lines in which tasks wait although somebody is connected: all had their fill

    def __iter__(self) -> Iterator[Worker]:
        for members in self._groups.values():
            yield from members.values()

    def get(self, group: str, member: str) -> Worker:
        """Return the record of a worker, a new one if there is none."""
        members = self._groups.setdefault(group, {})
        if member not in members:
            members[member] = Worker(group, member)
            self._by_id.setdefault(member, []).append(members[member])
        return members[member]

    def members(self, group: str) -> Collection[Worker]:
        """Return the workers known of a group."""
        return self._groups.get(group, {}).values()

    def named(self, name: str | None) -> Worker | None:
        """Return the worker with that ``group/id``, if it is known."""
        group, _, member = (name or "").partition("/")
        return self._groups.get(group, {}).get(member)

    def of_process(self, process: str, recipient: str | None) -> Worker | None:
        """Return the worker that claims under a process id: the recipient of the message, or the only one of that id.

        The SDK uses one id for its stream and its claims. Two groups may have members of the same id.
        """
        worker = self.named(recipient)
        if worker and worker.id == process:
            return worker
        namesakes = self._by_id.get(process, [])
        return namesakes[0] if len(namesakes) == 1 else None

    def choose(self, address: Address, avoid: str | None = None) -> Worker | None:
        """Return the worker that is offered a task: the one named, else the least loaded of the group, in turn.

        ``avoid`` names the worker that was offered it before in vain; it is chosen only when there is no other, as is
        one that leaves its messages unclaimed.
        """
        members = self._groups.get(address.group, {})
        preferred = members.get(address.member)
        if preferred and preferred.has_room and preferred.name != avoid and not preferred.overdue:
            chosen: Worker | None = preferred
        else:
            candidates = members.values() if address.cast == "any" else [preferred] if preferred else []
            chosen = min(
                (one for one in candidates if one.has_room),
                key=lambda one: (one.name == avoid or one.overdue, len(one.unclaimed) + len(one.claimed), one.turn),
                default=None,
            )
        if chosen:
            self._turns += 1
            chosen.turn = self._turns
        return chosen

    def addressee(self, address: Address) -> Worker | None:
        """Return whom a notification is for, connected or not; there is no window for these, nobody claims them."""
        if address.member or address.cast == "uni":
            return self._groups.get(address.group, {}).get(address.member)
        return next((one for one in self._groups.get(address.group, {}).values() if one.stream), None)

    def note_crowd(self, address: Address, line: str) -> None:
        """Note that a task waits in a line; if somebody serves it, that one's next claim makes room."""
        if any(one.stream for one in self._groups.get(address.group, {}).values()):
            self.crowded.add(line)

    def release(self, worker: Worker) -> None:
        """Forget a worker of which nothing is left to know."""
        if worker.stream or worker.process or worker.held() or worker.notified:
            return
        members = self._groups.get(worker.group, {})
        if members.get(worker.id) is worker:
            del members[worker.id]
            self._by_id[worker.id].remove(worker)
            if not members:
                del self._groups[worker.group]
            if not self._by_id[worker.id]:
                del self._by_id[worker.id]

    def note_gone(self, worker: Worker, now: int) -> None:
        """Note that a worker has left, before what it holds is given to others."""
        self.moves += 1
        pid = worker.process.pid if worker.process else None
        self.gone.append(Gone(worker.name, pid, now, tuple(sorted(worker.claimed)[:NAMED]), len(worker.claimed)))

    def take_stock(self, held: list[Task]) -> None:
        """Count anew who holds what, after a turn was taken back."""
        for worker in self:
            worker.unclaimed.clear()
            worker.claimed.clear()
            worker.notified.clear()
            self.crowded.update(worker.lines)  # what the turn had served from them waits again
        for task in held:
            if holder := self.named(task.recipient):
                books = holder.claimed if task.state == "CLAIMED" else holder.unclaimed
                (holder.notified if task.kind == "notify" else books).add(task.id)
