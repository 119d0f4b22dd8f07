"""The rules of tasks: who is offered what, who holds what, and what becomes of it when the holder is lost."""

from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from local_server import errors
from local_server.errors import Refusal
from local_server.model import Callback, Promise, Task, TaskKind, TaskState
from local_server.routing import UNREACHABLE, Address, parse
from local_server.states import Keep, Next, Refuse, TaskEvent, task_outcome
from local_server.turn import Delivery, Turn
from local_server.workers import WINDOW, Worker

# All in ms.
CLAIM_WITHIN: Final = 10_000  # a message that nobody claims goes to another; the SDK claims at once, when it runs
CLAIM_AFTER_CLOSE: Final = 500  # a claim may still be on its way when the stream of a living worker closes
CLAIM_AFTER_RESTART: Final = 2_000  # the SDK repeats a claim every second while the server is down
HEARTBEAT_WITHIN: Final = 5_500  # of a worker without stream whose process is out of sight; the SDK beats every 5 s
SETTLE_AFTER: Final = 2_000  # a notification has arrived if its stream stays open that long
NOTIFY_WITHIN: Final = 86_400_000  # a client that does not come back for its result within a day is forgotten


def get(turn: Turn, task_id: str) -> Task:
    """Return a task.

    Raises:
        Refusal: 40403 when there is none of that id.
    """
    task = turn.store.task(task_id)
    if task is None:
        raise Refusal(errors.TASK_NOT_FOUND, f"task {task_id}: found none of that id")
    return task


def fence(turn: Turn, task_id: str, counter: int) -> None:
    """Let a request go on only if the task it is part of is still claimed with that counter.

    Raises:
        Refusal: 41200 otherwise.
    """
    task = turn.store.task(task_id)
    if task is None or task.state != "CLAIMED" or task.counter != counter:
        found = f"{task.state} with counter {task.counter}" if task else "none of that id"
        raise Refusal(
            errors.TASK_PRECONDITION_FAILED, f"task {task_id}: found {found}; expected it claimed with {counter}"
        )


def invoke(turn: Turn, promise: Promise, recv: str, not_before: int | None, head: Raw | None) -> None:
    """Create the task that runs the function of a new promise, and offer it."""
    _add(
        turn, _new(turn, f"__invoke:{promise.id}", "invoke", promise.id, recv, promise.timeout, None, not_before, head)
    )


def invoke_claimed(turn: Turn, promise: Promise, recv: str, process: str, ttl: int) -> Task:
    """Create that task, claimed by the one who created the promise."""
    task = _new(turn, f"__invoke:{promise.id}", "invoke", promise.id, recv, promise.timeout)
    holder = turn.workers.of_process(process, None)
    task = replace(
        task, state="CLAIMED", process=process, ttl=ttl, deadline=turn.due_in(ttl), recipient=holder and holder.name
    )
    turn.store.insert_task(task, None, turn.now)
    if holder:
        holder.claimed.add(task.id)
    return task


def called_back(turn: Turn, callback: Callback) -> None:
    """Turn the callback of a promise that has completed into its task, and offer that."""
    leaf = callback.promise if callback.kind == "resume" else None
    task = _new(
        turn, callback.id, callback.kind, callback.root, callback.recv, callback.timeout, leaf, head=callback.head
    )
    if callback.kind == "resume":
        root = turn.store.promise(callback.root)
        if root is None:  # registered by hand; the SDK would end its process over a root that is not there
            task = replace(task, recv=UNREACHABLE)
        elif root.state != "PENDING":
            task = replace(task, state="COMPLETED", completed_on=turn.now)
    _add(turn, task)


def claim(
    turn: Turn, task_id: str, counter: int, process: str, ttl: int
) -> tuple[Task, Promise | None, Promise | None]:
    """Lease a task to a process; return it with its root promise, and the leaf promise of a resume.

    A claim that was granted by the server's previous run may be repeated: its answer may have been lost with it.

    Raises:
        Refusal: 40403, 40306, 40307, 40308.
    """
    task = get(turn, task_id)
    repeated = task.process == process and task.counter == counter and task_id in turn.workers.unconfirmed
    if not repeated:
        _next_state(task, "claim", f"claimed by {task.process}" if task.state == "CLAIMED" else task.state.lower())
    if task.counter != counter:
        raise _wrong_counter(task, counter)
    holder, sent_to = turn.workers.of_process(process, task.recipient), turn.workers.named(task.recipient)
    _let_go(turn, task)
    if holder:
        holder.claimed.add(task_id)
    task = replace(
        task, state="CLAIMED", process=process, ttl=ttl, deadline=turn.due_in(ttl), recipient=holder and holder.name
    )
    turn.store.update_task(task, claimed_on=turn.now)
    for worker in (holder, sent_to):
        if worker:
            worker.overdue = False
            _made_room(turn, worker)
    return task, turn.store.promise(task.root), turn.store.promise(task.leaf) if task.leaf is not None else None


