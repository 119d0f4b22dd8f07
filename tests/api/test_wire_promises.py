"""Promises over the wire: every example and every row of the tables of the protocol, against a server process."""

import time

import pytest
from wire_client import FAR, NOW, Wire, code, until

REFUSED = {"RESOLVED": 40301, "REJECTED": 40302, "REJECTED_CANCELED": 40303, "REJECTED_TIMEDOUT": 40304}
TIMER = {"resonate:timeout": "true"}


def stored(wire: Wire, state: str, *, create_key: str | None = None, complete_key: str | None = None) -> str:
    """Store a promise in that state ("TIMER": resolved by its time-out); return its id."""
    promise_id = wire.id("p")
    timeout = 0 if state in {"REJECTED_TIMEDOUT", "TIMER"} else FAR
    wire.create(promise_id, TIMER if state == "TIMER" else {}, timeout=timeout, key=create_key)
    if timeout and state != "PENDING":
        done = wire.patch(f"/promises/{promise_id}", {"state": state}, key=complete_key)
        assert done.status_code == 201
    return promise_id


# create


def test_a_new_promise_is_answered_as_in_the_protocol(wire: Wire) -> None:
    name = wire.id("foo")
    body = (
        f'{{"id":"{name}","param":{{"headers":{{"a":"b"}},"data":"aGVsbG8="}},"timeout":9223372036854775807,'
        '"tags":{"k":"v"}}'
    )
    created = wire.post("/promises", body, headers={"Idempotency-Key": "ik", "Strict": "true"})
    assert created.status_code == 201
    assert created.headers["Content-Type"] == "application/json; charset=utf-8"
    assert created.headers["Resonate-Version"] == "0.7.25"
    assert created.json()["createdOn"] == NOW
    assert created.text == (
        f'{{"id":"{name}","state":"PENDING","param":{{"headers":{{"a":"b"}},"data":"aGVsbG8="}},"value":{{}},'
        '"timeout":9223372036854775807,"idempotencyKeyForCreate":"ik","tags":{"k":"v"},'
        f'"createdOn":{created.json()["createdOn"]}}}'
    )


@pytest.mark.parametrize("state", ["PENDING", *REFUSED, "TIMER"])
def test_a_promise_that_exists_is_returned_to_its_creator_only(wire: Wire, state: str) -> None:
    name = stored(wire, state, create_key="k")
    shown = wire.get(f"/promises/{name}").json()
    other = {"id": name, "timeout": 5, "param": {"data": "eA=="}, "tags": {"x": "y"}}
    again = wire.post("/promises", other, key="k", strict="False")
    assert (again.status_code, again.json()) == (200, shown)
    strictly = wire.post("/promises", other, key="k", strict="True")
    if state == "PENDING":
        assert (strictly.status_code, strictly.json()) == (200, shown)
    else:
        assert code(strictly) == 40900
    for strict in (True, False):
        assert code(wire.post("/promises", other, key="K", strict=strict)) == 40900
        assert code(wire.post("/promises", other, strict=strict)) == 40900
    assert wire.get(f"/promises/{name}").json() == shown


def test_no_key_never_matches_but_an_empty_key_is_one(wire: Wire) -> None:
    without, empty = wire.id("without"), wire.id("empty")
    wire.create(without)
    assert code(wire.post("/promises", {"id": without})) == 40900
    assert code(wire.post("/promises", {"id": without}, key="")) == 40900
    assert wire.create(empty, key="")["idempotencyKeyForCreate"] == ""
    assert wire.post("/promises", {"id": empty}, key="").status_code == 200
    assert code(wire.post("/promises", {"id": empty})) == 40900


def test_the_error_of_a_promise_that_exists_is_the_one_of_the_protocol(wire: Wire) -> None:
    name = wire.id("foo")
    wire.create(name)
    refused = wire.post("/promises", {"id": name}).json()["error"]
    found = refused["details"][0].pop("message")
    assert name in found
    assert refused == {
        "code": 40900,
        "message": "The specified promise already exists",
        "details": [
            {
                "@type": "RequestError",
                "domain": "request",
                "metadata": {"url": "https://docs.resonatehq.io/operate/errors#40900"},
            }
        ],
    }


