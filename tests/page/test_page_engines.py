"""What the page is told is the same whatever engine keeps the promises."""

import json
from base64 import b64encode

import pytest
from wire_client import Wire


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_list_is_searched_filtered_and_counted(wire: Wire) -> None:
    for n in range(60):
        wire.create(wire.id(f"job-{n:02}"))
    wire.complete(wire.id("job-07"))
    wire.complete(wire.id("job-08"), "REJECTED_CANCELED")
    page = wire.get(f"/ui/roots?q=JOB-*{wire.tag}").json()
    assert [one["id"] for one in page["roots"]] == [wire.id(f"job-{n:02}") for n in range(59, 9, -1)]
    rest = wire.get(f"/ui/count?q=job-*{wire.tag}&below={page['below']}").json()
    assert rest == {"count": 10, "more": False}
    for state, names in (("resolved", ["job-07"]), ("rejected", ["job-08"])):
        found = wire.get(f"/ui/roots?q={wire.tag}&state={state}").json()["roots"]
        assert [one["id"] for one in found] == [wire.id(name) for name in names]
    assert wire.get(f"/ui/roots?q={wire.tag}&since={page['now'] + 60_000}").json()["roots"] == []
    assert len(wire.get(f"/ui/roots?q={wire.tag}&since={page['now'] - 60_000}&limit=200").json()["roots"]) == 60
    assert wire.get(f"/ui/count?q={wire.tag}&since={page['now'] + 60_000}").json() == {"count": 0, "more": False}


def test_a_tree_tells_results_errors_and_why_it_waits(wire: Wire) -> None:
    top, one, two, three = (wire.id(name) for name in ("top", "one", "two", "three"))
    error = {"value": {"data": b64encode(b'{"__error__": "no"}').decode()}}
    made = json.dumps({"py/reduce": [{"py/type": "builtins.ValueError"}, {"py/tuple": ["no"]}]})
    error["value"]["headers"] = {"resonate:format-py": made}
    wire.create(top)
    for child in (one, two):
        wire.create(child, {"resonate:parent": top})
    wire.create(three)  # as ctx.promise() does
    assert wire.patch(f"/promises/{one}", {"state": "REJECTED", **error}).status_code == 201
    callback = {"promiseId": three, "rootPromiseId": top, "recv": "poll://any@g", "timeout": 2**50}
    assert wire.post(f"/promises/callback/{three}", callback).status_code == 201
    nodes = {node["id"]: node for node in wire.get(f"/ui/tree/{top}").json()["nodes"]}
    assert (nodes[top]["where"], nodes[one]["error"]) == ("waits for its calls", "ValueError: no")
    assert (nodes[three]["level"], nodes[three]["where"]) == (1, "waits for somebody")
    assert wire.get(f"/ui/tree/{two}").json()["parent"] == top
    assert wire.get(f"/ui/promise/{top}").json()["why"] == [{"text": "It waits for the end of", "promises": [three]}]
    details = wire.get(f"/ui/promise/{one}").json()
    assert (details["error"], details["why"]) == ({"type": "ValueError", "message": "no"}, [])
    assert wire.get(f"/ui/promise/{three}").json()["by_hand"]


def test_a_sleep_is_a_call_of_one_function_only(wire: Wire) -> None:
    """The SDK waits for the sleep of an inner call on behalf of the outermost one: it stands below the inner alone."""
    top, inner = wire.id("top"), f"{wire.id('top')}.1"
    wire.create(top)
    wire.create(inner, {"resonate:parent": top})
    wire.create(f"{inner}.1", {"resonate:timeout": "true"})
    callback = {"promiseId": f"{inner}.1", "rootPromiseId": top, "recv": "poll://any@g", "timeout": 2**50}
    assert wire.post(f"/promises/callback/{inner}.1", callback).status_code == 201
    nodes = wire.get(f"/ui/tree/{top}").json()["nodes"]
    assert [(node["id"], node.get("level", 0)) for node in nodes] == [(top, 0), (inner, 1), (f"{inner}.1", 2)]


@pytest.mark.parametrize(
    ("made", "known"),
    [
        ('{"py/object": "shop.errors.Declined"}', "shop.errors.Declined"),
        ('{"py/reduce": []}', ""),
        ('{"py/reduce": [{"py/type": 7}]}', ""),
        ('["py/reduce"]', ""),
        ("no JSON py/", ""),
        ("[" * 100_000 + '"py/"', ""),
    ],
)
def test_whatever_is_pickled_beside_an_error_is_never_more_than_a_name(wire: Wire, made: str, known: str) -> None:
    one = wire.id("one")
    wire.create(one)
    value = {"data": b64encode(b'"text"').decode(), "headers": {"resonate:format-py": made}}
    assert wire.patch(f"/promises/{one}", {"state": "REJECTED", "value": value}).status_code == 201
    found = wire.get(f"/ui/promise/{one}").json()["error"]
    assert found in (
        {"type": known, "message": "text"},
        {"type": "", "message": ""},
    )  # the second: too large to look at
