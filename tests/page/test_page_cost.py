"""What the page asks for takes the server a few milliseconds at a time, however much is stored: counted, not timed."""

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from local_server.engine import Engine
from local_server.model import DEATH
from local_server.page import call_tree, readable, views
from local_server.store.store import Store

INSERT = """INSERT INTO promises (id, state, param, value, timeout, parent, created_on)
    VALUES (?, 'PENDING', '{}', '{}', 1 << 50, ?, 1)"""
TASK = """INSERT INTO tasks (id, kind, state, counter, root, recv, timeout, ttl, created_on, claimed_on, waits_for)
    VALUES (?, 'invoke', ?, ?, ?, 'poll://any@g', 1 << 50, 1, 1, ?, ?)"""


def asked[T](store: Store, ask: Callable[[Engine], Awaitable[T]]) -> T:
    """Ask a server with this store."""

    async def run() -> T:
        store.commit()
        engine = Engine(store)
        try:
            return await ask(engine)
        finally:
            engine.close()

    return asyncio.run(run())


@pytest.fixture
def store() -> Store:
    store = Store(None)
    store.begin()
    return store


def stored(content: object, made: object) -> str:
    headers = {readable.PICKLED: json.dumps(made)}
    return json.dumps({"headers": headers, "data": b64encode(json.dumps(content).encode()).decode()})


@pytest.mark.parametrize(
    "made", [{"args": [{"py/object": "a.A", "x": 1}, *range(900)], "kwargs": {}},
             {"args": [{"py/object": "a.A", **{f"x{n}": n for n in range(9)}}, *range(900)], "kwargs": {}}],
)  # fmt: skip
def test_of_many_arguments_only_those_that_are_shown_are_written(made: dict[str, Any]) -> None:
    calls: list[str] = []
    text = stored({"func": "f", "args": [{}, *range(900)], "kwargs": {f"k{n}": {} for n in range(100)}}, made)
    sys.setprofile(lambda _, event, __: calls.append(event) if event == "call" else None)
    try:
        _, args = readable.call.__wrapped__(text)
    finally:
        sys.setprofile(None)
    assert args.startswith("A(x")
    assert len(args) == readable.SHORT
    assert len(calls) < 500


def family(store: Store, own: int, shared: int, name: str = "") -> list[tuple[str, bool]]:
    """Store a promise and what it asked for, some of which another had asked for before; return all in their order."""
    rows = [(f"{n}{name}", "other" if n % 2 and n < 2 * shared else "top") for n in range(own + shared)]
    store.db.executemany(INSERT, [("top", None), ("other", None), *rows])
    both = [(one,) for one, parent in rows if parent == "other"]
    store.db.executemany("INSERT INTO shared_children VALUES ('top', ?)", both)
    return [(one, parent == "other") for one, parent in rows]


def below(view: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(node.id, node.shared) for node in view["nodes"][1:]]


def test_all_calls_of_a_promise_are_found_a_few_in_a_turn(store: Store) -> None:
    expected = family(store, 700, 300)
    view = asked(store, lambda engine: call_tree.tree(engine, "top", 5_000))
    assert (below(view), view["more"]) == (expected, False)


def test_of_more_calls_than_are_asked_for_the_first_of_its_own_are_told(store: Store) -> None:
    expected = [one for one in family(store, 700, 300) if not one[1]]
    view = asked(store, lambda engine: call_tree.tree(engine, "top", 601))
    assert (below(view), view["more"]) == (expected[:600], True)


def test_a_tree_of_long_ids_ends_early(store: Store) -> None:
    expected = family(store, 700, 0, "-" * 16_000)
    view = asked(store, lambda engine: call_tree.tree(engine, "top", 5_000))
    found = below(view)
    assert 4_000_000 < 16_000 * len(found) < 5_000_000
    assert (found, view["more"]) == (expected[: len(found)], True)


def test_of_a_call_that_was_lost_20_000_times_the_newest_attempts_are_shown_and_all_are_counted(store: Store) -> None:
    family(store, 0, 0)
    store.db.execute(TASK, ("__invoke:top", "INIT", 20_001, "top", None, "poll://any@g"))
    store.db.execute("UPDATE tasks SET not_before = 1 << 50")
    lost = "INSERT INTO lost_claims VALUES ('__invoke:top', ?, 'g/w', ?, ?, ?)"
    reasons = "the lease ran out", f"{DEATH} (pid 7)"
    store.db.executemany(lost, ((n, 10 * n, 10 * n + 5, reasons[n % 2]) for n in range(1, 20_001)))
    view = asked(store, lambda engine: engine.ask(lambda turn: views.promise(turn, "top")))
    node = view["node"]
    assert (node.attempts, len(node.runs)) == (20_001, views.LOST)
    assert [run.start for run in node.runs] == list(range(10 * (20_001 - views.LOST), 200_001, 10))
    assert node.where.startswith("has ended 10000 workers, tried again in ")
    assert view["why"][0].text.startswith("It has ended 10000 workers; ")
    assert view["why"][1].text.startswith("This is attempt 20001. The one before was lost by g/w: the lease ran out")


def test_where_many_groups_wait_a_tenth_of_the_tasks_of_most_is_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "COUNTED", 20)
    queues = [f"poll://{cast}@g{n:02}" for cast in ("any", "uni") for n in range(15)]
    for queue in queues:
        rows = ((f"{queue} {n}", "INIT", 1, f"{queue} {n}", None, queue) for n in range(1 if "g01" in queue else 30))
        store.db.executemany(TASK, rows)
    view = asked(store, lambda engine: engine.ask(views.workers))
    told = {one["address"]: one["text"].partition(" for ")[0] for one in view["waiting"]}
    assert list(told) == queues
    whole = [one for one, text in told.items() if text == "20 or more tasks wait"]
    assert (whole, told[queues[1]]) == ([queues[0], *queues[2:11]], "1 task waits")
    assert {told[one] for one in queues[11:] if "g01" not in one} == {"2 or more tasks wait"}
