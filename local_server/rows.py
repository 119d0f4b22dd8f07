"""How rows become the records of ``model``, and back: the columns, in the order in which the records take them."""

from typing import Any

from msgspec import Raw

from local_server.model import Promise, Schedule, Task

PROMISE = """id, state, param, value, timeout, idempotency_key_for_create, idempotency_key_for_complete, tags,
    created_on, completed_on"""
TASK = """id, kind, state, counter, root, leaf, recv, timeout, process, ttl, deadline, not_before, recipient,
    created_on, completed_on, head"""
SCHEDULE = """id, description, cron, tags, promise_id, promise_timeout, promise_param, promise_tags, last_run_time,
    next_run_time, idempotency_key, created_on"""


def as_raw(text: str | None) -> Raw | None:
    """Take JSON as it is stored."""
    return None if text is None else Raw(text)


def as_text(raw: Raw | None) -> str | None:
    """Turn JSON into what is stored."""
    return None if raw is None else str(bytes(raw), "utf-8")


def as_promise(row: tuple[Any, ...]) -> Promise:
    """Make a record of the columns ``PROMISE``."""
    id_, state, param, value, timeout, create_key, complete_key, tags, created_on, completed_on = row
    return Promise(
        id_, state, Raw(param), Raw(value), timeout, create_key, complete_key, as_raw(tags), created_on, completed_on
    )


def as_task(row: tuple[Any, ...]) -> Task:
    """Make a record of the columns ``TASK``."""
    return Task(*(*row[:-1], as_raw(row[-1])))


def as_schedule(row: tuple[Any, ...]) -> Schedule:
    """Make a record of the columns ``SCHEDULE``."""
    id_, desc, cron, tags, promise_id, promise_timeout, param, promise_tags, last, following, key, created_on = row
    return Schedule(
        id=id_,
        desc=desc,
        cron=cron,
        tags=Raw(tags),
        promise_id=promise_id,
        promise_timeout=promise_timeout,
        promise_param=Raw(param),
        promise_tags=as_raw(promise_tags),
        last_run_time=last,
        next_run_time=following,
        idempotency_key=key,
        created_on=created_on,
    )
