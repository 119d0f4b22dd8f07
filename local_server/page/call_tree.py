"""The call tree of a promise, put together in parts: other requests are served between them."""

from collections import defaultdict, deque
from collections.abc import Iterator
from functools import partial
from itertools import batched, islice
from typing import Any, NamedTuple

from local_server import errors
from local_server.engine import Engine
from local_server.errors import Refusal
from local_server.page import views
from local_server.page.queries import Queries
from local_server.rules.turn import Turn
from local_server.store.database import Row

NODES = 2_000  # promises of a tree that are shown unless more are asked for
MOST_NODES = 10_000
SLICE = 250  # promises looked at in one turn
HISTORY = 4  # tasks of each promise, on average


class _Call(NamedTuple):
    """A promise below one that asked for it."""

    sort: int
    id: str
    shared: bool


class _Place(NamedTuple):
    """Where a promise stands in the tree."""

    level: int
    id: str
    shared: bool
    again: bool


async def tree(engine: Engine, promise_id: str, limit: int) -> dict[str, Any]:
    """Return the call graph below a promise, as a tree in the order in which it is read from top to bottom.

    Returns:
        {"now": ms, "more": whether there are more than ``limit`` promises, "parent": the promise whose function asked
        for this one first or None, "nodes": [Node, ...]}.

    Raises:
        Refusal: 40400 when there is no promise of that id.
    """
    rows, calls, more = await _reached(engine, promise_id, limit)
    pending = {row["id"] for row in rows.values() if row["state"] == "PENDING"}
    busy = {parent for parent, below in calls.items() if any(call.id in pending for call in below)}

    def details(places: tuple[_Place, ...], turn: Turn) -> list[views.Node]:
        histories = views.histories(Queries(turn.store.db), [place.id for place in places], HISTORY * SLICE)
        nodes = []
        for level, one, shared, again in places:
            node = views.detailed(turn, rows[one], histories.get(one, []), waits_for_calls=one in busy)
            node.level, node.shared, node.again = level, shared, again
            nodes.append(node)
        return nodes

    nodes: list[views.Node] = []
    for places in batched(_in_order(promise_id, calls), SLICE):
        nodes += await engine.ask(partial(details, places))
    return {"now": engine.clock.wall(), "more": more, "parent": rows[promise_id]["parent"], "nodes": nodes}


async def _reached(engine: Engine, root: str, limit: int) -> tuple[dict[str, Row], dict[str, list[_Call]], bool]:
    """Return what can be reached from a promise, the nearest first, the calls of each, and whether there is more."""
    row = await engine.ask(lambda turn: Queries(turn.store.db).promise(root))
    if row is None:
        raise Refusal(errors.PROMISE_NOT_FOUND, f"promise {root}: found none of that id")
    rows, calls, new = {root: row}, defaultdict[str, list[_Call]](list), deque([root])
    while new:
        for parent, found in await engine.ask(partial(_calls, list(islice(new, SLICE)), limit)):
            new.popleft()
            for row in found:
                if row["id"] not in rows:
                    if len(rows) == limit:
                        return rows, calls, True
                    rows[row["id"]] = row
                    new.append(row["id"])
                calls[parent].append(_Call(row["sort"], row["id"], bool(row["shared"])))
    return rows, calls, False


def _calls(parents: list[str], limit: int, turn: Turn) -> list[tuple[str, list[Row]]]:
    """Return the calls of the first of these promises, of as many as are enough for one turn."""
    found: list[tuple[str, list[Row]]] = []
    queries, count = Queries(turn.store.db), 0
    for parent in parents:
        found.append((parent, queries.calls(parent, limit)))
        count += len(found[-1][1])
        if count >= SLICE:
            break
    return found


def _in_order(root: str, calls: dict[str, list[_Call]]) -> Iterator[_Place]:
    """Yield the places of a tree from top to bottom; below a promise that stands further up too, nothing."""
    seen: set[str] = set()
    stack = [_Place(0, root, shared=False, again=False)]
    count = 0
    while stack and count < MOST_NODES:
        place = stack.pop()
        again = place.id in seen
        yield place._replace(again=again)
        count += 1
        if not again:
            seen.add(place.id)
            below = sorted(calls[place.id], reverse=True)
            stack.extend(_Place(place.level + 1, call.id, call.shared, again=False) for call in below)
