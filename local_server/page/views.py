"""What people see: promises as a tree with who ran what and when, one promise in full, workers and what waits for them.

Times are ms since the epoch.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import Any

from msgspec import Struct

from local_server import errors
from local_server.errors import Refusal
from local_server.page import readable, reasons
from local_server.page.queries import Queries
from local_server.page.reasons import TaskHistory, connected
from local_server.rules.addresses import UNREACHABLE, parse
from local_server.rules.turn import Turn
from local_server.rules.workers import NAMED, Workers
from local_server.store.database import Row

LISTED = 50  # callbacks, tasks, parents of one promise; queues of waiting tasks
LOST = 100  # claims of one task
WORKERS = 200
COUNTED = 1_000  # tasks counted in a queue
LATELY = 60_000  # ms for which a worker that has gone is shown


class Run(Struct, omit_defaults=True):
    """A claim: a worker held a task of the promise."""

    worker: str
    start: int
    end: int | None = None  # None: it holds it now
    lost: str = ""  # why the claim was lost; the work was done again by the next


class Node(Struct, omit_defaults=True):
    """A promise in a list or tree."""

    id: str
    state: str
    kind: str  # call, local (a call within its parent's worker), sleep, or promise (nothing runs for it)
    created: int
    func: str = ""
    args: str = ""
    completed: int | None = None
    timeout: int | None = None
    result: str = ""
    error: str = ""  # what it was rejected with, in place of a result
    where: str = ""  # who runs it or has run it, or what it waits for
    level: int = 0
    shared: bool = False  # another promise is its first parent
    again: bool = False  # stands further up in the tree too; its children are shown there
    attempts: int = 0  # claims that were lost, and the one that was not
    runs: list[Run] = []


def no_root(turn: Turn, promise_id: str) -> Node | None:
    """Show the promise of that id, unless it is a root."""
    row = Queries(turn.store.db).promise(promise_id)
    return listed(row) if row and row["parent"] is not None else None


def promise(turn: Turn, promise_id: str) -> dict[str, Any]:
    """Return everything about one promise.

    Raises:
        Refusal: 40400 when there is no promise of that id.
    """
    queries = Queries(turn.store.db)
    row = queries.promise(promise_id)
    if row is None:
        raise Refusal(errors.PROMISE_NOT_FOUND, f"promise {promise_id}: found none of that id")
    history = histories(queries, [promise_id], LISTED)[promise_id]
    tasks = [one.task for one in history] + queries.notifications(promise_id, LISTED)
    unfinished = queries.unfinished(promise_id, reasons.LOOKED_AT, reasons.NAMED + 1)
    node = listed(row)
    detail(turn, node, history, waits_for_calls=bool(unfinished))
    kind, message = readable.failure(row["value"]) if readable.failed(row["state"]) else ("", "")
    return {
        "now": turn.now,
        "node": node,
        "why": _why_it_waits(turn, row, history, unfinished) if row["state"] == "PENDING" else [],
        "by_hand": reasons.by_hand(row, history),
        "error": {"type": kind, "message": message},
        "param": readable.value(row["param"], row["param_size"]),
        "value": readable.value(row["value"], row["value_size"]),
        "tags": readable.tags(row["tags"]),
        "keys": {"create": row["idempotency_key_for_create"], "complete": row["idempotency_key_for_complete"]},
        "parents": ([row["parent"]] if row["parent"] else []) + queries.sharers(promise_id, LISTED),
        "callbacks": [
            {"kind": one["kind"], "root": one["root"], "recv": one["recv"], "created": one["created_on"]}
            for one in queries.callbacks(promise_id, LISTED)
        ],
        "tasks": [
            {
                "id": one["id"], "state": one["state"], "counter": one["counter"], "recv": one["recv"],
                "worker": one["recipient"], "created": one["created_on"], "claimed": one["claimed_on"],
                "completed": one["completed_on"],
            }
            for one in tasks
        ],
    }  # fmt: skip


def _why_it_waits(turn: Turn, row: Row, history: list[TaskHistory], unfinished: list[Row]) -> list[reasons.Reason]:
    """Say why a promise waits; of a local call, its outermost function tells on which worker it is."""
    outer_id = readable.tags(row["tags"]).get("resonate:root", "")
    queries = Queries(turn.store.db)
    if readable.kind(row["tags"]) != "local" or outer_id == row["id"]:
        return reasons.why(turn.workers, row, history, unfinished, None, [])
    outer_history = histories(queries, [outer_id], LISTED)[outer_id]
    return reasons.why(turn.workers, row, history, unfinished, queries.promise(outer_id), outer_history)


def workers(turn: Turn) -> dict[str, Any]:
    """Return the groups with their workers and what each holds, who has gone lately, and what waits for a worker.

    Returns:
        {"now", "groups": [{"name", "workers": [{"name", "connected", "pid", "holds", "tasks": [..]}, ..]}, ..],
        "more": how many workers are not listed, "gone": [..], "waiting": [{"address", "tasks", "since", "text"}, ..],
        "servers": [{"name", "serves"}, ..] of the same database, where it may have several}.
    """
    queries, everybody = Queries(turn.store.db), sorted(turn.workers, key=lambda one: (one.group, one.id))
    listed = everybody[:WORKERS]
    here = {worker.name for worker in everybody if worker.stream}
    gone = [one for one in reversed(turn.workers.gone) if turn.now - one.at < LATELY and one.name not in here]
    held = {worker.name: sorted(worker.claimed)[:NAMED] for worker in listed}
    tasks = queries.tasks(chain(*held.values(), *(one.held for one in gone)))
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for worker in listed:
        groups[worker.group].append(
            {
                "name": worker.id, "connected": worker.stream is not None, "holds": len(worker.claimed),
                "sent": len(worker.unclaimed), "pid": worker.os_process and worker.os_process.pid,
                "tasks": [
                    {"promise": tasks[one]["root"], "since": tasks[one]["claimed_on"]}
                    for one in held[worker.name] if one in tasks
                ],
            }
        )  # fmt: skip
    return {
        "now": turn.now,
        "groups": [{"name": name, "workers": members} for name, members in groups.items()],
        "more": len(everybody) - len(listed),
        "gone": [
            {
                "name": one.name, "pid": one.pid, "at": one.at, "holds": one.holds,
                "promises": [tasks[task]["root"] for task in one.held if task in tasks],
            }
            for one in gone
        ],
        "waiting": _waiting(turn, queries),
        "servers": [{"name": name, "serves": serves} for name, serves in turn.store.db.servers()],
    }  # fmt: skip


def _waiting(turn: Turn, queries: Queries) -> list[dict[str, Any]]:
    """Return what waits for a worker, and what is held back."""
    queues = [
        {
            "address": address,
            "tasks": count,
            "since": since,
            "text": _waiting_text(turn.workers, address, count, more=more),
        }
        for address, count, since, more in queries.waiting(LISTED, COUNTED)
    ]
    return queues + [
        {"address": one["root"], "tasks": 1, "since": one["created_on"], "text": _deadly_text(turn, one)}
        for one in queries.deadly(LISTED, COUNTED)
    ]


def _deadly_text(turn: Turn, task: Row) -> str:
    """Say what is held back since it has ended its workers."""
    return (
        f"{task['root']} has ended {task['deaths']} workers, the last one {task['recipient']}: tried again in "
        f"{_seconds_until(turn, task['not_before'])} s; to give it up: local-server cancel {task['root']}"
    )


def _waiting_text(workers: Workers, queue: str, count: int, *, more: bool) -> str:
    """Say what waits, and why."""
    what, verb = (f"{count}{' or more' if more else ''} tasks", "wait") if more or count != 1 else ("1 task", "waits")
    if queue == UNREACHABLE:
        return f"{what} {verb} for an address that reaches nobody"
    why = "every worker there is busy" if connected(workers, queue) else "no worker connected"
    return f"{what} {verb} for {queue}: {why}"


def _seconds_until(turn: Turn, at: int) -> int:
    return max(0, at - turn.now + 999) // 1_000


def _why(workers: Workers, queue: str) -> str:
    """Say in few words why a task waits in a queue."""
    address = parse(queue)
    if address is None:
        return "its address reaches nobody"
    here = connected(workers, queue)
    if address.cast == "any":
        return f"{address.group} is busy" if here else f"nobody in {address.group}"
    return f"{readable.short(f'{address.group}/{address.member}')} is {'busy' if here else 'away'}"


def listed(row: Row) -> Node:
    """Show a promise as it stands in a list."""
    func, args = readable.call(row["param"])
    kind, (result, error) = readable.kind(row["tags"]), readable.outcome(row["state"], row["value"])
    return Node(
        row["id"], row["state"], kind, row["created_on"], func, args, row["completed_on"], row["timeout"], result, error
    )


def histories(queries: Queries, promises: Iterable[str], limit: int) -> dict[str, list[TaskHistory]]:
    """Return the tasks that run the function of each promise, the oldest first."""
    tasks = queries.tasks_of(promises, limit)
    retried = [(task["id"], task["counter"]) for task in tasks if task["counter"] > 1]
    lost: dict[str, list[Row]] = defaultdict(list)
    losses: dict[str, tuple[int, int]] = {}
    if retried:
        losses = queries.losses(one for one, _ in retried)
        for claim in queries.lost((one, counter - LOST) for one, counter in retried):
            lost[claim["task"]].append(claim)
    found: dict[str, list[TaskHistory]] = defaultdict(list)
    for task in tasks:
        found[task["root"]].append(TaskHistory(task, lost[task["id"]], *losses.get(task["id"], (0, 0))))
    return found


def detail(turn: Turn, node: Node, history: list[TaskHistory], *, waits_for_calls: bool) -> None:
    """Show the runs of a promise, the newest of many, and where it is."""
    for task, lost, _, _ in history:
        for claim in lost:
            if claim["claimed_on"] is not None:
                node.runs.append(Run(claim["recipient"] or "?", claim["claimed_on"], claim["lost_on"], claim["reason"]))
        held = task["state"] in ("CLAIMED", "COMPLETED", "TIMEDOUT") and task["claimed_on"] is not None
        if held and all(claim["claimed_on"] != task["claimed_on"] for claim in lost):
            holder = task["recipient"] or task["process"] or "?"
            node.runs.append(Run(holder, task["claimed_on"], task["completed_on"]))
    node.runs.sort(key=lambda run: run.start)
    lost_claims = sum(one.claims for one in history)
    node.attempts = lost_claims + 1 if lost_claims else min(len(node.runs), 1)
    if node.state != "PENDING":
        node.where = readable.short(node.runs[-1].worker) if node.runs else ""
    else:
        node.where = _where(turn, node.kind, reasons.live(history), waits_for_calls=waits_for_calls)


def _where(turn: Turn, kind: str, live: list[TaskHistory], *, waits_for_calls: bool) -> str:
    """Say where a pending promise is."""
    for task, _, _, deaths in live:
        worker, queue = readable.short(task["recipient"] or task["process"] or "?"), task["waits_for"]
        if task["state"] != "INIT":
            return f"{'on' if task['state'] == 'CLAIMED' else 'sent to'} {worker}"
        if task["not_before"] is not None and deaths:
            return f"has ended {deaths} workers, tried again in {_seconds_until(turn, task['not_before'])} s"
        if task["not_before"] is not None:
            return "waits for its start time"
        if queue is not None:
            return f"waits: {_why(turn.workers, queue)}"
    if waits_for_calls:
        return "waits for its calls"
    return {"sleep": "sleeps", "local": "runs within its parent", "promise": "waits for somebody"}.get(kind, "waits")
