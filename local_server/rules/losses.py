"""The rules of loss: what becomes of tasks when the one who holds them is gone, or out of time.

A claim outlives the stream of its worker, since a broken stream is no dead worker. What ends it is the end of the
worker's process, where that can be seen; else the end of its lease. A message that was not claimed is given to another
worker 500 ms after its stream has closed, since the claim may still arrive.

A task may itself be what ends its worker: the SDK ends its process over a function that it does not know and over
arguments that do not fit. The first time a task is lost by the death of its holder it is given to another at once. From
the second time on it waits 1, 2, 4 ... 60 s, so that a pool that is restarted outlives it, and people are told.

Who calls, and when:

- ``presence``: a stream has closed (``stream_closed``), and the process behind it cannot be seen (``out_of_sight``).
- ``presence``: a process has ended (``process_gone``; ``lose_claims`` if another one has its name by now).
- ``due``: the time to claim, a lease or the wait for a client is over (``deadline_passed``).
- ``tasks``: a worker has dropped a task (``lose``), or ended it without a result (``took_for_earlier``).
- ``engine``: the server has started, or a commit may be lost since the disk failed (``restarted``).

All of them end in ``lose`` or ``settle``, or move a deadline. ``dispatch.drain`` gives to others what that frees.
"""

from typing import Final

from local_server.model import DEATH, TOOK_FOR_EARLIER, Task
from local_server.rules import dispatch
from local_server.rules.addresses import parse
from local_server.rules.dispatch import CLAIM_WITHIN, NOTIFY_WITHIN, SETTLE_AFTER
from local_server.rules.states import TaskEvent, transition
from local_server.rules.turn import Turn
from local_server.rules.workers import NAMED, Gone, Worker

# All in ms.
CLAIM_AFTER_CLOSE: Final = 500  # a claim may still be on its way when the stream of a living worker closes
HEARTBEAT_WITHIN: Final = 5_500  # of a worker without stream whose process is out of sight; the SDK beats every 5 s
LONGEST_WAIT: Final = 60_000  # of a task that ends its workers

BATCH: Final = 64  # claims and notifications of a process that has ended, in one turn, some 10 ms


def lose(turn: Turn, task: Task, reason: str, event: TaskEvent = "lose", *, not_before: int | None = None) -> None:
    """Take a task back from its holder (sent to it, or claimed by it), to be offered anew; ``reason`` is for people."""
    if lost := transition(task, event, process=None, deadline=None, claimed_on=None, not_before=not_before):
        if task.state == "CLAIMED":
            turn.store.insert_lost_claim(task, turn.now, reason)
        dispatch.write(turn, task, lost)
        if task.kind == "notify":  # no other task of its root keeps it waiting, and there may be hundreds of them
            dispatch.offer(turn, lost)
        else:
            turn.freed_roots[task.root] = None


def settle(turn: Turn, task: Task) -> None:
    """End a notify task: it has arrived, or nobody is left to receive it."""
    if settled := transition(task, "settle", deadline=None, waits_for=None):
        dispatch.write(turn, task, settled)


def deadline_passed(turn: Turn, task: Task) -> None:
    """Act on the deadline of a task: the time to claim, the lease, or the wait for a client is over."""
    worker = turn.workers.named(task.recipient)
    if task.kind == "notify" and task.state != "CLAIMED":
        if task.state == "ENQUEUED" and worker and worker.stream and worker.stream.unsent:
            turn.store.set_deadline(task.id, turn.due_in(SETTLE_AFTER))  # it may be among what the client has not taken
        else:
            settle(turn, task)
        return
    if task.state == "ENQUEUED" and worker:
        worker.overdue = True
    if task.timeout <= turn.now:
        dispatch.time_out(turn, task)
    else:
        lose(turn, task, f"no heartbeat within {task.ttl} ms" if task.state == "CLAIMED" else "not claimed in time")


def stream_closed(turn: Turn, worker: Worker, *, has_read_all: bool = False) -> None:
    """Take back what was sent on a stream that is closed or replaced, but for what its client is known to have read."""
    for task in _tasks(turn, worker.notified):
        if has_read_all and task.id not in turn.outbox:  # which is what this turn was going to send
            settle(turn, task)
        else:
            lose(turn, task, "stream closed")
    for task in _tasks(turn, worker.unclaimed):
        if task.deadline is None or task.deadline > turn.mono + CLAIM_AFTER_CLOSE:
            turn.store.set_deadline(task.id, turn.due_in(CLAIM_AFTER_CLOSE))


def out_of_sight(turn: Turn, worker: Worker) -> None:
    """Note that only heartbeats can tell whether a worker lives: it has no stream, and no process that can be seen."""
    _note_gone(turn, worker, None)
    if worker.claimed:
        turn.store.claims.shorten(worker.id, worker.name, turn.due_in(HEARTBEAT_WITHIN))