@pytest.mark.parametrize("timeout", [-(2**63), -1, 0, 1])
def test_a_promise_is_created_pending_even_with_its_time_out_behind_it(wire: Wire, timeout: int) -> None:
    name = wire.id("min")
    assert wire.create(name, timeout=timeout)["state"] == "PENDING"
    assert wire.get(f"/promises/{name}").json() == {
        "id": name,
        "state": "REJECTED_TIMEDOUT",
        "param": {},
        "value": {},
        "timeout": timeout,
        "createdOn": NOW,
        "completedOn": timeout,
    }


def test_the_time_out_of_a_new_promise_is_0_unless_it_is_given(wire: Wire) -> None:
    assert wire.post("/promises", {"id": wire.id("p")}).json()["timeout"] == 0


def test_strict_has_the_spellings_of_go(wire: Wire) -> None:
    name = stored(wire, "RESOLVED", create_key="k")
    for strict in ("1", "t", "T", "TRUE", "true", "True"):
        assert code(wire.post("/promises", {"id": name}, key="k", strict=strict)) == 40900
    for strict in ("0", "f", "F", "FALSE", "false", "False", ""):
        assert wire.post("/promises", {"id": name}, key="k", strict=strict).status_code == 200


@pytest.mark.parametrize("strict", ["yes", "tRuE", "2", "on"])
def test_any_other_strict_is_refused(wire: Wire, strict: str) -> None:
    name = wire.id("p")
    for refused in (
        wire.post("/promises", {"id": name}, strict=strict),
        wire.post("/promises/task", {"promise": {"id": name}, "task": {"processId": "w"}}, strict=strict),
        wire.patch(f"/promises/{name}", {"state": "RESOLVED"}, strict=strict),
    ):
        assert code(refused) == 40000
        assert repr(strict) in refused.json()["error"]["details"][0]["message"]
    assert code(wire.get(f"/promises/{name}")) == 40400


# create with task


def test_a_promise_with_its_task_is_answered_as_in_the_protocol(wire: Wire) -> None:
    name = wire.id("pt1")
    promise = {"id": name, "timeout": FAR, "tags": {"resonate:invoke": "default"}}
    body = {"promise": promise, "task": {"processId": "pX", "ttl": 60_000}}
    created = wire.post("/promises/task", body, key=name)
    assert created.status_code == 201
    assert list(created.json()) == ["promise", "task"]
    assert created.json() == {
        "promise": {
            "id": name,
            "state": "PENDING",
            "param": {},
            "value": {},
            "timeout": FAR,
            "idempotencyKeyForCreate": name,
            "tags": {"resonate:invoke": "default"},
            "createdOn": NOW,
        },
        "task": {
            "id": f"__invoke:{name}",
            "counter": 1,
            "timeout": FAR,
            "rootPromiseId": name,
            "processId": "pX",
            "createdOn": NOW,
        },
    }
    assert list(created.json()["task"]) == ["id", "counter", "timeout", "rootPromiseId", "processId", "createdOn"]
    again = wire.post("/promises/task", body, key=name)
    assert (again.status_code, again.json()) == (200, {"promise": created.json()["promise"], "task": None})
    assert code(wire.post("/promises/task", body)) == 40900


@pytest.mark.parametrize(
    "tags", [{}, {"resonate:invoke": "{}"}, {"resonate:invoke": '"poll://g"'}, {"other": "default"}]
)
def test_a_promise_that_does_not_route_has_no_task(wire: Wire, tags: dict[str, str]) -> None:
    promise = {"id": wire.id("p"), "timeout": FAR, "tags": tags}
    created = wire.post("/promises/task", {"promise": promise, "task": {"processId": "w"}})
    assert (created.status_code, created.json()["task"]) == (201, None)


def test_a_promise_with_task_that_is_completed_comes_back_without_a_task(wire: Wire) -> None:
    name = stored(wire, "RESOLVED", create_key="k")
    body = {"promise": {"id": name}, "task": {"processId": "w"}}
    again = wire.post("/promises/task", body, key="k", strict=False)
    assert (again.status_code, again.json()["promise"]["state"], again.json()["task"]) == (200, "RESOLVED", None)
    assert code(wire.post("/promises/task", body, key="k", strict=True)) == 40900


