"""A search finds by an index what it finds by reading everything, whatever is stored."""

import asyncio
from collections.abc import Callable
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from postgres_stage import Cluster
from rules_stage import START, opened

from local_server.api import search
from local_server.api.search import Query
from local_server.engine import Engine
from local_server.model import Promise, PromiseState
from local_server.store import searches
from local_server.store.rows import as_promise
from local_server.store.searches import Searches
from local_server.store.store import Store

ID = st.text("aA_\\ä", min_size=1, max_size=3)
STATES: list[PromiseState] = ["PENDING", "RESOLVED", "REJECTED_CANCELED"]
STATE = st.sampled_from(STATES)


async def pages(store: Store, promises: list[tuple[str, PromiseState]], query: Query) -> list[list[str]]:
    """Store promises, and return the ids of each page of a search."""
    engine = Engine(store)
    for at, (promise_id, state) in enumerate(promises):
        record = Promise(promise_id, state, Raw(b"{}"), Raw(b"{}"), 10**14, None, None, None, START + at, None)
        engine.store.insert_promise(record, None)
    found = []
    while True:
        page = await search.search(engine, query)
        found.append([promise.id for promise in page["promises"]])
        if page["cursor"] is None:
            engine.close()
            return found
        query = Query.parse("promises", f"cursor={page['cursor']}")


@given(
    promises=st.lists(st.tuples(ID, STATE), unique_by=lambda one: one[0], min_size=10, max_size=40),
    pattern=ID | ID.map(lambda text: f"{text[:1]}*{text[1:]}"),
    states=st.sampled_from([(), ("PENDING",), ("RESOLVED", "REJECTED_CANCELED")]),
    limit=st.integers(1, 4),
)
def test_an_index_finds_what_a_walk_finds(
    promises: list[tuple[str, PromiseState]], pattern: str, states: tuple[PromiseState, ...], limit: int
) -> None:
    assert_both_find(lambda: Store(None), promises, Query("promises", pattern, states, {}, limit))


@pytest.mark.parametrize("query", [Query("promises", "a*", ("PENDING",), {}, 2), Query("promises", "\\a*", (), {}, 3)])
def test_both_engines_find_the_same(query: Query, postgres: Cluster) -> None:
    texts = ["".join(letters) for size in (1, 2, 3) for letters in product("aA_\\ä", repeat=size)]
    promises = [(text, STATES[at % 3]) for at, text in enumerate(texts)]
    found = assert_both_find(lambda: opened(postgres.create()), promises, query)
    assert len(found) > 3
    assert found == assert_both_find(lambda: Store(None), promises, query)


@pytest.mark.parametrize("engine", ["SQLite", "PostgreSQL"])
@pytest.mark.parametrize(
    "query", [Query("promises", "*"), Query("promises", "*", ("PENDING",)), Query("promises", "a*")]
)
def test_a_page_of_large_promises_ends_early_and_leads_to_the_next(
    query: Query, engine: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(None) if engine == "SQLite" else opened(request.getfixturevalue("postgres").create())
    promises: list[tuple[str, PromiseState]] = [(f"a{n:02}{'-' * 10_000}", "PENDING") for n in range(50)]
    read: list[object] = []
    for name, value in {"LARGE": 30_000, "SLICE": 40, "NEWEST": 1}.items():  # both the walk and the index find some
        monkeypatch.setattr(search, name, value)
    monkeypatch.setattr(searches, "as_promise", lambda row: read.append(row) or as_promise(row))
    found = asyncio.run(pages(store, promises, query))
    assert [len(page) for page in found] == [3] * 16 + [2]
    assert [one for page in found for one in page] == [one for one, _ in reversed(promises)]
    assert len(read) == len(promises)  # none that no page had room for


def test_however_many_tags_are_wanted_those_of_a_promise_are_read_once() -> None:
    store = Store(None)
    tags = msgspec.json.encode({f"key-{n}": "x" for n in range(1_000)})
    promise = Promise("a", "PENDING", Raw(b"{}"), Raw(b"{}"), 10**14, None, None, Raw(tags), START, None)
    store.begin()
    store.insert_promise(promise, None)

    def steps(wanted: int) -> int:
        """Return how much SQLite does to look for so many tags, in hundreds of its steps."""
        count: list[None] = []
        store.db.set_progress_handler(lambda: count.append(None), 100)
        query = Query("promises", "*", (), {f"key-{n}": "x" for n in range(984, 984 + wanted)})
        assert [found.id for _, found in Searches(store.db).promises(query.wanted, 2, 2, 2)] == ["a"]
        store.db.set_progress_handler(None, 100)
        return len(count)

    assert steps(16) < 2 * steps(1)
    store.close()


def assert_both_find(
    new: Callable[[], Store], promises: list[tuple[str, PromiseState]], query: Query
) -> list[list[str]]:
    """Search by reading everything, and by the indexes; return what both find."""
    walked = asyncio.run(pages(new(), promises, query))
    with pytest.MonkeyPatch.context() as changed:
        for name, value in {"SLICE": 3, "NEWEST": 1, "IDS": 2, "FEW": 20}.items():
            changed.setattr(search, name, value)
        assert asyncio.run(pages(new(), promises, query)) == walked
    return walked
