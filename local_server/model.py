"""What is stored, as frozen records; field order and names of ``Promise`` and ``Schedule`` are those of the wire.

Times are milliseconds since the epoch, except deadlines, which are milliseconds of the monotonic clock of this run.
``Raw`` fields hold JSON as it goes out; nothing in the server looks inside a value.
"""

from typing import Literal

from msgspec import Raw, Struct

PromiseState = Literal["PENDING", "RESOLVED", "REJECTED", "REJECTED_CANCELED", "REJECTED_TIMEDOUT"]
TaskState = Literal["INIT", "ENQUEUED", "CLAIMED", "COMPLETED", "TIMEDOUT"]
TaskKind = Literal["invoke", "resume", "notify"]

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
    """A unit of work for one worker: run a function (invoke), go on with it (resume), or hear of an end (notify)."""

    id: str
    kind: TaskKind
    state: TaskState
    counter: int
    root: str  # the promise whose function runs; for notify the promise that ended
    leaf: str | None  # the awaited promise whose end resumes the function
    recv: str  # address of who may run it
    timeout: int
    process: str | None  # who claimed it
    ttl: int  # of the lease, ms
    deadline: int | None  # monotonic ms: by when it must be claimed, or its lease renewed
    not_before: int | None  # resonate:delay
    recipient: str | None  # "group/id" of the stream it was last sent on
    created_on: int
    completed_on: int | None
    head: Raw | None  # trace headers for the message


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


class Schedule(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A promise to be created again and again, as it is shown."""

    id: str
    desc: str = ""
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
