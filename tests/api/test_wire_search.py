"""Searching promises over the wire: patterns, states, tags, pages; and the parameters that are refused."""

from urllib.parse import quote

import pytest
from wire_client import Wire, code, until

from local_server.api.search import Query


def found(wire: Wire, query: str) -> list[str]:
    """Search among the test's own promises; return the names without the test's tag."""
    page = wire.get(f"/promises?{query}")
    assert page.status_code == 200, page.text
    return [promise["id"].removesuffix(f"-{wire.tag}") for promise in page.json()["promises"]]


def test_a_search_is_answered_as_in_the_protocol(wire: Wire) -> None:
    created = wire.create(wire.id("e1"))
    page = wire.get(f"/promises?id=*{wire.tag}&limit=1")
    assert page.status_code == 200
    assert list(page.json()) == ["cursor", "promises"]
    assert isinstance(page.json()["cursor"], str)
    assert page.json()["promises"] == [created]
    assert wire.get(f"/promises?id=*{wire.tag}").json() == {"cursor": None, "promises": [created]}


def test_a_star_stands_for_any_characters_and_nothing_else_does(wire: Wire) -> None:
    for name in ("Abc", "a_c", "a%c", "ac", "ä"):
        wire.create(wire.id(name))
    here = f"-{wire.tag}"
    assert found(wire, f"id=*{here}") == ["ä", "ac", "a%c", "a_c", "Abc"]
    assert found(wire, f"id=a*c{here}") == ["ac", "a%c", "a_c", "Abc"]
    assert found(wire, f"id=ABC{here}") == ["Abc"]
    assert found(wire, f"id=a_c{here}") == ["a_c"]
    assert found(wire, f"id=a%25c{here}") == ["a%c"]
    assert found(wire, f"id={quote('ä')}{here}") == ["ä"]
    assert found(wire, f"id={quote('Ä')}{here}") == []
    assert found(wire, f"id=b*{here}") == []
    assert found(wire, f"id=a{here}") == []


def test_a_search_by_state_counts_every_rejection_as_one(wire: Wire) -> None:
    for name, state in [("p", ""), ("r", "RESOLVED"), ("x", "REJECTED"), ("c", "REJECTED_CANCELED")]:
        wire.create(wire.id(name))
        if state:
            wire.complete(wire.id(name), state)
    wire.create(wire.id("t"), timeout=0)
    until(lambda: found(wire, f"id=t-{wire.tag}&state=rejected"))
    for state, names in [("pending", ["p"]), ("Resolved", ["r"]), ("REJECTED", ["t", "c", "x"])]:
        assert found(wire, f"id=*-{wire.tag}&state={state}") == names


def test_a_search_by_tags_wants_all_of_them(wire: Wire) -> None:
    wire.create(wire.id("one"), {"k": "v", "resonate:invoke": "x://y", "a.b": "1"})
    wire.create(wire.id("two"), {"k": "v", "other": "w w"})
    mine = f"id=*-{wire.tag}"
    assert found(wire, f"{mine}&tags[k]=v") == ["two", "one"]
    assert found(wire, f"{mine}&tags[k]=v&tags[resonate:invoke]=x://y") == ["one"]
    assert found(wire, f"{mine}&tags%5Bother%5D=w+w&tags[k]=v") == ["two"]
    assert found(wire, f'{mine}&tags["a.b"]=1') == ["one"]
    assert found(wire, f"{mine}&tags[k]=v&tags[k]=w") == ["two", "one"]
    assert found(wire, f"{mine}&tags[k]=w") == found(wire, f"{mine}&tags[none]=v") == []
    assert found(wire, f"{mine}&tags=%7B%22k%22:%22w%22%7D") == ["two", "one"]


def test_a_cursor_leads_through_all_pages(wire: Wire) -> None:
    for number in range(5):
        wire.create(wire.id(f"n{number}"), {"odd": str(number % 2)})
    first = wire.get(f"/promises?id=*-{wire.tag}&tags[odd]=0&limit=2").json()
    assert [promise["id"] for promise in first["promises"]] == [wire.id("n4"), wire.id("n2")]
    wire.create(wire.id("n6"), {"odd": "0"})
    second = wire.get(f"/promises?cursor={first['cursor']}&id=nonsense&limit=7").json()
    assert [promise["id"] for promise in second["promises"]] == [wire.id("n0")]
    assert second["cursor"] is None