@pytest.mark.parametrize(
    ("promise", "task"),
    [
        (None, {"processId": "w"}), ({"id": "x"}, None), ({"id": ""}, {"processId": "w"}), ({}, {"processId": "w"}),
        ({"id": "x"}, {}), ({"id": "x"}, {"processId": ""}), ({"id": "x"}, {"processId": 1}), ({"id": "x"}, "w"),
        ({"id": "x"}, {"processId": "w", "ttl": -1}), ({"id": "x"}, {"processId": "w", "ttl": 2**63}),
        ({"id": "x"}, {"processId": "w", "ttl": 1.0}), ({"id": "x", "timeout": "1"}, {"processId": "w"}),
        ("x", {"processId": "w"}),
    ],
)  # fmt: skip
def test_a_promise_with_task_that_lacks_something_is_refused(wire: Wire, promise: object, task: object) -> None:
    assert code(wire.post("/promises/task", {"promise": promise, "task": task})) == 40000


# get, and what is an id


def test_a_promise_that_is_not_there_is_not_found(wire: Wire) -> None:
    name = wire.id("none")
    assert code(wire.get(f"/promises/{name}")) == 40400
    assert code(wire.patch(f"/promises/{name}", {"state": "RESOLVED"})) == 40400
    assert code(wire.get("/promises/")) == 40400


