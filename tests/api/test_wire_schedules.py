"""Schedules over the wire: stored, run by the clock, searched, deleted; and the expressions that are refused."""

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from wire_client import NOW, Wire, code, until


def schedule(wire: Wire, name: str = "s", **fields: object) -> dict[str, object]:
    """Return the body of a schedule."""
    return {"id": wire.id(name), "cron": "@yearly", "promiseId": "{{.id}}.{{.timestamp}}"} | fields


def test_a_schedule_is_answered_as_in_the_protocol(wire: Wire) -> None:
    body = schedule(
        wire,
        desc="d",
        cron="* * * * *",
        tags={"t": "1"},
        promiseId="{{.id}}-{{.timestamp}}",
        promiseTimeout=60000,
        promiseParam={"headers": {"a": "b"}, "data": "aGk="},
        promiseTags={"x": "y"},
    )
    created = wire.post("/schedules", body, key="sk")
    assert created.status_code == 201
    shown = created.json()
    assert shown == body | {"nextRunTime": NOW, "idempotencyKey": "sk", "createdOn": NOW} | {
        "nextRunTime": shown["createdOn"] // 60_000 * 60_000 + 60_000
    }
    assert list(shown) == [
        "id", "desc", "cron", "tags", "promiseId", "promiseTimeout", "promiseParam", "promiseTags", "nextRunTime",
        "idempotencyKey", "createdOn",
    ]  # fmt: skip
    again = wire.post("/schedules", schedule(wire, cron="0 0 * * *"), key="sk")
    assert (again.status_code, again.json()) == (200, shown)
    assert code(wire.post("/schedules", body)) == code(wire.post("/schedules", body, key="other")) == 40901
    got = wire.get(f"/schedules/{wire.id('s')}")
    assert (got.status_code, got.json()) == (200, shown)


def test_what_a_schedule_has_not_is_shown_as_in_the_protocol(wire: Wire) -> None:
    created = wire.post("/schedules", schedule(wire, description="is ignored"))
    assert created.json() == schedule(wire) | {
        "tags": {},
        "promiseTimeout": 0,
        "promiseParam": {},
        "nextRunTime": created.json()["nextRunTime"],
        "createdOn": NOW,
    }
    assert code(wire.post("/schedules", schedule(wire))) == 40901


