"""The rules of tasks: who holds what, what completes it, and what becomes of it when the holder is lost."""

from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from local_server import dispatch, errors
from local_server.dispatch import NOTIFY_WITHIN
from local_server.errors import Refusal
from local_server.model import Callback, Promise, Task, TaskKind
from local_server.routing import UNREACHABLE
from local_server.states import step
from local_server.turn import Turn
from local_server.workers import WINDOW, Worker

# All in ms.
CLAIM_AFTER_CLOSE: Final = 500  # a claim may still be on its way when the stream of a living worker closes
CLAIM_AFTER_RESTART: Final = 2_000  # the SDK repeats a claim every second while the server is down
HEARTBEAT_WITHIN: Final = 5_500  # of a worker without stream whose process is out of sight; the SDK beats every 5 s


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
    """Create the task that runs the function of a new promise, and offer it, after its delay if that is not over."""
    not_before = None if not_before is not None and not_before <= turn.now else not_before
    dispatch.add(
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
    task_id = callback.id
    while turn.store.task(task_id):  # "__resume:a:b:c" is the leaf b:c of root a, and the leaf c of root a:b
        task_id += ":"
    task = _new(turn, task_id, callback.kind, callback.root, callback.recv, callback.timeout, leaf, head=callback.head)
    if callback.kind == "resume":
        root = turn.store.promise(callback.root)
        if root is None:  # registered by hand; the SDK would end its process over a root that is not there
            task = replace(task, recv=UNREACHABLE)
        elif root.state != "PENDING" or root.timeout <= turn.now:  # its message would find the root completed
            task = replace(task, state="COMPLETED", completed_on=turn.now)
    dispatch.add(turn, task)


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
        step(task, "claim")
    if task.counter != counter:
        raise _wrong_counter(task, counter)
    holder, sent_to = turn.workers.of_process(process, task.recipient), turn.workers.named(task.recipient)
    dispatch.let_go(turn, task, to=holder)
    recipient = holder and holder.name
    task = replace(
        task, state="CLAIMED", process=process, ttl=ttl, deadline=turn.due_in(ttl), not_before=None, recipient=recipient
    )
    turn.store.update_task(task, claimed_on=turn.now)
    for worker in (holder, sent_to):
        if worker:
            worker.overdue = False
            dispatch.made_room(turn, worker)
    return task, turn.store.promise(task.root), turn.store.promise(task.leaf) if task.leaf is not None else None


def complete(turn: Turn, task_id: str, counter: int) -> tuple[int, Task]:
    """End the lease: the step is stored, or its function waits for promises. Return 201, or 200 for a repetition.

    Raises:
        Refusal: 40403, 40308, 40309.
    """
    task = get(turn, task_id)
    done = step(task, "complete")
    if done is None:
        return 200, task
    if task.counter != counter:
        raise _wrong_counter(task, counter)
    dispatch.let_go(turn, task)
    task = replace(task, state=done.state, process=None, deadline=None, completed_on=turn.now)
    turn.store.update_task(task)
    dispatch.offer_next_of_root(turn, task.root)
    return 201, task


def drop(turn: Turn, task_id: str, counter: int) -> int:
    """Give a claimed task back, to be offered under the next counter. Return 201, or 200 if it was not claimed.

    Raises:
        Refusal: 40403, 40308.
    """
    task = get(turn, task_id)
    if step(task, "drop") is None:
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
        if done := step(task, "finish"):
            worker = turn.workers.named(task.recipient)
            dispatch.let_go(turn, task)
            task = replace(task, state=done.state, deadline=None, not_before=None, completed_on=turn.now)  # noqa: PLW2901
            turn.store.update_task(task)
            dispatch.made_room(turn, worker)


def lose(turn: Turn, task: Task, reason: str) -> None:
    """Take a task from whom it was sent to or claimed by, and offer it anew; ``reason`` is for people."""
    lost, worker = step(task, "lose"), turn.workers.named(task.recipient)
    dispatch.let_go(turn, task)
    if lost is None:
        return
    if task.state == "CLAIMED":
        turn.store.lost_claim(task, turn.now, reason)
    counter = task.counter + 1 if lost.counts else task.counter
    dispatch.offer(turn, replace(task, state=lost.state, counter=counter, process=None, deadline=None))
    if task.kind != "notify":
        dispatch.offer_next_of_root(turn, task.root)
    dispatch.made_room(turn, worker)


def settle(turn: Turn, task: Task) -> None:
    """End a notify task: it has arrived, or nobody is left to receive it."""
    if done := step(task, "settle"):
        dispatch.let_go(turn, task)
        turn.store.update_task(replace(task, state=done.state, deadline=None))


def deadline_passed(turn: Turn, task: Task) -> None:
    """Act on the deadline of a task: the time to claim, the lease, or the wait for a client is over."""
    worker = turn.workers.named(task.recipient)
    if task.kind == "notify" and task.state != "CLAIMED":
        settle(turn, task)
        return
    if task.state == "ENQUEUED" and worker:
        worker.overdue = True
    if task.timeout <= turn.now:
        dispatch.let_go(turn, task)
        dispatch.offer(turn, task)  # which ends it
        dispatch.offer_next_of_root(turn, task.root)
        dispatch.made_room(turn, worker)
    else:
        lose(turn, task, f"no heartbeat within {task.ttl} ms" if task.state == "CLAIMED" else "not claimed in time")


def delay_passed(turn: Turn, task: Task) -> None:
    """Offer a task whose delay is over."""
    dispatch.offer(turn, replace(task, not_before=None))


def connected(turn: Turn, worker: Worker) -> None:
    """Offer a worker that has just connected what waits for one like it."""
    turn.workers.moves += 1
    for task in turn.store.unowned_claims(worker.id):
        if turn.workers.of_process(worker.id, None) is worker:
            worker.claimed.add(task.id)
            turn.store.update_task(replace(task, recipient=worker.name))
    for line in worker.lines:
        dispatch.serve(turn, worker, line, batch=WINDOW)


def disconnected(turn: Turn, worker: Worker) -> None:
    """Take back what was sent on a stream that has closed; what its worker has claimed is kept while that lives."""
    turn.workers.moves += 1
    for task in _tasks(turn, worker.notified):
        lose(turn, task, "stream closed")
    for task in _tasks(turn, worker.unclaimed):
        _shorten(turn, task, CLAIM_AFTER_CLOSE)
    if worker.process is None:
        turn.workers.note_gone(worker, turn.now)
        for task in _tasks(turn, worker.claimed):
            _shorten(turn, task, HEARTBEAT_WITHIN)


def process_gone(turn: Turn, worker: Worker) -> None:
    """Free everything of a worker whose process has ended, and its stream with it."""
    turn.workers.note_gone(worker, turn.now)
    stream, worker.stream = worker.stream, None  # what is freed here must not be sent on it again
    if stream:
        stream.close()
    for task in _tasks(turn, worker.held()):
        lose(turn, task, f"process {worker.process.pid if worker.process else '?'} ended")
    for task in _tasks(turn, worker.notified) + turn.store.waiting_notifications(worker.lines[1]):
        settle(turn, task)


def counters(turn: Turn, ids: set[str]) -> dict[str, int]:
    """Return the counters of tasks, by their ids."""
    return {task.id: task.counter for task in _tasks(turn, ids)}


def lose_claims(turn: Turn, claimed: dict[str, int], reason: str) -> None:
    """Free those tasks that are still claimed with these counters."""
    for task in _tasks(turn, set(claimed)):
        if task.state == "CLAIMED" and task.counter == claimed[task.id]:
            lose(turn, task, reason)


def restarted(turn: Turn) -> None:
    """Take over what the server's last run left: leases get their full ttl once, messages a moment to be claimed."""
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
        task_id, kind, "INIT", 1, root, leaf, recv, timeout, None, 0, None, not_before, None, turn.now, None, head
    )


def _shorten(turn: Turn, task: Task, ms: int) -> None:
    if task.deadline is None or task.deadline > turn.mono + ms:
        turn.store.set_deadline(task.id, turn.due_in(ms))


def _tasks(turn: Turn, ids: set[str]) -> list[Task]:
    return [task for task_id in sorted(ids) if (task := turn.store.task(task_id))]


def _wrong_counter(task: Task, counter: int) -> Refusal:
    return Refusal(errors.TASK_INVALID_COUNTER, f"task {task.id}: found counter {counter}; expected {task.counter}")