def process_gone(turn: Turn, worker: Worker, pid: int | None, others: dict[str, int]) -> None:
    """Free everything of a worker whose process has ended, but for what others of its name have claimed.

    If that is much, further turns go on with it. A server that is killed meanwhile leaves the rest to its deadlines.
    """
    _note_gone(turn, worker, pid)
    worker.ending.clear()
    worker.remembers.clear()
    claimed = turn.store.claims.counters(worker.id, worker.name)
    lose_claims(turn, worker, pid, [one for one in claimed.items() if others.get(one[0]) != one[1]])
    for task in _tasks(turn, worker.unclaimed):
        lose(turn, task, f"{DEATH}{pid or '?'} ended")
    for task in _tasks(turn, worker.notified):
        if _is_for_one(task):
            settle(turn, task)
        else:
            lose(turn, task, "process ended")
    _settle_waiting(turn, worker)


def took_for_earlier(turn: Turn, task: Task, worker: Worker) -> None:
    """Take a task back that a worker has ended without a result: see ``removal`` for why."""
    times = turn.store.losses(task.id, TOOK_FOR_EARLIER) + 1
    reason = f"{TOOK_FOR_EARLIER}{worker.name} ran it before it was deleted"
    lose(turn, task, reason, not_before=turn.now + _wait(times) if times > 1 else None)
    turn.warnings.append(
        f"promise {task.root}: {worker.name} ran an earlier one of that id, which was deleted, and takes it for that; "
        f"{worker.name} has to be restarted, or another worker started"
    )


def lose_claims(turn: Turn, worker: Worker, pid: int | None, claimed: list[tuple[str, int]]) -> None:
    """Free what a process that has ended claimed as this worker: (task, counter); what it has no longer stays."""
    for task_id, counter in claimed[:BATCH]:
        task = turn.store.task(task_id)
        if task and task.state == "CLAIMED" and task.counter == counter:
            lose(turn, task, f"{DEATH}{pid or '?'} ended", not_before=_again(turn, task, worker, pid))
    if left := claimed[BATCH:]:
        turn.later.append(lambda turn: lose_claims(turn, worker, pid, left))


def _settle_waiting(turn: Turn, worker: Worker) -> None:
    """End the notifications that wait for a client whose process has ended, unless another one has its name by now."""
    known = turn.workers.named(worker.name)
    if known and known.stream:
        return
    waiting = turn.store.waiting_notifications(worker.queues[1], BATCH)
    for task in waiting:
        settle(turn, task)
    if len(waiting) == BATCH:
        turn.later.append(lambda turn: _settle_waiting(turn, worker))


def restarted(turn: Turn) -> None:
    """Take over what the server's last run left: leases and messages get their full time once."""
    turn.store.parts.end_uploads()
    turn.store.reset_notifications(turn.due_in(NOTIFY_WITHIN))
    dispatch.rebuild(turn)
    for task in turn.store.sent_or_claimed():
        if task.kind == "notify" and task.state == "ENQUEUED":
            lose(turn, task, "server restarted")
        else:
            turn.store.set_deadline(task.id, turn.due_in(task.ttl if task.state == "CLAIMED" else CLAIM_WITHIN))


def _again(turn: Turn, task: Task, worker: Worker, pid: int | None) -> int | None:
    """Return when a task is offered again whose holder has died, in ms since the epoch; None: at once."""
    if task.state != "CLAIMED" or task.counter == 1:
        return None
    deaths = turn.store.losses(task.id, DEATH) + 1
    if deaths == 1:
        return None
    wait = _wait(deaths)
    turn.warnings.append(
        f"promise {task.root} has ended {deaths} workers, the last one {worker.name} (process {pid or '?'}); "
        f"it is tried again in {wait // 1000} s; to give it up: local-server cancel {task.root}"
    )
    return turn.now + wait


def _wait(times: int) -> int:
    return min(1_000 << min(times - 2, 16), LONGEST_WAIT)


def _is_for_one(task: Task) -> bool:
    """Tell whether a notification is for one client, and not for any of a group."""
    address = parse(task.recv)
    return address is None or bool(address.member)


def _tasks(turn: Turn, ids: set[str]) -> list[Task]:
    return [task for task_id in sorted(ids) if (task := turn.store.task(task_id))]


def _note_gone(turn: Turn, worker: Worker, pid: int | None) -> None:
    """Note that a worker has left, before what it holds is given to others."""
    turn.gone.append(Gone(worker.name, pid, turn.now, tuple(sorted(worker.claimed)[:NAMED]), len(worker.claimed)))