def test_a_schedule_is_deleted_without_a_body_and_its_promises_stay(wire: Wire) -> None:
    name = wire.id("s")
    wire.post("/schedules", schedule(wire, cron="* * * * * *"))
    promise = until(lambda: wire.get(f"/promises?id={name}*").json()["promises"])[0]
    deleted = wire.call("DELETE", f"/schedules/{name}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "Content-Length" not in deleted.headers
    assert code(wire.call("DELETE", f"/schedules/{name}")) == code(wire.get(f"/schedules/{name}")) == 40401
    assert wire.get(f"/promises/{promise['id']}").status_code == 200


def test_a_schedule_creates_its_promise_as_of_the_time_it_was_due(wire: Wire) -> None:
    name, group = wire.id("s3"), wire.id("group")
    worker = wire.stream(group, "w")
    body = schedule(
        wire,
        "s3",
        cron="* * * * * *",
        promiseTimeout=5000,
        promiseParam={"data": "aGk="},
        promiseTags={"resonate:invoke": f"poll://any@{group}", "x": "y"},
    )
    due = wire.post("/schedules", body).json()["nextRunTime"]
    first, second = worker.next()["task"], worker.next()["task"]
    assert [task["rootPromiseId"] for task in (first, second)] == [f"{name}.{due}", f"{name}.{due + 1000}"]
    assert time.time() * 1000 >= due + 1000
    shown = wire.get(f"/promises/{name}.{due}").json()
    assert shown == {
        "id": f"{name}.{due}",
        "state": "PENDING",
        "param": {"data": "aGk="},
        "value": {},
        "timeout": due + 5000,
        "tags": {
            "resonate:invocation": "true",
            "resonate:invoke": f"poll://any@{group}",
            "resonate:schedule": name,
            "x": "y",
        },
        "createdOn": NOW,
    }
    after = wire.get(f"/schedules/{name}").json()
    assert after["lastRunTime"] >= due + 1000
    assert after["nextRunTime"] == after["lastRunTime"] + 1000
    assert list(after).index("nextRunTime") == list(after).index("lastRunTime") + 1
    wire.call("DELETE", f"/schedules/{name}")


def test_a_promise_of_a_schedule_may_time_out_at_once(wire: Wire) -> None:
    name = wire.id("s3")
    due = wire.post("/schedules", schedule(wire, "s3", cron="@every 1s", promiseTimeout=-1)).json()["nextRunTime"]
    until(lambda: wire.get(f"/promises/{name}.{due}").ok)
    wire.call("DELETE", f"/schedules/{name}")
    assert wire.get(f"/promises/{name}.{due}").json() == {
        "id": f"{name}.{due}",
        "state": "REJECTED_TIMEDOUT",
        "param": {},
        "value": {},
        "timeout": due - 1,
        "tags": {"resonate:invocation": "true", "resonate:schedule": name},
        "createdOn": NOW,
        "completedOn": due - 1,
    }


def test_a_schedule_goes_on_when_its_promise_exists_already(wire: Wire) -> None:
    name = wire.id("fixed")
    wire.create(name)
    due = wire.post("/schedules", schedule(wire, cron="* * * * * *", promiseId=name)).json()["nextRunTime"]
    until(lambda: wire.get(f"/schedules/{wire.id('s')}").json()["nextRunTime"] > due)
    wire.call("DELETE", f"/schedules/{wire.id('s')}")
    assert wire.get(f"/promises/{name}").json()["timeout"] > due


def test_a_template_is_filled_in(wire: Wire) -> None:
    filled = {
        "{{.id}}-": f"{wire.id('s0')}-",
        "a-{{ .id }}-{{.nothing}}": f"a-{wire.id('s1')}-",
        "}}{{.id}}{": f"}}}}{wire.id('s2')}{{",
        "{{.id}}/{{.id}}": f"{wire.id('s3')}/{wire.id('s3')}",
    }
    for number, template in enumerate(filled):
        wire.post("/schedules", schedule(wire, f"s{number}", cron="* * * * * *", promiseId=template))
    for number, promise_id in enumerate(filled.values()):
        until(lambda path=f"/promises/{promise_id}": wire.get(path).ok)
        wire.call("DELETE", f"/schedules/{wire.id(f's{number}')}")


# expressions


def utc(milliseconds: int) -> datetime:
    """Return a time in the terms of an expression."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@pytest.mark.parametrize(
    ("cron", "matches"),
    [
        ("TZ=UTC 30 4 * * *", lambda at: (at.hour, at.minute, at.second) == (4, 30, 0)),
        ("CRON_TZ=UTC 15 30 4 * * *", lambda at: (at.hour, at.minute, at.second) == (4, 30, 15)),
        ("TZ=UTC 0 9 * * MON-FRI", lambda at: at.hour == 9 and at.weekday() < 5),
        ("TZ=UTC 0 0 1 jan,JUL ?", lambda at: at.day == 1 and at.month in {1, 7}),
        ("TZ=UTC */20 1-5/2 * * *", lambda at: at.minute in {0, 20, 40} and at.hour in {1, 3, 5}),
        ("TZ=UTC 0 0 13 * 5", lambda at: at.day == 13 or at.weekday() == 4),
        ("TZ=UTC 0 0 29 2 *", lambda at: (at.month, at.day) == (2, 29)),
        ("TZ=UTC @daily", lambda at: (at.hour, at.minute) == (0, 0)),
        ("TZ=UTC @weekly", lambda at: (at.weekday(), at.hour) == (6, 0)),
        ("TZ=UTC @monthly", lambda at: (at.day, at.hour) == (1, 0)),
        ("TZ=UTC @annually", lambda at: (at.month, at.day) == (1, 1)),
        ("  @hourly ", lambda at: at.minute == at.second == 0),
        ("TZ=Asia/Tokyo 0 12 * * *", lambda at: at.astimezone(ZoneInfo("Asia/Tokyo")).hour == 12),
    ],
)
def test_an_expression_gives_the_next_time_that_matches(wire: Wire, cron: str, matches: object) -> None:
    shown = wire.post("/schedules", schedule(wire, cron=cron)).json()
    assert shown["nextRunTime"] > shown["createdOn"]
    assert matches(utc(shown["nextRunTime"]))
    assert shown["cron"] == cron


@pytest.mark.parametrize(
    ("every", "seconds"), [("90s", 90), ("1h30m", 5400), ("1.5s", 1), ("10ms", 1), ("0s", 1), ("24h", 86_400)]
)
def test_every_counts_whole_seconds_from_now(wire: Wire, every: str, seconds: int) -> None:
    shown = wire.post("/schedules", schedule(wire, cron=f"@every {every}")).json()
    assert shown["nextRunTime"] == shown["createdOn"] // 1000 * 1000 + seconds * 1000
    wire.call("DELETE", f"/schedules/{wire.id('s')}")


@pytest.mark.parametrize(
    "cron",
    ["", " ", "x", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *",
     "* * * * 8", "-1 * * * *", "1-2-3 * * * *", "*/0 * * * *", "a * * * *", "1.5 * * * *", "* * * JANUARY *",
     "0 0 31 2 *", "0 0 L * *", "R * * * *", "H * * * *", "0 0 15W * *", "* * * * 5#2", "* * * * L5", ", * * * *",
     "@nope", "@every", "@every 90", "@every x", "@every -5s", "@every 1s x", "@every 99999999999999999h",
     "@every " + "9" * 400 + "h", "TZ= * * * * *", "TZ=Nowhere * * * * *", "TZ=../../etc * * * * *", "TZ=UTC",
     "* * * * *\0", 5, None, ["* * * * *"]],
    ids=lambda cron: str(cron)[:30],
)  # fmt: skip
def test_an_expression_that_makes_no_sense_is_refused(wire: Wire, cron: object) -> None:
    refused = wire.post("/schedules", schedule(wire, cron=cron))
    assert code(refused) == 40000
    assert "cron" in refused.json()["error"]["details"][0]["message"]
    assert code(wire.get(f"/schedules/{wire.id('s')}")) == 40401


@pytest.mark.parametrize(
    "field",
    [
        {"id": None}, {"id": ""}, {"id": 5}, {"promiseId": None}, {"promiseId": ""}, {"promiseId": "{{.id"},
        {"promiseId": "{{id}}"}, {"promiseId": "{{.id}}{{"}, {"promiseId": "{{if}}"}, {"promiseTimeout": "5"},
        {"promiseTimeout": 1.5}, {"promiseTimeout": 2**63}, {"tags": {"a": 1}}, {"promiseTags": []},
        {"promiseTags": {"a": 1}}, {"promiseTags": {"resonate:invoke": "null"}}, {"promiseParam": "x"},
        {"promiseParam": {"data": "!"}}, {"desc": 5},
    ],
    ids=str,
)  # fmt: skip
def test_a_schedule_that_makes_no_sense_is_refused(wire: Wire, field: dict[str, object]) -> None:
    assert code(wire.post("/schedules", schedule(wire) | field)) == 40000


def test_the_time_out_of_a_scheduled_promise_does_not_overflow(wire: Wire) -> None:
    ends = {wire.id("past"): (-(2**63), "REJECTED_TIMEDOUT"), wire.id("future"): (2**63 - 1, "PENDING")}
    for name, (timeout, _) in ends.items():
        body = schedule(wire, cron="* * * * * *", promiseId="{{.id}}", promiseTimeout=timeout)
        assert wire.post("/schedules", body | {"id": name}).status_code == 201
    for name, (_, state) in ends.items():
        until(lambda path=f"/promises/{name}": wire.get(path).ok)
        wire.call("DELETE", f"/schedules/{name}")
        assert wire.get(f"/promises/{name}").json()["state"] == state


# search


def test_schedules_are_searched_like_promises(wire: Wire) -> None:
    names = [wire.id(f"s{number}") for number in range(3)]
    for number, name in enumerate(names):
        body = schedule(wire, promiseId="p") | {"id": name, "tags": {"odd": str(number % 2)}}
        assert wire.post("/schedules", body, key="sk").status_code == 201
    page = wire.get(f"/schedules?id=S*{wire.tag}&limit=2").json()
    assert list(page) == ["cursor", "schedules"]
    assert [found["id"] for found in page["schedules"]] == names[:0:-1]
    assert page["schedules"][0] == wire.get(f"/schedules/{names[2]}").json()
    rest = wire.get(f"/schedules?cursor={page['cursor']}").json()
    assert ([found["id"] for found in rest["schedules"]], rest["cursor"]) == (names[:1], None)
    odd = wire.get(f"/schedules?id=*{wire.tag}&tags[odd]=1").json()["schedules"]
    assert [found["id"] for found in odd] == [names[1]]
    assert code(wire.get(f"/promises?cursor={page['cursor']}")) == 40000