def complete(turn: Turn, task_id: str, counter: int) -> tuple[int, Task]:
    """End the lease: the step is stored, or its function waits for promises. Return 201, or 200 for a repetition.

    Raises:
        Refusal: 40403, 40308, 40309.
    """
    task = get(turn, task_id)
    state = _next_state(task, "complete", task.state.lower())
    if state is None:
        return 200, task
    if task.counter != counter:
        raise _wrong_counter(task, counter)
    _let_go(turn, task)
    task = replace(task, state=state, process=None, deadline=None, completed_on=turn.now)
    turn.store.update_task(task)
    _offer_next_of_root(turn, task.root)
    return 201, task


def drop(turn: Turn, task_id: str, counter: int) -> int:
    """Give a claimed task back, to be offered under the next counter. Return 201, or 200 if it was not claimed.

    Raises:
        Refusal: 40403, 40308.
    """
    task = get(turn, task_id)
    if _next_state(task, "drop", task.state.lower()) is None:
        return 200
    if task.counter != counter:
        raise _wrong_counter(task, counter)
    lose(turn, task, "dropped by its worker")
    return 201


def heartbeat(turn: Turn, process: str) -> int:
    """Renew every lease of a process; return how many."""
    deadlines = turn.store.renew_leases(process, turn.mono)
    for deadline in deadlines:
        turn.due_in(deadline - turn.mono)
    return len(deadlines)


def finish_root(turn: Turn, root: str) -> None:
    """End all tasks of a promise that has completed."""
    for task in turn.store.live_tasks(root):
        if state := _next_state(task, "finish", task.state.lower()):
            worker = turn.workers.named(task.recipient)
            _let_go(turn, task)
            turn.store.update_task(replace(task, state=state, deadline=None, not_before=None, completed_on=turn.now))
            if worker and task.state == "ENQUEUED":
                _made_room(turn, worker)


def lose(turn: Turn, task: Task, reason: str) -> None:
    """Take a task from whom it was sent to or claimed by, and offer it anew; ``reason`` is for people."""
    outcome = task_outcome(task.kind, task.state, "lose")
    _let_go(turn, task)
    if not isinstance(outcome, Next):
        return
    if task.state == "CLAIMED":
        turn.store.lost_claim(task, turn.now, reason)
    counter = task.counter + 1 if outcome.counts else task.counter
    _offer(turn, replace(task, state=outcome.state, counter=counter, process=None, deadline=None))
    if task.kind != "notify":
        _offer_next_of_root(turn, task.root)  # does nothing if the task itself found a worker


def settle(turn: Turn, task: Task) -> None:
    """End a notify task: it has arrived, or nobody is left to receive it."""
    if state := _next_state(task, "settle", task.state.lower()):
        _let_go(turn, task)
        turn.store.update_task(replace(task, state=state, deadline=None))


def deadline_passed(turn: Turn, task: Task) -> None:
    """Act on the deadline of a task: the time to claim, the lease, or the wait for a client is over."""
    if task.kind == "notify" and task.state != "CLAIMED":
        settle(turn, task)
    elif task.state == "CLAIMED":
        lose(turn, task, f"no heartbeat within {task.ttl} ms")
    else:
        worker = turn.workers.named(task.recipient)
        if worker:
            worker.overdue = True
        lose(turn, task, "not claimed in time")


def delay_passed(turn: Turn, task: Task) -> None:
    """Offer a task whose delay is over."""
    _offer(turn, replace(task, not_before=None))


def connected(turn: Turn, worker: Worker) -> None:
    """Offer a worker that has just connected what waits for one like it."""
    for task in turn.store.unowned_claims(worker.id):
        if turn.workers.of_process(worker.id, None) is worker:
            worker.claimed.add(task.id)
            turn.store.update_task(replace(task, recipient=worker.name))
    for line in _lines(worker):
        _serve(turn, worker, line, batch=WINDOW)


def disconnected(turn: Turn, worker: Worker) -> None:
    """Take back what was sent on a stream that has closed; what its worker has claimed is kept while that lives."""
    for task in _tasks(turn, worker.notified):
        lose(turn, task, "stream closed")
    for task in _tasks(turn, worker.unclaimed):
        _shorten(turn, task, CLAIM_AFTER_CLOSE)
    if worker.process is None:
        for task in _tasks(turn, worker.claimed):
            _shorten(turn, task, HEARTBEAT_WITHIN)


def process_gone(turn: Turn, worker: Worker) -> None:
    """Free everything of a worker whose process has ended."""
    for task in _tasks(turn, worker.held()):
        lose(turn, task, f"process {worker.process.pid if worker.process else '?'} ended")
    for task in _tasks(turn, worker.notified) + turn.store.waiting_notifications(_lines(worker)[1]):
        settle(turn, task)


