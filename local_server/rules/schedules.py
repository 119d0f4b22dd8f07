"""The rules of schedules: promises created by the clock."""

import re

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from local_server import errors
from local_server.errors import Refusal
from local_server.model import Promise, Schedule
from local_server.rules import addresses, cron, promises
from local_server.rules.turn import Turn

NEVER = 2**63 - 1
_VARIABLE = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


def create(turn: Turn, new: Schedule) -> tuple[int, Schedule]:
    """Create a schedule. Return 201, or 200 with the stored one when it exists and the keys match.

    Raises:
        Refusal: 40000 for a cron or a template that makes no sense; 40901 when it exists and the keys do not match.
    """
    stored = turn.store.schedule(new.id)
    if stored:
        if new.idempotency_key is None or new.idempotency_key != stored.idempotency_key:
            raise Refusal(errors.SCHEDULE_ALREADY_EXISTS, f"schedule {new.id}: found it with another idempotency key")
        return 200, stored
    if "{{" in _VARIABLE.sub("", new.promise_id):
        raise Refusal(
            errors.BAD_REQUEST, f"promiseId: found {new.promise_id!r}; expected {{{{.id}}}} or {{{{.timestamp}}}}"
        )
    tags = msgspec.json.decode(new.promise_tags) if new.promise_tags else {}
    addresses.of_tag(tags.get("resonate:invoke", ""))  # refused now rather than at the first run
    try:
        schedule = replace(new, next_run_time=cron.next_run(new.cron, turn.now), created_on=turn.now)
    except cron.CronError as error:
        raise Refusal(errors.BAD_REQUEST, f"cron: {error}") from None
    turn.store.insert_schedule(schedule)
    turn.due_at(schedule.next_run_time)
    return 201, schedule


def get(turn: Turn, schedule_id: str) -> Schedule:
    """Return a schedule.

    Raises:
        Refusal: 40401 when there is none of that id.
    """
    schedule = turn.store.schedule(schedule_id)
    if schedule is None:
        raise _not_found(schedule_id)
    return schedule


def delete(turn: Turn, schedule_id: str) -> None:
    """Remove a schedule; the promises it has created stay.

    Raises:
        Refusal: 40401 when there is none of that id.
    """
    if not turn.store.delete_schedule(schedule_id):
        raise _not_found(schedule_id)


def run(turn: Turn, schedule: Schedule) -> None:
    """Create the promise of a run that is due, as of the time it was due, and move on to the next.

    A promise that exists already is left as it is, and the schedule moves on all the same.
    """
    at = schedule.next_run_time
    values = {"id": schedule.id, "timestamp": str(at)}
    promise_id = _VARIABLE.sub(lambda match: values.get(match[1], ""), schedule.promise_id)
    tags = msgspec.json.decode(schedule.promise_tags) if schedule.promise_tags else {}
    tags |= {"resonate:schedule": schedule.id, "resonate:invocation": "true"}
    promise = Promise(
        id=promise_id,
        state="PENDING",
        param=schedule.promise_param,
        value=promises.EMPTY,
        timeout=max(-(2**63) + 1, min(at + schedule.promise_timeout, 2**63 - 1)),
        tags=Raw(msgspec.json.encode(dict(sorted(tags.items())))),
    )
    if promise_id and turn.store.promise(promise_id) is None:
        promises.create(turn, promise, tags)
    try:
        following = cron.next_run(schedule.cron, at)
    except cron.CronError:  # it matched before, and never will again
        following = NEVER
    turn.store.advance_schedule(schedule.id, at, following)
    turn.due_at(following)


def _not_found(schedule_id: str) -> Refusal:
    return Refusal(errors.SCHEDULE_NOT_FOUND, f"schedule {schedule_id}: found none of that id")