def test_the_page_behind_the_last_full_one_is_empty(wire: Wire) -> None:
    wire.create(wire.id("a"))
    full = wire.get(f"/promises?id=*-{wire.tag}&limit=1").json()
    assert wire.get(f"/promises?cursor={full['cursor']}").json() == {"cursor": None, "promises": []}


def test_a_page_has_100_entries_unless_it_is_told_otherwise(wire: Wire) -> None:
    for number in range(101):
        wire.create(wire.id(str(number)))
    pages = [
        wire.get(f"/promises?id=*-{wire.tag}{limit}").json() for limit in ("", "&limit=", "&limit=0", "&limit=100")
    ]
    page = pages[0]
    assert pages == [page] * 4
    assert len(page["promises"]) == 100
    rest = wire.get(f"/promises?cursor={page['cursor']}").json()
    assert [promise["id"] for promise in rest["promises"]] == [wire.id("0")]


@pytest.mark.parametrize(
    "query",
    ["", "id=", "limit=5", "id=*&limit=-1", "id=*&limit=101", "id=*&limit=x", "id=*&limit=1.0", "id=*&tags=x",
     "id=*&tags={", "id=*&tags=[1]", "cursor=x", "cursor=e30=", "cursor=bnVsbA==", "cursor=%00", "cursor=%C3%BC",
     f"id={'*' * 20_000}"],
)  # fmt: skip
@pytest.mark.parametrize("table", ["promises", "schedules"])
def test_a_search_that_makes_no_sense_is_refused(wire: Wire, table: str, query: str) -> None:
    assert code(wire.get(f"/{table}?{query}")) == 40000


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("id=*" + "a" * 251, "id: found 252 characters, 251 of them behind a *; expected 1 to 10000, of"),
        ("id=" + "a" * 10_001, "id: found 10001 characters, 0 of them behind a *; expected 1 to 10000"),
        ("id=*" + "".join(f"&tags[{n}]=x" for n in range(17)), "tags: found 17; expected at most 16"),
        ("id=*" + "&a=%41" * 5_000, "query: found 5,001 fields; expected at most 200"),
        ("cursor=" + Query("promises", "*" + "a" * 251).cursor(1), "expected one from a search of promises"),
        ("cursor=" + Query("promises", "*", (), {str(n): "x" for n in range(17)}).cursor(1), "expected one from"),
    ],
)  # fmt: skip
def test_what_would_take_long_is_refused(wire: Wire, query: str, expected: str) -> None:
    answer = wire.get(f"/promises?{query}")
    assert code(answer) == 40000
    assert expected in answer.json()["error"]["details"][0]["message"]


def test_the_longest_of_what_is_taken_is_found(wire: Wire) -> None:
    tags = {f"k{n}": "x" for n in range(20)}
    wire.create(wire.id("a" * 2_000), tags)
    wanted = "".join(f"&tags[k{n}]=x" for n in range(4, 20))
    for pattern in (
        "a" * 2_000 + f"-{wire.tag}",
        "a" * 1_900 + "*",
        "*" + "a" * (250 - 1 - len(wire.tag)) + f"-{wire.tag}",
    ):
        assert found(wire, f"id={pattern}{wanted}") == ["a" * 2_000]
        assert found(wire, f"id={pattern}{wanted.replace('k4]=x', 'k4]=y')}") == []


@pytest.mark.parametrize("state", ["", "done", "rejected_timedout", "*"])
def test_a_state_that_is_none_is_refused(wire: Wire, state: str) -> None:
    assert code(wire.get(f"/promises?id=*&state={state}")) == 40000


def test_other_parameters_are_checked_beside_a_cursor(wire: Wire) -> None:
    wire.create(wire.id("a"))
    cursor = wire.get(f"/promises?id=*-{wire.tag}&limit=1").json()["cursor"]
    assert code(wire.get(f"/promises?cursor={cursor}&limit=101")) == 40000
    assert code(wire.get(f"/schedules?cursor={cursor}")) == 40000
