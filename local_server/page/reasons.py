"""Why a pending promise waits, in sentences: for whom, until when, which attempt it is, what the server cannot know."""

from typing import NamedTuple

from msgspec import Struct

from local_server.page import readable
from local_server.rules.addresses import parse
from local_server.rules.workers import Workers
from local_server.store.database import Row

NAMED = 5  # promises that one waits for
LOOKED_AT = 500  # calls of a promise, of which the pending ones are named
HIDDEN_RETRIES = (
    "If a plain function fails there, its worker calls it again by itself, by default after 2, 4, 8 ... 30 s. This "
    "server hears of an error only when the worker gives up; until then only the output of that worker tells it."
)


class TaskHistory(NamedTuple):
    """A task, and the claims of it that were lost."""

    task: Row
    lost: list[Row]  # the newest of them, the oldest first
    claims: int  # how many there are in all, and how many of them by the end of a worker
    deaths: int


class Reason(Struct, omit_defaults=True):
    """A sentence; what it is about follows it."""

    text: str
    promises: list[str] = []
    more: bool = False  # whether there are further promises
    at: int | None = None  # ms since the epoch


def live(history: list[TaskHistory]) -> list[TaskHistory]:
    """Return the tasks of a promise that are not finished."""
    return [one for one in history if one.task["state"] in ("INIT", "ENQUEUED", "CLAIMED")]


def why(
    workers: Workers,
    row: Row,
    history: list[TaskHistory],
    calls: list[Row],
    outer: Row | None,
    outer_history: list[TaskHistory],
) -> list[Reason]:
    """Say why a pending promise waits.

    Args:
        workers: all of them.
        row: the promise.
        history: its tasks.
        calls: some of its calls that are not finished.
        outer: of a call within its parent's worker, the promise whose task is held there.
        outer_history: the tasks of that one.
    """
    kind, open_tasks = readable.kind(row["tags"]), live(history)
    found = _tasks(workers, open_tasks)
    if calls:
        awaited = [one["id"] for one in calls if one["awaited"]]
        named = awaited or [one["id"] for one in calls]
        text = "It waits for the end of" if awaited else "Calls of it that are not finished:"
        found.append(Reason(text, named[:NAMED], more=len(named) > NAMED))
    elif any(one.task["state"] == "CLAIMED" for one in open_tasks):
        found.append(Reason(HIDDEN_RETRIES))
    elif kind == "sleep":
        found.append(Reason("It sleeps until", at=row["timeout"]))
    elif kind == "local":
        found += _within(workers, outer, outer_history)
    elif by_hand(row, history):
        found.append(Reason("No function runs for it: it waits until somebody resolves it."))
    elif not open_tasks:
        found.append(Reason("Its function has stopped to wait; this server was not told for what."))
    return found


def by_hand(row: Row, history: list[TaskHistory]) -> bool:
    """Tell whether a promise ends only when somebody completes it."""
    kind = readable.kind(row["tags"])
    return row["state"] == "PENDING" and (kind == "promise" or (kind == "call" and not history))


def _tasks(workers: Workers, open_tasks: list[TaskHistory]) -> list[Reason]:
    """Say where the tasks of a promise are; only the first of them can be with a worker."""
    if not open_tasks:
        return []
    task, lost, _, deaths = open_tasks[0]
    worker = readable.short(task["recipient"] or task["process"] or "?")
    found = [_task(workers, task, worker, deaths)]
    if lost:
        last = lost[-1]
        who = readable.short(last["recipient"] or "?")
        text = f"This is attempt {task['counter']}. The one before was lost by {who}: {last['reason']}, at"
        found.append(Reason(text, at=last["lost_on"]))
    return found


def _task(workers: Workers, task: Row, worker: str, deaths: int) -> Reason:
    if task["state"] == "CLAIMED":
        return Reason(f"{worker} runs it since", at=task["claimed_on"])
    if task["state"] == "ENQUEUED":
        return Reason(f"It was sent to {worker}, which has not taken it yet.")
    if task["not_before"] is not None and deaths:
        return Reason(
            f"It has ended {deaths} workers; perhaps none knows its function. It is tried again at",
            at=task["not_before"],
        )
    if task["not_before"] is not None:
        return Reason("It was created to start later, at", at=task["not_before"])
    return Reason(_queue(workers, task))


def _queue(workers: Workers, task: Row) -> str:
    if task["waits_for"] is None:
        return "It is about to be sent to a worker."
    address, here = parse(task["waits_for"]), connected(workers, task["waits_for"])
    if address is None:
        return f"It waits for a worker, but its address, {task['recv']}, reaches nobody."
    if address.cast == "uni":
        who = readable.short(f"{address.group}/{address.member}")
        return f"It waits for {who}, which is {'busy' if here else 'not connected'}; no other may take it."
    busy = "all who are connected there are busy" if here else "nobody is connected there"
    return f"It waits for a worker of group {address.group}: {busy}."


def connected(workers: Workers, name: str) -> bool:
    """Tell whether somebody serves a queue."""
    address = parse(name)
    return address is not None and any(
        one.stream is not None and (address.cast == "any" or one.id == address.member)
        for one in workers.members(address.group)
    )


def _within(workers: Workers, outer: Row | None, history: list[TaskHistory]) -> list[Reason]:
    """Say of a call within its parent's worker where that is."""
    if outer is None:
        return [Reason("It runs within the worker of its parent, which is not stored.")]
    if outer["state"] != "PENDING":
        return [Reason("It was left behind: it ran within", [outer["id"]]), Reason("which is completed.")]
    open_tasks = live(history)
    found = [Reason("It runs within the worker that runs", [outer["id"]]), *_tasks(workers, open_tasks)]
    if any(one.task["state"] == "CLAIMED" for one in open_tasks):
        found.append(Reason(HIDDEN_RETRIES))
    return found
