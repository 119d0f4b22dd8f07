"""A search finds by an index what it finds by reading everything, whatever is stored."""

import asyncio
from collections.abc import Callable
from itertools import product

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
