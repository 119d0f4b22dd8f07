"""The rules of dispatch: which waiting task is sent to whom, and what is offered to one who has room."""

from typing import Final

from msgspec.structs import replace

from local_server.model import Task
from local_server.routing import UNREACHABLE, parse
from local_server.states import step
from local_server.turn import Delivery, Turn
from local_server.workers import Worker

# All in ms.
CLAIM_WITHIN: Final = 10_000  # a message that nobody claims goes to another; the SDK claims at once, when it runs
SETTLE_AFTER: Final = 2_000  # a notification has arrived if its stream stays open that long
NOTIFY_WITHIN: Final = 86_400_000  # a client that does not come back for its result within a day is forgotten


def add(turn: Turn, task: Task) -> None:
    """Store a new task, and send it if it may run now."""
    turn.store.insert_task(*_place(turn, task))


def offer(turn: Turn, task: Task) -> str | None:
    """Send a stored task if it may run now; return the line in which it waits for a worker, None when it does not."""
    task, line = _place(turn, task)
    turn.store.update_task(task, line)
    return line


def offer_next_of_root(turn: Turn, root: str) -> None:
    """Offer the tasks that wait because another of their root was running, the oldest first, until one is sent."""
    while (task := turn.store.next_of_root(root)) and not turn.store.running(root, task.id):
        offer(turn, task)


def serve(turn: Turn, worker: Worker, line: str, batch: int) -> None:
    """Offer what waits in a line, as long as this worker has room for it."""
    while waiting := turn.store.waiting_for(line, batch):
        for task in waiting:
            if task.kind != "notify" and not worker.has_room:
                turn.workers.crowded.add(line)
                return
            if offer(turn, task) == line:
                return  # it would be the first in the line for ever
    turn.workers.crowded.discard(line)


def made_room(turn: Turn, worker: Worker | None) -> None:
    """Offer a worker that holds less than before what waits because all had their fill."""
    if worker and worker.has_room:
        for line in turn.workers.crowded & set(worker.lines):
            serve(turn, worker, line, batch=1)


def let_go(turn: Turn, task: Task, to: Worker | None = None) -> None:
    """Take a task off the books of the one it was sent to or claimed by, and onto those of the one who claims it.

    A message that this turn was going to send is not sent: its claim would be refused.
    """
    turn.outbox.pop(task.id, None)
    turn.workers.unconfirmed.discard(task.id)
    worker = turn.workers.named(task.recipient)
    if worker:
        worker.forget(task.id)
    if to:
        to.claimed.add(task.id)
    if worker:
        turn.workers.release(worker)


def _place(turn: Turn, task: Task) -> tuple[Task, str | None]:
    """Send a waiting task to a worker if it may run now; else tell the line in which it waits for one."""
    if task.timeout <= turn.now and (over := step(task, "time_out")):
        return replace(
            task, state=over.state, process=None, deadline=None, not_before=None, completed_on=task.timeout
        ), None
    sent = step(task, "send")
    if sent is None or _must_wait(turn, task):
        return task, None
    address, notify = parse(task.recv), task.kind == "notify"
    if address is None:
        return task, UNREACHABLE
    worker = turn.workers.addressee(address) if notify else turn.workers.choose(address, avoid=task.recipient)
    if worker is None or worker.stream is None:
        line = address.own_line if notify and address.member else address.waiting_line
        turn.workers.note_crowd(address, line)
        return replace(task, deadline=turn.due_in(NOTIFY_WITHIN) if notify else None), line
    (worker.notified if notify else worker.unclaimed).add(task.id)
    deadline = turn.due_in(SETTLE_AFTER if notify else CLAIM_WITHIN)
    task = replace(task, state=sent.state, recipient=worker.name, deadline=deadline)
    turn.outbox[task.id] = Delivery(worker.stream, task, turn.store.promise(task.root) if notify else None)
    return task, None


def _must_wait(turn: Turn, task: Task) -> bool:
    """Tell whether a task may not run yet: its delay lasts, or another of its root runs. Their end offers it."""
    if task.not_before is not None:
        turn.due_at(task.not_before)
        return True
    return task.kind != "notify" and turn.store.running(task.root, task.id)
