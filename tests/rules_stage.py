"""The rules of the local server over a real store, with streams that remember, and clocks that a test moves."""

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, NamedTuple

import msgspec
from wire_client import until

from local_server.api import replies
from local_server.errors import Refusal
from local_server.model import Promise, Task, TaskKind
from local_server.rules import dispatch, due, losses, promises, tasks
from local_server.rules.states import PromiseEvent
from local_server.rules.turn import Turn
from local_server.rules.workers import Delivery, OsProcess, Worker, Workers
from local_server.store.postgres import Postgres
from local_server.store.rows import as_promise, as_task
from local_server.store.store import PROMISE, TASK, Store

START = 1_000_000  # ms since the epoch
FAR = 10**12


class Message(NamedTuple):
    """What a worker reads of an event: enough to claim the task, or the promise that has completed."""

    type: str
    task: str | None
    counter: int | None
    promise: str | None


class RecordingStream:
    """The sending side of an event stream, whose other side remembers every message."""

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage
        self.messages: list[Message] = []
        self.times: list[int] = []  # ms of the monotonic clock, of each message
        self.closed = False
        self.unsent = 0  # bytes that the other side has not taken

    def send(self, delivery: Delivery) -> None:
        assert not self.closed, "a message was sent on a closed stream"
        event = msgspec.json.decode(replies.message(delivery, "http://here").removeprefix(b"data: "))
        task, promise = event.get("task", {}), event.get("promise", {})
        self.times.append(self._stage.mono)
        self.messages.append(Message(event["type"], task.get("id"), task.get("counter"), promise.get("id")))

    def close(self) -> None:
        self.closed = True


