"""No turn of a search looks at more than takes some milliseconds, whatever a row costs. The clock is made up here."""

import asyncio
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import pytest

from local_server.api import pace, removing, search
from local_server.api.search import Query
from local_server.engine import Engine
from local_server.page import call_tree, routes, views
from local_server.page.queries import Queries
from local_server.store.removals import Removals
from local_server.store.searches import Searches
from local_server.store.store import Store

ROWS = 3_000
INSERT = """INSERT INTO promises (id, state, param, value, timeout, tags, parent, created_on)
    VALUES (?, 'RESOLVED', '{}', '{}', 1 << 50, ?, ?, 1)"""
type Act = Callable[[Engine], Awaitable[Any]]


def searched(query: str) -> Act:
    return lambda engine: search.search(engine, Query.parse("promises", query))


def tree(engine: Engine) -> Awaitable[Any]:
    return call_tree.tree(engine, "top", 2 * ROWS)


# What looks, by which function, which of the arguments of that tells at how many (None: the rows that it returns), and
# how many are usual.
LOOKS: dict[str, tuple[Act, Any, str, int | None, int]] = {
    "search": (searched("id=*none*"), Searches, "promises", 3, 750),
    "search by tags": (searched("id=*&tags[n]=2"), Searches, "promises", 3, 100),
    "search by the index": (searched("id=old*none"), Searches, "ids", 4, 750),
    "roots": (lambda engine: routes.roots(engine, {"q": "none"}), Queries, "roots", 4, 750),
    "count": (lambda engine: routes.count(engine, {"q": "old"}), Queries, "count", 4, 1_000),
    "removable": (lambda engine: removing.removable(engine, "*none"), Removals, "ids", 3, 750),
    "calls of a tree": (tree, Queries, "calls", None, 250),
    "details of a tree": (tree, views, "histories", 1, 250),
}


def done(act: Act) -> Any:
    """Do something with one promise that has many below it, and as many roots; return its answer, but for the time."""

    async def run() -> Any:
        store = Store(None)
        store.begin()
        rows = [("top", None, None), *((f"top.{n}", None, "top") for n in range(ROWS))]
        store.db.executemany(INSERT, rows + [(f"old-{n:04}", '{"n":"1"}', None) for n in range(ROWS)])
        store.commit()
        engine = Engine(store)
        try:
            return {**await act(engine), "now": 0}
        finally:
            engine.close()

    return asyncio.run(run())


def looks(what: str, ms: float, expected: Any) -> list[int]:
    """Return at how many each turn looks where each of them takes so long; what is found has to be as it was."""
    act, owner, name, place, _ = LOOKS[what]
    look, found = getattr(owner, name), list[int]()

    class Clock:
        """Stands still but for what is looked at."""

        @staticmethod
        def perf_counter() -> float:
            return sum(found) * ms / 1_000

    def counted(*args: Any) -> Any:
        rows = look(*args)
        among = rows if place is None else args[place]
        found.append(among if isinstance(among, int) else len(among))
        return rows

    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(pace, "time", Clock)
        changed.setattr(owner, name, counted)
        assert done(act) == expected
    return found


@pytest.mark.parametrize("what", LOOKS)
def test_a_turn_looks_at_few_where_these_are_dear_and_finds_the_same(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "NEWEST", 1)
    act, *_, usual = LOOKS[what]
    expected = done(act)
    cheap, dear = looks(what, 0, expected), looks(what, 1, expected)
    assert max(cheap[0], dear[0]) <= usual // 10
    assert max(cheap) == usual
    assert median(dear) <= 5
    assert max(dear[1:]) <= 20  # behind one that was cut short


@pytest.mark.parametrize(
    ("pattern", "most"),
    [("*", 1_000), ("*" + "a" * 250, 12), ("a" * 9_700 + "*" + "b" * 250, 12), ("a" * 9_999 + "*", 1_000)],
)
def test_of_a_pattern_that_takes_long_a_turn_compares_few_from_the_first_on(pattern: str, most: int) -> None:
    async def sizes() -> list[int]:
        engine, found = Engine(Store(None)), pace.Pace(1_000, pattern)
        seen = [found.size]
        for _ in range(5):
            await found.ask(engine, lambda _: None)
            seen.append(found.size)
        engine.close()
        return seen

    seen = asyncio.run(sizes())
    assert (seen[0], seen[-1]) == (most // 10, most)
