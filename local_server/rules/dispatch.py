"""The rules of dispatch: which waiting task is sent to whom, and when.

A task that waits (INIT) waits for one of these, in this order:

- the end of its delay (``not_before``), which the clock brings;
- another task of its root, since one task of a root runs at a time, the oldest next;
- a worker: it stands in a queue (``waits_for``), that of its group, or that of the one member it is addressed to;
- nobody: its address reaches no worker, so it can only be claimed by hand.

A worker has a window: it is sent at most WINDOW messages that it has not claimed yet. Notifications, which nobody
claims, have one of their own: at most NOTICES are under way that may not have arrived yet.

A queue is marked as saturated when tasks may be waiting in it although a worker serves it, mostly because all windows
are full. A queue that is served and not marked is empty. So after a claim the store is asked who waits only if a queue
of that worker is marked.

No rule sends a waiting task when it frees a root or a worker. It notes on the turn what became free, and ``drain``,
once before COMMIT, sends what can run now, the oldest first. Only a new task is sent at once if it can be, and stored
once. If that is more than one turn takes, others go on: with a queue as ``Turn.later`` says, with a root as the table
``unsettled`` does, since nothing else tells that its tasks wait for nobody.

Who holds what (``Worker.unclaimed``, ``claimed``, ``notified``) and which queues are saturated is kept in memory, and
follows from the stored tasks: ``rebuild`` makes it anew, at the start of the server and after a turn that failed.
"""

from typing import Final

from msgspec.structs import replace

from local_server.model import Task
from local_server.rules.addresses import UNREACHABLE, parse
from local_server.rules.states import transition
from local_server.rules.turn import Turn
from local_server.rules.workers import Delivery, Worker

# All in ms.
CLAIM_WITHIN: Final = 10_000  # a message that nobody claims goes to another; the SDK claims at once, when it runs
SETTLE_AFTER: Final = 2_000  # a notification has arrived if its stream stays open that long
NOTIFY_WITHIN: Final = 86_400_000  # a client that does not come back for its result within a day is forgotten
OFFERS: Final = 256  # of what waits for workers, in one turn, some 15 ms; many may be over, and sent to nobody
OFFERED: Final = 8 * 2**10  # bytes of a promise in a message that count like another offer
ROOT_OFFERS: Final = 64  # of one root, in one turn, some ms

CLEARED: Final = {"process": None, "deadline": None, "not_before": None, "waits_for": None}  # of a task that has ended


def add(turn: Turn, task: Task) -> None:
    """Store a new task, and send it if it may run now."""
    turn.store.insert_task(_send_or_queue(turn, task))


def offer(turn: Turn, task: Task) -> bool:
    """Send a stored task if it may run now, else let it wait in a queue; return False if neither changes anything."""
    offered = _send_or_queue(turn, task)
    if offered == task:
        return False
    turn.store.update_task(offered)
    return True


def write(turn: Turn, task: Task, changed: Task) -> None:
    """Write the next state of a stored task, and who holds it from now on.

    A message that this turn was going to send is not sent: its claim would be refused.
    """
    turn.outbox.pop(task.id, None)
    if worker := turn.workers.named(task.recipient):
        worker.forget(task.id)
        turn.freed_workers[worker] = None
    turn.workers.hold(changed)
    turn.store.update_task(changed)


def time_out(turn: Turn, task: Task) -> None:
    """End a stored task by its own time-out."""
    if over := transition(task, "time_out", completed_on=task.timeout, **CLEARED):
        write(turn, task, over)
        turn.freed_roots[task.root] = None


def connected(turn: Turn, worker: Worker) -> None:
    """Give a worker that has just connected what it claimed without a stream, and what waits for one like it."""
    if turn.workers.of_process(worker.id, None) is worker:
        worker.claimed.update(turn.store.claims.own(worker.id, worker.name))
    worker.overdue = False
    turn.workers.saturated.update(worker.queues)  # as far as is known: nobody has looked yet
    turn.freed_workers[worker] = None


def delay_passed(turn: Turn, task: Task) -> None:
    """Let a task run whose delay is over."""
    turn.store.update_task(replace(task, not_before=None))
    turn.freed_roots[task.root] = None


def rebuild(turn: Turn) -> None:
    """Tell from the tasks who holds what; all workers that are connected are offered what waits."""
    turn.workers.rebuild(turn.store.sent_or_claimed())
    turn.freed_workers.update(dict.fromkeys(turn.workers))


def drain(turn: Turn) -> None:
    """Send what can run now that roots and workers have become free; what one turn cannot take is left to the next."""
    for root in turn.freed_roots:
        for _ in range(ROOT_OFFERS):
            if not ((task := turn.store.next_of_root(root)) and offer(turn, task)):
                break
        else:
            turn.store.add_follow_up(root)
            turn.due_at(turn.now)
    left, unserved = OFFERS, dict[Worker, None]()
    for worker in turn.freed_workers:
        for queue in worker.queues:
            if queue in turn.workers.saturated:
                left -= _serve(turn, worker, queue, left)
        if left <= 0:
            unserved[worker] = None
    if unserved:
        turn.later.append(lambda turn: turn.freed_workers.update(unserved))


def _serve(turn: Turn, worker: Worker, queue: str, most: int) -> int:
    """Offer what waits in a queue, the oldest first, as long as this worker has room for it; return how much."""
    if worker.stream is None:
        return 0
    offered = 0
    while offered < most:
        waiting = turn.store.waiting_for(queue, min(most - offered, max(1, worker.room)))
        if not waiting:
            turn.workers.saturated.discard(queue)
            break
        for task in waiting:
            if offered >= most or not worker.has_room(task.kind) or not offer(turn, task):
                return offered
            promise = turn.outbox[task.id].promise if task.id in turn.outbox else None
            offered += 1 + ((len(promise.param) + len(promise.value)) // OFFERED if promise else 0)
    return offered


def _send_or_queue(turn: Turn, task: Task) -> Task:
    """Return a waiting task as sent to a worker, if it may run now, else as waiting in the queue for one."""
    if task.timeout <= turn.now and (over := transition(task, "time_out", completed_on=task.timeout, **CLEARED)):
        return over
    if task.state != "INIT":
        return task
    if _must_wait(turn, task):
        return replace(task, waits_for=None)
    address, notify = parse(task.recv), task.kind == "notify"
    if address is None:
        return replace(task, waits_for=UNREACHABLE)
    queue = address.own_queue if notify and address.member else address.queue
    if notify:
        worker = turn.workers.addressee(address)
    elif queue in turn.workers.saturated and task.waits_for != queue:
        worker = None  # older tasks wait there; it is offered behind them
    else:
        worker = turn.workers.choose(address, task.recipient, task.root)
    if worker is None or worker.stream is None:
        turn.workers.note_saturated(address, queue)
        return replace(task, deadline=turn.due_in(NOTIFY_WITHIN) if notify else None, waits_for=queue)
    deadline = turn.due_in(SETTLE_AFTER if notify else CLAIM_WITHIN)
    sent = transition(task, "send", recipient=worker.name, deadline=deadline, waits_for=None) or task
    turn.workers.hold(sent)
    turn.outbox[task.id] = Delivery(worker.stream, sent, turn.store.promise(task.root) if notify else None)
    return sent


def _must_wait(turn: Turn, task: Task) -> bool:
    """Tell whether a task may not run yet: its delay lasts, or another of its root runs. The end of that offers it."""
    if task.not_before is not None:
        turn.due_at(task.not_before)
        return True
    return task.kind != "notify" and turn.store.running(task.root, task.id)