class Stage:
    """A server without sockets and without a clock of its own; each call is one turn, which sends after its commit."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = path  # or the URL of a database of PostgreSQL
        self.now, self.mono = START, 0
        self.resumed = 0  # by the clock of ``now``
        self.store, self.workers = opened(path), Workers()
        self.failing = False  # no turn can be stored
        self.later: deque[Callable[[Turn], object]] = deque()  # what turns have left to others
        self._turn: Turn | None = None
        self._stale = False

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Run several operations in one turn."""
        if self._turn:
            yield self._turn
            return
        turn = self._turn = Turn(self.store, self.workers, self.now, self.mono, self.resumed)
        self.store.begin()
        if self._stale:
            dispatch.rebuild(turn)
        try:
            yield turn
        finally:
            dispatch.drain(turn)
            self._turn, self._stale = None, self.failing
            self.store.rollback() if self.failing else self.store.commit()
        if self.failing:
            return
        for delivery in turn.outbox.values():
            task = self.task(delivery.task.id)
            assert (task.state, task.counter) == ("ENQUEUED", delivery.task.counter), "its claim would be refused"
        turn.send()
        self.later.extend(turn.later)

    def go_on(self) -> int:
        """Do what turns have left to others, each in a turn of its own; return how many turns these were."""
        count = 0
        while self.later:
            self.do(self.later.popleft())
            count += 1
        return count

    def do[**P, T](self, operation: Callable[Concatenate[Turn, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one operation in a turn of its own."""
        with self.turn() as turn:
            return operation(turn, *args, **kwargs)

    # requests

    def create(
        self,
        promise_id: str,
        *,
        timeout: int = FAR,
        key: str | None = None,
        strict: bool = False,
        claim: tuple[str, int] | None = None,
        **tags: str,
    ) -> int:
        """Create a promise; tags by their names without "resonate:", ``timeout_`` for that tag. Return the status."""
        named = {f"resonate:{name.removesuffix('_')}": value for name, value in tags.items()}
        return self.do(promises.create, pending(promise_id, timeout, key, named), named, strict=strict, claim=claim)[0]

    def complete(
        self, promise_id: str, event: PromiseEvent = "resolve", *, key: str | None = None, strict: bool = False
    ) -> int:
        """Complete a promise; return the status."""
        return self.do(promises.complete, promise_id, event, promises.EMPTY, key, strict=strict)[0]

    def call_back(self, promise_id: str, kind: TaskKind, name: str, recv: str, timeout: int = FAR) -> int:
        """Register a callback or a subscription; return the status."""
        return self.do(promises.add_callback, promise_id, kind, name, recv, timeout, None)[0]

    def claim(self, task_id: str, counter: int = 1, process_id: str = "w", ttl: int = 10_000) -> Task:
        """Claim a task, and return it."""
        return self.do(tasks.claim, task_id, counter, process_id, ttl)[0]

    # connections

    def connect(self, name: str, process: OsProcess | None = None, *, has_read_all: bool = False) -> RecordingStream:
        """Open a stream for ``group/id``; an older one, of which the client has read all or not, is closed."""
        worker, stream = self.workers.get(*name.split("/", 1)), RecordingStream(self)
        replaced, worker.stream = worker.stream, stream
        worker.os_process = process or worker.os_process
        with self.turn() as turn:
            if replaced:
                losses.stream_closed(turn, worker, has_read_all=has_read_all)
            dispatch.connected(turn, worker)
        if replaced:
            replaced.close()
        return stream

    def disconnect(self, name: str) -> None:
        """Close the stream of ``group/id``."""
        worker = self.worker(name)
        worker.stream = None
        with self.turn() as turn:
            losses.stream_closed(turn, worker)
            if worker.os_process is None:
                losses.out_of_sight(turn, worker)
            turn.freed_workers[worker] = None

    def process_ends(self, name: str) -> None:
        """End the process behind ``group/id``, whose stream is still open as far as the server knows."""
        worker = self.worker(name)
        stream, worker.stream, worker.os_process = worker.stream, None, None
        with self.turn() as turn:
            if stream:
                turn.closing.append(stream)
            losses.process_gone(turn, worker, 1, {})
            turn.freed_workers[worker] = None

    def restart(self, *, killed: bool = False) -> None:
        """Open the database anew with all else forgotten, under another clock; killed: from its files as they are."""
        if killed and isinstance(self.path, Path):
            folder = Path(tempfile.mkdtemp(dir=self.path.parent))
            for file in self.path.parent.glob(f"{self.path.name}*"):
                shutil.copy(file, folder)
            self.path = folder / self.path.name
        self.store.close()
        self.mono //= 2
        self.resumed = self.now
        self.store, self.workers = opened(self.path), Workers()
        self.do(losses.restarted)

    # the clock

    def advance(self, ms: int) -> None:
        """Let time pass, and act on everything that falls due on the way, at its time."""
        end = self.mono + ms
        while (at := self._next_due()) is not None and at <= end:
            self.now, self.mono = self.now + max(0, at - self.mono), max(at, self.mono)
            self.sweep()
        self.now, self.mono = self.now + end - self.mono, end

    def _next_due(self) -> int | None:
        wall, mono = self.store.earliest()
        due = [mono] if mono is not None else []
        return min([*due, self.mono + wall - self.now] if wall is not None else due, default=None)

    def sweep(self) -> None:
        """Act on what is due now, as the engine's timer does."""
        self.do(due.sweep)

    # what there is

    def worker(self, name: str) -> Worker:
        """Return the record of a worker that the server knows."""
        worker = self.workers.named(name)
        assert worker, f"the server has forgotten {name}"
        return worker

    def task(self, task_id: str) -> Task:
        """Return a task that must be there."""
        task = self.store.task(task_id)
        assert task, f"there is no task {task_id}"
        return task

    def promises(self) -> dict[str, Promise]:
        """Return all promises by their ids."""
        return {row[0]: as_promise(row) for row in self.store.db.execute(f"SELECT {PROMISE} FROM promises")}  # noqa: S608 - a constant

    def tasks(self) -> dict[str, Task]:
        """Return all tasks by their ids."""
        return {row[0]: as_task(row) for row in self.store.db.execute(f"SELECT {TASK} FROM tasks")}  # noqa: S608 - likewise

    def dump(self) -> list[tuple[Any, ...]]:
        """Return every row of every table."""
        tables = ("promises", "shared_children", "callbacks", "tasks", "lost_claims", "schedules")
        statements = [f"SELECT '{table}', * FROM {table} ORDER BY 2, 3" for table in tables]  # noqa: S608 - see above
        return [row for sql in statements for row in self.store.db.execute(sql)]


def opened(where: Path | str | None) -> Store:
    """Return the store in a file, in memory, or in the database of a URL, as the server that serves it has it."""
    if not isinstance(where, str):
        return Store(where)
    database = Postgres(where, "tests")
    until(database.lead)  # the lock of a connection that is closed is free a moment later
    database.open()
    for timeout in ("idle_session_timeout", "idle_in_transaction_session_timeout"):  # a test says nothing for longer
        database.execute(f"SELECT set_config('{timeout}', '0', false)")
    return Store(database)


def pending(promise_id: str, timeout: int, key: str | None, tags: dict[str, str]) -> Promise:
    """Return a promise to be created."""
    encoded = msgspec.Raw(msgspec.json.encode(tags)) if tags else None
    return Promise(promise_id, "PENDING", promises.EMPTY, promises.EMPTY, timeout, key, tags=encoded)


def refused(operation: Callable[[], object]) -> int:
    """Return the code with which an operation is refused, 0 when it is not."""
    try:
        operation()
    except Refusal as refusal:
        return refusal.code
    return 0


ANY = "poll://any@g"
PROCESS = OsProcess(1, 0.0)


def sent(stream: RecordingStream) -> list[tuple[str | None, int | None]]:
    """Return (task, counter) of the messages so far."""
    return [(message.task, message.counter) for message in stream.messages]


def work(stage: Stage, count: int, recv: str = ANY, first: int = 0) -> list[str]:
    """Create promises that run somewhere; return the ids of their tasks."""
    for n in range(first, first + count):
        stage.create(f"p{n}", invoke=recv)
    return [f"__invoke:p{n}" for n in range(first, first + count)]
