"""Who is connected, what each of them holds, and who is offered the next task. Kept in memory; no IO.

A worker is a (group, id) with an open event stream. It keeps its record while it holds tasks or its process is known,
connected or not, since a claim outlives a broken stream.

Two kinds of things are known of a worker. Its stream and its process are facts: presence sets them as they happen, and
no turn takes them back. What it holds follows from the stored tasks: the rules update this copy with each write, and
after a turn that failed it is made anew (``rebuild``).
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from local_server.model import Promise, Task, TaskKind
from local_server.rules.addresses import Address

REMEMBERED = 64  # workers that have gone
NAMED = 5  # tasks of each
REMEMBERS = 10_000  # removed promises of which a worker is known to have run them
WINDOW = 16  # messages sent on a stream and not claimed yet: enough to keep a worker busy, few to offer anew
NOTICES = 512  # notifications that may not have arrived yet: a turn takes that many back in some 20 ms


class Stream(Protocol):
    """The sending side of an event stream."""

    @property
    def unsent(self) -> int:
        """Bytes of messages that the client has not taken yet."""

    def has_read_all(self) -> bool:
        """Tell whether its client is known to have read all that it was sent."""

    def send(self, delivery: "Delivery") -> None:
        """Send one message; never blocks, never fails."""

    def close(self) -> None:
        """End the stream."""

    def cut(self) -> None:
        """Close the connection in the middle of the stream, which its reader takes for a fault."""


class Delivery(NamedTuple):
    """A message for a worker: a task to claim, or (notify) the promise that has completed."""

    stream: Stream
    task: Task
    promise: Promise | None


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
    os_process: OsProcess | None = None  # None: not known, as for a worker on another machine
    unclaimed: set[str] = field(default_factory=set)  # ids of the tasks sent and not claimed
    claimed: set[str] = field(default_factory=set)
    notified: set[str] = field(default_factory=set)  # ids of the notify tasks sent a moment ago
    # Promises that ended under its hands, of which it has yet to report: until when its claim may come (by the clock of
    # leases), None: it has claimed.
    ending: dict[str, int | None] = field(default_factory=dict)
    remembers: dict[str, None] = field(default_factory=dict)  # removed promises that it has run, in order
    overdue: bool = False  # it did not claim in time, and has claimed nothing since: stopped, or hung
    chosen: int = 0  # when it was chosen last, so that equals take turns
    queues: tuple[str, str] = field(init=False)  # those that it serves: its group's, and its own

    def __post_init__(self) -> None:
        self.queues = Address("any", self.group, "").queue, Address("uni", self.group, self.id).own_queue

    @property
    def name(self) -> str:
        """``group/id``, as tasks name their recipient."""
        return f"{self.group}/{self.id}"

    @property
    def room(self) -> int:
        """How many more messages that must be claimed it may be sent."""
        return max(0, WINDOW - len(self.unclaimed)) if self.stream else 0

    def has_room(self, kind: TaskKind) -> bool:
        """Tell whether it may be sent one more message of this kind."""
        return self.stream is not None and len(self.notified) < NOTICES if kind == "notify" else self.room > 0

    def held(self) -> set[str]:
        """Return the ids of the tasks sent to it or claimed by it, except what it is only notified of."""
        return self.unclaimed | self.claimed

    def remember(self, promise_id: str) -> None:
        """Note that it has run a promise that is removed now: what comes under that id again, it may take for that."""
        self.remembers[promise_id] = None
        if len(self.remembers) > REMEMBERS:
            del self.remembers[next(iter(self.remembers))]

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
        self._choices = 0
        self.gone: deque[Gone] = deque(maxlen=REMEMBERED)  # the latest last; for people only
        self.moves = 0  # counts who comes and goes
        self.saturated: set[str] = set()  # queues in which tasks may wait although somebody serves them

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

    def of_process(self, process_id: str, recipient: str | None) -> Worker | None:
        """Return the worker that claims under a process id: the recipient of the message, or the only one of that id.

        That id is a text of the SDK's, the same for its stream and its claims, and no number of this machine's. Two
        groups may have members of the same id.
        """
        worker = self.named(recipient)
        if worker and worker.id == process_id:
            return worker
        namesakes = self.namesakes(process_id)
        return namesakes[0] if len(namesakes) == 1 else None

    def namesakes(self, member: str) -> Sequence[Worker]:
        """Return the workers known of that id, each in another group."""
        return self._by_id.get(member, ())

    def hold(self, task: Task) -> None:
        """Note who holds a task that is sent or claimed; whoever claims runs."""
        worker = self.named(task.recipient)
        if worker is None:
            return
        if task.state == "CLAIMED":
            worker.claimed.add(task.id)
            worker.overdue = False
        elif task.state == "ENQUEUED":
            (worker.notified if task.kind == "notify" else worker.unclaimed).add(task.id)

    def choose(self, address: Address, avoid: str | None = None, promise: str = "") -> Worker | None:
        """Return the worker that is offered a task: the one named, else the least loaded of the group, in turn.

        ``avoid`` names the worker that was offered it before in vain; it is chosen only when there is no other, as is
        one that leaves its messages unclaimed, and one that has run an earlier ``promise`` of that id.
        """

        def last_of_all(one: Worker) -> bool:
            return one.name == avoid or one.overdue or promise in one.remembers

        members = self._groups.get(address.group, {})
        preferred = members.get(address.member)
        if preferred and preferred.room and not last_of_all(preferred):
            chosen: Worker | None = preferred
        else:
            candidates = members.values() if address.cast == "any" else [preferred] if preferred else []
            chosen = min(
                (one for one in candidates if one.room),
                key=lambda one: (last_of_all(one), len(one.unclaimed) + len(one.claimed), one.chosen),
                default=None,
            )
        if chosen:
            self._choices += 1
            chosen.chosen = self._choices
        return chosen

    def addressee(self, address: Address) -> Worker | None:
        """Return whom a notification can be sent to now: the one that it names, else any member of the group."""
        members = self._groups.get(address.group, {})
        named = members.get(address.member)
        candidates = members.values() if not address.member else [named] if named else []
        return next((one for one in candidates if one.has_room("notify")), None)

    def note_saturated(self, address: Address, queue: str) -> None:
        """Note that a task waits in a queue; if somebody serves it, that one's next claim makes room."""
        members = self._groups.get(address.group, {})
        member = members.get(address.member)
        if any(one.stream for one in members.values()) if queue == address.queue else member and member.stream:
            self.saturated.add(queue)

    def release(self, worker: Worker) -> None:
        """Forget a worker of which nothing is left to know."""
        if worker.stream or worker.os_process or worker.held() or worker.notified:
            return
        members = self._groups.get(worker.group, {})
        if members.get(worker.id) is worker:
            del members[worker.id]
            self._by_id[worker.id].remove(worker)
            if not members:
                del self._groups[worker.group]
            if not self._by_id[worker.id]:
                del self._by_id[worker.id]

    def rebuild(self, held: list[Task]) -> None:
        """Tell anew who holds what, from the tasks that are sent or claimed."""
        for worker in self:
            worker.unclaimed.clear()
            worker.claimed.clear()
            worker.notified.clear()
            worker.overdue = False
            self.saturated.update(worker.queues)  # until somebody has looked
        for task in held:
            if task.recipient:
                self.get(*task.recipient.split("/", 1))
                self.hold(task)
