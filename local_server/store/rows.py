"""How rows become the records of ``model``, and back: the columns are the fields of the record, in their order."""

import sqlite3
from typing import Any

from msgspec import Raw, Struct

from local_server.model import Callback, Promise, Schedule, Task

sqlite3.register_adapter(Raw, lambda raw: str(raw, "utf-8"))  # JSON is stored as text


def columns(kind: type[Struct]) -> str:
    """Return the columns of a table that are fields of its record."""
    return ", ".join(kind.__struct_fields__)


def parameters(kind: type[Struct]) -> str:
    """Return the same as named parameters, to be filled from the record as a dict."""
    return ", ".join(f":{name}" for name in kind.__struct_fields__)


PROMISE, CALLBACK, TASK, SCHEDULE = columns(Promise), columns(Callback), columns(Task), columns(Schedule)


def as_raw(text: str | None) -> Raw | None:
    """Take JSON as it is stored."""
    return None if text is None else Raw(text)


def as_promise(row: tuple[Any, ...]) -> Promise:
    """Make a record of the columns of a promise."""
    id_, state, param, value, timeout, create_key, complete_key, tags, created_on, completed_on = row
    return Promise(
        id_, state, Raw(param), Raw(value), timeout, create_key, complete_key, as_raw(tags), created_on, completed_on
    )


def as_task(row: tuple[Any, ...]) -> Task:
    """Make a record of the columns of a task."""
    return Task(*(*row[:-1], as_raw(row[-1])))


def as_callback(row: tuple[Any, ...]) -> Callback:
    """Make a record of the columns of a callback."""
    return Callback(*(*row[:-1], as_raw(row[-1])))


def as_schedule(row: tuple[Any, ...]) -> Schedule:
    """Make a record of the columns of a schedule."""
    fields = dict(zip(Schedule.__struct_fields__, row, strict=True))
    for name in ("tags", "promise_param", "promise_tags"):
        fields[name] = as_raw(fields[name])
    return Schedule(**fields)
