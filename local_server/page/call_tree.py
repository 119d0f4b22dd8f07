"""The call tree of a promise, put together in parts: other requests are served between them."""

from collections import defaultdict, deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from local_server import errors
from local_server.api.pace import Pace
from local_server.api.search import LARGE
from local_server.engine import Engine
from local_server.errors import Refusal
from local_server.page import views
from local_server.page.queries import Queries
from local_server.rules.turn import Turn

NODES = 2_000  # promises of a tree that are shown unless more are asked for
MOST_NODES = 10_000
SLICE = 250  # promises looked at in one turn
TASKS = 1_000  # likewise


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


class _Looking(NamedTuple):
    """A promise whose calls are looked for, behind a sort, and those that others had created before, behind an id."""

    id: str
    sort: int = 0
    child: str = ""


type _Found = tuple[list[tuple[_Call, views.Node]], _Looking | None]  # calls, and where to look for more of them


async def tree(engine: Engine, promise_id: str, limit: int) -> dict[str, Any]:
    """Return the call graph below a promise, as a tree in the order in which it is read from top to bottom.

    Returns:
        {"now": ms, "more": whether there are more than ``limit`` promises, or than fit into some megabytes, "parent":
        the promise whose function asked for this one first or None, "nodes": [Node, ...]}.

    Raises:
        Refusal: 40400 when there is no promise of that id.
    """
    root = await engine.ask(lambda turn: Queries(turn.store.db).promise(promise_id))
    if root is None:
        raise Refusal(errors.PROMISE_NOT_FOUND, f"promise {promise_id}: found none of that id")
    listed, calls, more = await _reached(engine, views.listed(root), limit)
    pending = {node.id for node in listed.values() if node.state == "PENDING"}
    busy = {parent for parent, below in calls.items() if any(call.id in pending for call in below)}

    def details(places: list[_Place], turn: Turn) -> list[views.Node]:
        histories = views.histories(Queries(turn.store.db), [place.id for place in places], TASKS)
        nodes = []
        for level, one, shared, again in places:
            node = replace(listed[one], level=level, shared=shared, again=again, runs=[])
            views.detail(turn, node, histories.get(one, []), waits_for_calls=one in busy)
            nodes.append(node)
        return nodes

    nodes, order, pace, size = list[views.Node](), _in_order(promise_id, calls), Pace(SLICE), 0
    while size < LARGE and (places := list(islice(order, pace.size))):
        nodes += (found := await pace.ask(engine, partial(details, places)))
        size += len(msgspec.json.encode(found))
    more = more or next(order, None) is not None
    return {"now": engine.clock.wall(), "more": more, "parent": root["parent"], "nodes": nodes}


async def _reached(
    engine: Engine, root: views.Node, limit: int
) -> tuple[dict[str, views.Node], dict[str, list[_Call]], bool]:
    """Return what can be reached from a promise, the nearest first, the calls of each, and whether there is more."""
    listed, calls, pace = {root.id: root}, defaultdict[str, list[_Call]](list), Pace(SLICE)
    new = deque([_Looking(root.id)])
    while new:
        for found, on in await pace.ask(engine, partial(_calls, list(islice(new, pace.size)), pace.size)):
            parent = new.popleft().id
            for call, node in found:
                if node.id not in listed:
                    if len(listed) == limit:
                        return listed, calls, True
                    listed[node.id] = node
                    new.append(_Looking(node.id))
                calls[parent].append(call)
            if on:
                new.appendleft(on)
    return listed, calls, False


def _calls(parents: list[_Looking], size: int, turn: Turn) -> list[_Found]:
    """Return the calls of the first of these promises, at most ``size`` in all."""
    found, queries = list[_Found](), Queries(turn.store.db)
    for parent in parents:
        rows = queries.calls(*parent, size)
        calls = [(_Call(row["sort"], row["id"], bool(row["shared"])), views.listed(row)) for row in rows]
        size -= len(rows)
        if not size:
            sort = max((call.sort for call, _ in calls if not call.shared), default=parent.sort)
            child = max((call.id for call, _ in calls if call.shared), default=parent.child)
            found.append((calls, _Looking(parent.id, sort, child)))
            break
        found.append((calls, None))
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