def restarted(turn: Turn) -> None:
    """Take over what the server's previous run left: leases get their full ttl once, messages a moment to be claimed."""
    turn.store.reset_notifications(turn.due_in(NOTIFY_WITHIN))
    for task in turn.store.sent_or_claimed():
        worker = turn.workers.get(*task.recipient.split("/", 1)) if task.recipient else None
        if task.kind == "notify" and task.state == "ENQUEUED":
            lose(turn, task, "server restarted")
        elif task.state == "CLAIMED":
            turn.workers.unconfirmed.add(task.id)
            turn.store.set_deadline(task.id, turn.due_in(task.ttl))
            if worker:
                worker.claimed.add(task.id)
        else:
            turn.store.set_deadline(task.id, turn.due_in(CLAIM_AFTER_RESTART))
            if worker:
                worker.unclaimed.add(task.id)


def _new(
    turn: Turn,
    task_id: str,
    kind: TaskKind,
    root: str,
    recv: str,
    timeout: int,
    leaf: str | None = None,
    not_before: int | None = None,
    head: Raw | None = None,
) -> Task:
    return Task(
        task_id, kind, "INIT", 1, root, leaf, recv, timeout, None, 0, None, not_before, None, head, turn.now, None
    )


def _add(turn: Turn, task: Task) -> None:
    placed, line = _place(turn, task) if task.state == "INIT" else (task, None)
    while not turn.store.insert_task(placed, line, None):
        # "__resume:a:b:c" is the leaf b:c of root a, and the leaf c of root a:b
        turn.outbox = [delivery for delivery in turn.outbox if delivery.task.id != placed.id]
        placed = replace(placed, id=placed.id + ":")


def _offer(turn: Turn, task: Task) -> None:
    """Place a stored task that waits."""
    turn.store.update_task(*_place(turn, task))


def _offer_next_of_root(turn: Turn, root: str) -> None:
    """Offer the oldest of the tasks that wait because another of their root was running."""
    task = turn.store.next_of_root(root)
    if task:
        _offer(turn, task)


def _place(turn: Turn, task: Task) -> tuple[Task, str | None]:
    """Send a waiting task to a worker if it may run now; else tell the line in which it waits for one."""
    if task.timeout <= turn.now:
        return replace(task, state="TIMEDOUT", deadline=None, not_before=None, completed_on=task.timeout), None
    if task.not_before is not None and task.not_before > turn.now:
        turn.due_at(task.not_before)
        return task, None
    task = replace(task, not_before=None) if task.not_before is not None else task
    notify = task.kind == "notify"
    if not notify and turn.store.running(task.root):
        return task, None  # one at a time; the end of the running one offers this
    address = parse(task.recv)
    if address is None:
        return task, UNREACHABLE
    worker = turn.workers.addressee(address) if notify else turn.workers.choose(address, avoid=task.recipient)
    if worker is None or worker.stream is None:
        line = address.waiting_line
        turn.workers.note_crowd(address, line)
        return replace(task, deadline=turn.due_in(NOTIFY_WITHIN) if notify else None), line
    (worker.notified if notify else worker.unclaimed).add(task.id)
    deadline = turn.due_in(SETTLE_AFTER if notify else CLAIM_WITHIN)
    task = replace(task, state="ENQUEUED", recipient=worker.name, deadline=deadline)
    turn.outbox.append(Delivery(worker.stream, task, turn.store.promise(task.root) if notify else None))
    return task, None


def _serve(turn: Turn, worker: Worker, line: str, batch: int) -> None:
    """Offer what waits in a line, as long as this worker has room for it."""
    while tasks := turn.store.waiting_for(line, batch):
        for task in tasks:
            if task.kind != "notify" and not worker.has_room:
                turn.workers.crowded.add(line)
                return
            _offer(turn, task)
    turn.workers.crowded.discard(line)


def _made_room(turn: Turn, worker: Worker) -> None:
    for line in turn.workers.crowded & set(_lines(worker)):
        _serve(turn, worker, line, batch=1)


def _lines(worker: Worker) -> tuple[str, str]:
    """Return the lines that a worker serves: its group's, and its own."""
    return Address("any", worker.group, "").waiting_line, Address("uni", worker.group, worker.id).waiting_line


def _shorten(turn: Turn, task: Task, ms: int) -> None:
    if task.deadline is None or task.deadline > turn.mono + ms:
        turn.store.set_deadline(task.id, turn.due_in(ms))


def _let_go(turn: Turn, task: Task) -> None:
    """Take a task off the books of the worker it was sent to or claimed by."""
    turn.workers.unconfirmed.discard(task.id)
    worker = turn.workers.named(task.recipient)
    if worker:
        worker.forget(task.id)
        turn.workers.release(worker)


def _tasks(turn: Turn, ids: set[str]) -> list[Task]:
    return [task for task_id in sorted(ids) if (task := turn.store.task(task_id))]


def _next_state(task: Task, event: TaskEvent, found: str) -> TaskState | None:
    """Look up what an event makes of a task; None: nothing."""
    match task_outcome(task.kind, task.state, event):
        case Next(state):
            return state
        case Keep():
            return None
        case Refuse(code):
            raise Refusal(code, f"task {task.id}: found it {found}; {event} needs it otherwise")


def _wrong_counter(task: Task, counter: int) -> Refusal:
    return Refusal(errors.TASK_INVALID_COUNTER, f"task {task.id}: found counter {counter}; expected {task.counter}")