@pytest.mark.parametrize(
    "name",
    ["a/b", "a//b/", "/a", "a/../b", "..", "a+b", "a b", "a%41b", "a?b#c", "ü/日本/🎲", "callback/x", "subscribe/x",
     "task", "callback", '"<&>\'\\', " ", "a\0b", "a\nb\tc", "x" * 3000],
)  # fmt: skip
def test_any_text_is_an_id(wire: Wire, name: str, engine: str) -> None:
    promise_id = f"{name}{wire.tag}" if name not in {"..", " "} else name
    if "\0" in name and engine == "PostgreSQL":
        refused = wire.post("/promises", {"id": promise_id, "timeout": FAR})
        assert (code(refused), "PostgreSQL cannot store it" in refused.text) == (40000, True)
        return
    created = wire.create(promise_id)
    assert created["id"] == promise_id
    escaped = "".join(f"%{byte:02x}" for byte in promise_id.encode())
    with wire.connection() as connection:
        connection.send(f"GET /promises/{escaped} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.answer()[0] == 200
    assert wire.patch(f"/promises/{escaped}", {"state": "RESOLVED"}).json()["id"] == promise_id


def test_an_id_is_the_rest_of_the_path_decoded_once(wire: Wire) -> None:
    plain, percent = f"a/b+c/{wire.tag}/", f"a%2Fb{wire.tag}"
    wire.create(plain)
    wire.create(percent)
    with wire.connection() as connection:
        for path, found in [
            (f"a/b+c/{wire.tag}/", plain),
            (f"a%2fb+c/{wire.tag}%2F", plain),
            (f"a/b%2Bc/{wire.tag}/", plain),
            (f"a%252Fb{wire.tag}", percent),
        ]:
            connection.send(f"GET /promises/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status, body = connection.answer()
            assert (status, f'"id":"{found}"' in body) == (200, True)
    for path in (f"a/b%20c/{wire.tag}/", f"a/b+c/{wire.tag}", f"a/b+c//{wire.tag}/"):
        assert code(wire.get(f"/promises/{path}")) == 40400


# complete


def test_a_completion_is_answered_as_in_the_protocol(wire: Wire) -> None:
    name = wire.id("foo")
    created = wire.create(name, {"k": "v"}, param={"headers": {"a": "b"}, "data": "aGVsbG8="}, key="ik")
    done = wire.patch(f"/promises/{name}", {"state": "RESOLVED", "value": {"data": "d29ybGQ="}}, key="ic")
    assert done.status_code == 201
    assert done.text == (
        f'{{"id":"{name}","state":"RESOLVED","param":{{"headers":{{"a":"b"}},"data":"aGVsbG8="}},'
        f'"value":{{"data":"d29ybGQ="}},"timeout":{FAR},"idempotencyKeyForCreate":"ik",'
        '"idempotencyKeyForComplete":"ic","tags":{"k":"v"},'
        f'"createdOn":{created["createdOn"]},"completedOn":{done.json()["completedOn"]}}}'
    )
    assert done.json()["completedOn"] == NOW
    assert wire.get(f"/promises/{name}").text == done.text


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("state", ["RESOLVED", "rejected", "Rejected_Canceled"])
def test_a_pending_promise_is_completed_strictly_or_not(wire: Wire, state: str, strict: bool) -> None:  # noqa: FBT001 - a case
    name = wire.id("p")
    wire.create(name)
    done = wire.patch(f"/promises/{name}", {"state": state}, strict=strict)
    assert (done.status_code, done.json()["state"]) == (201, state.upper())
    assert "idempotencyKeyForComplete" not in done.json()


@pytest.mark.parametrize("state", ["RESOLVED", "REJECTED", "REJECTED_CANCELED"])
@pytest.mark.parametrize("asked", ["RESOLVED", "REJECTED", "REJECTED_CANCELED"])
def test_a_completion_is_repeated_with_its_key_only(wire: Wire, state: str, asked: str) -> None:
    name = stored(wire, state, complete_key="k")
    shown = wire.get(f"/promises/{name}").json()
    body = {"state": asked, "value": {"data": "eA=="}}
    again = wire.patch(f"/promises/{name}", body, key="k", strict=False)
    assert (again.status_code, again.json()) == (200, shown)
    strictly = wire.patch(f"/promises/{name}", body, key="k", strict=True)
    if asked == state:
        assert (strictly.status_code, strictly.json()) == (200, shown)
    else:
        assert code(strictly) == REFUSED[state]
    for strict in (True, False):
        assert code(wire.patch(f"/promises/{name}", body, key="K", strict=strict)) == REFUSED[state]
        assert code(wire.patch(f"/promises/{name}", body, strict=strict)) == REFUSED[state]
    assert wire.get(f"/promises/{name}").json() == shown


def test_two_completions_without_a_key_are_no_repetition(wire: Wire) -> None:
    name = stored(wire, "RESOLVED")
    assert code(wire.patch(f"/promises/{name}", {"state": "RESOLVED"})) == 40301


@pytest.mark.parametrize("key", [None, "k"])
def test_a_time_out_wins_over_a_completion_that_comes_too_late(wire: Wire, key: str | None) -> None:
    late = {"state": "RESOLVED", "value": {"data": "eA=="}}
    name = wire.id("p")
    wire.create(name, timeout=5)
    done = wire.patch(f"/promises/{name}", late, key=key)
    assert (done.status_code, done.json()["state"], done.json()["value"]) == (200, "REJECTED_TIMEDOUT", {})
    assert done.json()["completedOn"] == 5
    assert "idempotencyKeyForComplete" not in done.json()
    assert wire.patch(f"/promises/{name}", late, key=key, strict=False).status_code == 200
    assert code(wire.patch(f"/promises/{name}", late, key=key, strict=True)) == 40304


@pytest.mark.parametrize("key", [None, "k"])
def test_a_sleep_that_is_over_cannot_be_completed(wire: Wire, key: str | None) -> None:
    name = stored(wire, "TIMER")
    for strict in (True, False):
        assert code(wire.patch(f"/promises/{name}", {"state": "RESOLVED"}, key=key, strict=strict)) == 40301


@pytest.mark.parametrize("flag", ["True", "1", "", "false"])
def test_only_true_makes_a_time_out_a_success(wire: Wire, flag: str) -> None:
    sleep, other = wire.id("sleep"), wire.id("other")
    wire.create(sleep, TIMER, timeout=7)
    wire.create(other, {"resonate:timeout": flag}, timeout=7)
    slept = wire.get(f"/promises/{sleep}").json()
    assert (slept["state"], slept["completedOn"], slept["value"]) == ("RESOLVED", 7, {})
    assert wire.get(f"/promises/{other}").json()["state"] == "REJECTED_TIMEDOUT"


def test_a_time_out_passes_by_the_clock(wire: Wire) -> None:
    name, timeout = wire.id("p"), int(time.time() * 1000) + 60
    wire.create(name, timeout=timeout)
    done = until(lambda: wire.get(f"/promises?id={name}&state=rejected").json()["promises"])[0]
    assert (done["state"], done["completedOn"]) == ("REJECTED_TIMEDOUT", timeout)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"state": None}, {"state": ""}, {"state": "PENDING"}, {"state": "REJECTED_TIMEDOUT"}, {"state": "DONE"},
        {"state": 1}, {"state": "RESOLVED", "value": "x"}, {"state": "RESOLVED", "value": {"data": "x"}},
        {"state": "RESOLVED", "value": {"headers": {"a": 1}}},
    ],
)  # fmt: skip
def test_a_completion_that_makes_no_sense_is_refused(wire: Wire, body: dict[str, object]) -> None:
    name = wire.id("p")
    wire.create(name)
    refused = wire.patch(f"/promises/{name}", body)
    assert code(refused) == 40000
    assert [detail["@type"] for detail in refused.json()["error"]["details"]] == ["FieldValidationError"]
    assert wire.get(f"/promises/{name}").json()["state"] == "PENDING"
