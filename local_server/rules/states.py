"""The state tables: what each event makes of a promise and of a task. A cell that is missing is a fault of the server.

A promise is completed once. Everything else that a request for completion may meet is a refusal whose code names the
state that is there (or, on a non-strict repetition, the stored promise: see ``promises.complete``).

A task is work for one worker. It waits (INIT) until a worker that fits is connected, no other task of its root runs,
and its delay is over; then its message is sent (ENQUEUED), and a process must claim it before the deadline, with the
counter from the message. A claimed task is a lease: heartbeats renew it, completion ends it. When the holder is lost -
its process is gone, its lease or the time to claim has run out - the task waits again, under the next counter, so that
nothing the lost holder says can change it.

A notify task carries the end of a promise to a client, which never answers. It counts as delivered once the stream it
was sent on has stayed open for a while; when the stream closes before that, it waits again for the client.

These tables are the only authority: a state is changed by ``transition`` and by nothing else. (``tasks.claim`` grants
two kinds of claims that this table refuses, the repeated and the late one; they change no state.)
"""

from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from local_server import errors
from local_server.model import PromiseState, Task, TaskState

PromiseEvent = Literal["resolve", "reject", "cancel", "timeout", "timer"]
TaskEvent = Literal["send", "claim", "complete", "drop", "lose", "settle", "time_out", "finish"]

PROMISE_TRANSITIONS: dict[tuple[PromiseState, PromiseEvent], PromiseState] = {
    ("PENDING", "resolve"): "RESOLVED",
    ("PENDING", "reject"): "REJECTED",
    ("PENDING", "cancel"): "REJECTED_CANCELED",
    ("PENDING", "timeout"): "REJECTED_TIMEDOUT",
    ("PENDING", "timer"): "RESOLVED",  # the time-out of a promise tagged resonate:timeout is its success: a sleep
}

COMPLETED_AS: dict[PromiseState, int] = {
    "RESOLVED": errors.ALREADY_RESOLVED,
    "REJECTED": errors.ALREADY_REJECTED,
    "REJECTED_CANCELED": errors.ALREADY_CANCELED,
    "REJECTED_TIMEDOUT": errors.ALREADY_TIMEDOUT,
}


class Next(NamedTuple):
    """The task changes: its next state, and whether the counter moves on."""

    state: TaskState
    counts: bool = False


class Keep(NamedTuple):
    """Nothing changes, and that is fine: a repetition of what has happened already."""


class Refuse(NamedTuple):
    """Nothing changes; the request is refused with this code."""

    code: int


Outcome = Next | Keep | Refuse

TASK_TRANSITIONS: dict[tuple[TaskState, TaskEvent], Outcome] = {
    # sent to a worker
    ("INIT", "send"): Next("ENQUEUED"),
    ("ENQUEUED", "send"): Keep(),
    ("CLAIMED", "send"): Keep(),
    ("COMPLETED", "send"): Keep(),
    ("TIMEDOUT", "send"): Keep(),
    # claimed by a process
    ("INIT", "claim"): Next("CLAIMED"),
    ("ENQUEUED", "claim"): Next("CLAIMED"),
    ("CLAIMED", "claim"): Refuse(errors.TASK_ALREADY_CLAIMED),
    ("COMPLETED", "claim"): Refuse(errors.TASK_ALREADY_COMPLETED),
    ("TIMEDOUT", "claim"): Refuse(errors.TASK_ALREADY_COMPLETED),
    # completed by its holder: the step is done, or waits for promises
    ("INIT", "complete"): Refuse(errors.TASK_INVALID_STATE),
    ("ENQUEUED", "complete"): Refuse(errors.TASK_INVALID_STATE),
    ("CLAIMED", "complete"): Next("COMPLETED"),
    ("COMPLETED", "complete"): Keep(),
    ("TIMEDOUT", "complete"): Keep(),
    # given back by its holder
    ("INIT", "drop"): Keep(),
    ("ENQUEUED", "drop"): Keep(),
    ("CLAIMED", "drop"): Next("INIT", counts=True),
    ("COMPLETED", "drop"): Keep(),
    ("TIMEDOUT", "drop"): Keep(),
    # the one it was sent to or who held it is lost: gone, or out of time
    ("INIT", "lose"): Keep(),
    ("ENQUEUED", "lose"): Next("INIT", counts=True),
    ("CLAIMED", "lose"): Next("INIT", counts=True),
    ("COMPLETED", "lose"): Keep(),
    ("TIMEDOUT", "lose"): Keep(),
    # its own time-out has passed
    ("INIT", "time_out"): Next("TIMEDOUT"),
    ("ENQUEUED", "time_out"): Next("TIMEDOUT"),
    ("CLAIMED", "time_out"): Next("TIMEDOUT"),
    ("COMPLETED", "time_out"): Keep(),
    ("TIMEDOUT", "time_out"): Keep(),
    # its root promise is completed: nothing is left to do
    ("INIT", "finish"): Next("COMPLETED"),
    ("ENQUEUED", "finish"): Next("COMPLETED"),
    ("CLAIMED", "finish"): Next("COMPLETED"),
    ("COMPLETED", "finish"): Keep(),
    ("TIMEDOUT", "finish"): Keep(),
}

NOTIFY_TRANSITIONS: dict[tuple[TaskState, TaskEvent], Outcome] = TASK_TRANSITIONS | {
    # once sent it can no longer be claimed; for a client that asks it is completed
    ("ENQUEUED", "claim"): Refuse(errors.TASK_ALREADY_COMPLETED),
    ("ENQUEUED", "complete"): Keep(),
    # the same message again does no harm, so the counter stays
    ("ENQUEUED", "lose"): Next("INIT"),
    # delivered as far as can be known, or its client has not come for a day
    ("INIT", "settle"): Next("COMPLETED"),
    ("ENQUEUED", "settle"): Next("COMPLETED"),
    ("CLAIMED", "settle"): Keep(),
    ("COMPLETED", "settle"): Keep(),
    ("TIMEDOUT", "settle"): Keep(),
}


def transition(task: Task, event: TaskEvent, **changes: Any) -> Task | None:
    """Return what an event makes of a task, None when it changes nothing.

    Args:
        task: as it is.
        event: what happens to it.
        changes: further fields that change with the state, by name.

    Raises:
        Refusal: with the code of the cell.
    """
    outcome = (NOTIFY_TRANSITIONS if task.kind == "notify" else TASK_TRANSITIONS)[task.state, event]
    if isinstance(outcome, Refuse):
        found = f"claimed by {task.process}" if task.state == "CLAIMED" else task.state.lower()
        raise errors.Refusal(outcome.code, f"task {task.id}: found it {found}; {event} needs it otherwise")
    if isinstance(outcome, Keep):
        return None
    return replace(task, state=outcome.state, counter=task.counter + outcome.counts, **changes)
