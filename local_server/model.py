"""What is stored, as frozen records; field order and names of ``Promise`` and ``Schedule`` are those of the wire.

Times are milliseconds since the epoch, except deadlines, which are milliseconds of the monotonic clock of this run.
``Raw`` fields hold JSON as it goes out, with markers for long strings (``store.parts``); nothing looks inside a value.
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

PromiseState = Literal["PENDING", "RESOLVED", "REJECTED", "REJECTED_CANCELED", "REJECTED_TIMEDOUT"]
TaskState = Literal["INIT", "ENQUEUED", "CLAIMED", "COMPLETED", "TIMEDOUT"]
TaskKind = Literal["invoke", "resume", "notify"]

DEATH = "process "  # the reason of a loss that begins so is the death of a worker's process
TOOK_FOR_EARLIER = "not run: "  # the reason of a loss by a worker that knows the id from before it was deleted
UNSET_TIME = -(2**63)  # a default that no real time has, so that a field without value is left out of the JSON


class Promise(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A durable promise, as it is shown."""

    id: str
    state: PromiseState
    param: Raw
    value: Raw
    timeout: int
    idempotency_key_for_create: str | None = None
    idempotency_key_for_complete: str | None = None
    tags: Raw | None = None
    created_on: int = UNSET_TIME
    completed_on: int | None = None


class Task(Struct, frozen=True):
    """A unit of work for one worker: run a function (invoke), go on with it (resume), or hear of an end (notify).

    A new field is a new column: of ``schema.sql`` and of a migration, and of ``store.CHANGING`` if it changes.
    """

    id: str
    kind: TaskKind
    root: str  # the promise whose function runs; for notify the promise that ended
    recv: str  # address of who may run it
    timeout: int
    created_on: int
    state: TaskState = "INIT"
    counter: int = 1
    leaf: str | None = None  # the awaited promise whose end resumes the function
    process: str | None = None  # who claimed it: the process id of the SDK, a text (not the system's)
    ttl: int = 0  # of the lease, ms
    deadline: int | None = None  # monotonic ms: by when it must be claimed, or its lease renewed
    not_before: int | None = None  # resonate:delay
    recipient: str | None = None  # "group/id" of the stream it was last sent on
    waits_for: str | None = (
        None  # the queue in which it waits: an address for which no worker, or none with room, could be found
    )
    claimed_on: int | None = None  # of the latest claim
    completed_on: int | None = None
    head: Raw | None = None  # trace headers for the message; the last field, as rows.as_task expects


class Callback(Struct, frozen=True):
    """Somebody to tell when a promise completes: becomes a resume or notify task of the same id."""

    id: str
    promise: str
    kind: TaskKind
    root: str
    recv: str
    timeout: int
    created_on: int
    head: Raw | None


def invoke_id(promise: str) -> str:
    """Return the id of the task that runs the function of a promise."""
    return f"__invoke:{promise}"


def resume_id(root: str, leaf: str) -> str:
    """Return the id of the callback, and of the task, by which the end of ``leaf`` resumes the function of ``root``."""
    return f"__resume:{root}:{leaf}"


def notify_id(promise: str, client: str) -> str:
    """Return the id of the subscription, and of the task, by which a client hears of the end of a promise."""
    return f"__notify:{promise}:{client}"


class Schedule(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A promise to be created again and again, as it is shown."""

    id: str
    description: str = msgspec.field(default="", name="desc")
    cron: str
    tags: Raw
    promise_id: str
    promise_timeout: int
    promise_param: Raw
    promise_tags: Raw | None = None
    last_run_time: int | None = None
    next_run_time: int = UNSET_TIME
    idempotency_key: str | None = None
    created_on: int = UNSET_TIME
