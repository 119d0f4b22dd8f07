"""Callbacks and subscriptions over the wire: registered, refused, and turned into messages."""

import time

import pytest
from wire_client import FAR, NOW, Wire, code


def callback(wire: Wire, leaf: str, root: str, recv: object = "default", timeout: int = FAR) -> dict[str, object]:
    """Return the body of a callback; with ``promiseId``, for /callbacks too."""
    return {"rootPromiseId": wire.id(root), "recv": recv, "timeout": timeout, "promiseId": wire.id(leaf)}


def test_a_callback_is_answered_as_in_the_protocol(wire: Wire) -> None:
    leaf, root = wire.id("leaf1"), wire.id("inv1")
    promise = wire.create(leaf)
    body = callback(wire, "leaf1", "inv1", "poll://any@default/w1")
    added = wire.post(f"/promises/callback/{leaf}", body)
    assert (added.status_code, list(added.json())) == (201, ["callback", "promise"])
    assert list(added.json()["callback"]) == ["id", "promiseId", "rootPromiseId", "timeout", "createdOn"]
    assert added.json() == {
        "callback": {
            "id": f"__resume:{root}:{leaf}",
            "promiseId": leaf,
            "rootPromiseId": "",
            "timeout": FAR,
            "createdOn": NOW,
        },
        "promise": promise,
    }
    again = wire.post(f"/promises/callback/{leaf}", body)
    assert (again.status_code, again.json()) == (200, {"callback": None, "promise": promise})
    done = wire.complete(leaf)
    late = wire.post(f"/promises/callback/{leaf}", callback(wire, "leaf1", "inv2"))
    assert (late.status_code, late.json()) == (200, {"callback": None, "promise": done})


def test_a_subscription_is_answered_and_notified_as_in_the_protocol(wire: Wire) -> None:
    name, group = wire.id("inv1"), wire.id("group")
    client = wire.stream(group, "w1")
    promise = wire.create(name, {"k": "v"})
    body = {"id": "sub1", "recv": f"poll://uni@{group}/w1", "timeout": FAR}
    added = wire.post(f"/promises/subscribe/{name}", body)
    assert (added.status_code, added.json()) == (
        201,
        {
            "callback": {
                "id": f"__notify:{name}:sub1",
                "promiseId": name,
                "rootPromiseId": "",
                "timeout": FAR,
                "createdOn": NOW,
            },
            "promise": promise,
        },
    )
    again = wire.post(f"/promises/subscribe/{name}", body)
    assert (again.status_code, again.json()) == (200, {"callback": None, "promise": promise})
    value = {"headers": {"h": "1"}, "data": "cm9vdA=="}
    done = wire.patch(f"/promises/{name}", {"state": "RESOLVED", "value": value}).json()
    message = client.next()
    assert message == {"promise": done, "type": "notify"}
    assert list(message) == ["promise", "type"]
    assert list(message["promise"]) == list(done)
    late = wire.post(f"/promises/subscribe/{name}", body)
    assert (late.status_code, late.json()) == (200, {"callback": None, "promise": done})


def test_the_older_routes_take_the_promise_from_the_body(wire: Wire) -> None:
    leaf = wire.id("leaf")
    wire.create(leaf)
    added = wire.post("/callbacks", callback(wire, "leaf", "root"))
    assert (added.status_code, added.json()["callback"]["promiseId"]) == (201, leaf)
    body = {"id": "s", "promiseId": leaf, "recv": "default", "timeout": FAR}
    added = wire.post("/subscriptions", body)
    assert (added.status_code, added.json()["callback"]["id"]) == (201, f"__notify:{leaf}:s")
    assert code(wire.post("/callbacks", callback(wire, "leaf", "root") | {"promiseId": ""})) == 40000
    assert code(wire.post("/subscriptions", body | {"promiseId": None})) == 40000


def test_a_callback_on_nothing_is_not_found(wire: Wire) -> None:
    assert code(wire.post(f"/promises/callback/{wire.id('none')}", callback(wire, "none", "r"))) == 40400
    body = {"id": "s", "recv": "default"}
    assert code(wire.post(f"/promises/subscribe/{wire.id('none')}", body)) == 40400


def test_a_promise_does_not_wait_for_itself_even_if_it_is_not_there(wire: Wire) -> None:
    body = callback(wire, "self", "self")
    assert code(wire.post(f"/promises/callback/{wire.id('self')}", body)) == 40000
    wire.create(wire.id("self"))
    assert code(wire.post(f"/promises/callback/{wire.id('self')}", body)) == 40000


@pytest.mark.parametrize(
    "field",
    [
        {"recv": None}, {"rootPromiseId": None}, {"rootPromiseId": ""}, {"rootPromiseId": 1}, {"timeout": "1"},
        {"timeout": 2**63}, {"timeout": 1.5}, {"recv": {"type": "poll"}}, {"recv": {"type": "poll", "data": None}},
        {"recv": {"type": "poll", "data": {}}}, {"recv": {"type": "poll", "data": {"cast": "all", "group": "g"}}},
        {"recv": {"type": "poll", "data": {"group": ""}}}, {"recv": {"type": "poll", "data": {"group": "g/h"}}},
        {"recv": {"type": "poll", "data": {"group": "g", "id": 5}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_callback_that_makes_no_sense_is_refused(wire: Wire, field: dict[str, object]) -> None:
    leaf = wire.id("leaf")
    wire.create(leaf)
    body = callback(wire, "leaf", "root")
    assert code(wire.post(f"/promises/callback/{leaf}", body | field)) == 40000
    if "rootPromiseId" not in field:
        assert code(wire.post(f"/promises/subscribe/{leaf}", {"id": "s"} | body | field)) == 40000
    assert wire.post(f"/promises/callback/{leaf}", body).status_code == 201


@pytest.mark.parametrize("name", [None, "", 5])
def test_a_subscription_without_an_id_is_refused(wire: Wire, name: object) -> None:
    wire.create(wire.id("p"))
    body = {"id": name, "recv": "default", "timeout": FAR}
    assert code(wire.post(f"/promises/subscribe/{wire.id('p')}", body)) == 40000


@pytest.mark.parametrize("recv", [5, True, [], {}, {"type": "x"}, "", "workers", "http://127.0.0.1:1/"], ids=str)
def test_a_receiver_that_nobody_can_reach_is_stored_and_its_task_can_be_claimed(wire: Wire, recv: object) -> None:
    leaf, root = wire.id("leaf"), wire.id("root")
    for name in (leaf, root):
        wire.create(name)
    assert wire.post(f"/promises/callback/{leaf}", callback(wire, "leaf", "root", recv)).status_code == 201
    wire.complete(leaf)
    assert wire.claim({"id": f"__resume:{root}:{leaf}", "counter": 1}, "p").status_code == 201


def test_a_notification_can_be_claimed_only_before_it_is_sent(wire: Wire) -> None:
    name, group = wire.id("p"), wire.id("group")
    client = wire.stream(group, "here")
    wire.create(name)
    for member in ("here", "away"):
        body = {"id": member, "recv": f"poll://uni@{group}/{member}", "timeout": FAR}
        wire.post(f"/promises/subscribe/{name}", body)
    done = wire.complete(name)
    assert client.next()["promise"] == done
    assert code(wire.claim({"id": f"__notify:{name}:here", "counter": 1}, "p")) == 40307
    claimed = wire.claim({"id": f"__notify:{name}:away", "counter": 1}, "p").json()
    assert (claimed["type"], claimed["promises"]["root"]["data"]) == ("notify", done)


def test_the_first_registration_stays_in_force(wire: Wire) -> None:
    leaf, group = wire.id("leaf"), wire.id("group")
    first, second = wire.stream(group, "first"), wire.stream(group, "second")
    wire.create(leaf)
    for member in ("first", "second"):
        wire.post(f"/promises/subscribe/{leaf}", {"id": "s", "recv": f"poll://uni@{group}/{member}", "timeout": FAR})
    wire.complete(leaf)
    assert first.next()["promise"]["id"] == leaf
    wire.create(wire.id("marker"), {"resonate:invoke": f"poll://uni@{group}/second"})
    assert second.next()["task"]["rootPromiseId"] == wire.id("marker")


def test_a_callback_without_a_time_out_is_never_delivered(wire: Wire) -> None:
    leaf, group = wire.id("leaf"), wire.id("group")
    client, recv = wire.stream(group, "c"), f"poll://uni@{group}/c"
    wire.create(leaf)
    wire.post(f"/promises/subscribe/{leaf}", {"id": "never", "recv": recv})
    wire.post(f"/promises/subscribe/{leaf}", {"id": "ever", "recv": recv, "timeout": FAR})
    wire.complete(leaf)
    assert client.next()["promise"]["id"] == leaf
    wire.create(wire.id("marker"), {"resonate:invoke": recv})
    assert client.next()["type"] == "invoke"
    assert code(wire.claim({"id": f"__notify:{leaf}:never", "counter": 1}, "p")) == 40307


def test_a_promise_whose_time_is_over_takes_no_callback(wire: Wire) -> None:
    name = wire.id("p")
    wire.create(name, timeout=3)
    for path, body in [
        ("callback", callback(wire, "p", "r")),
        ("subscribe", {"id": "s", "recv": "default", "timeout": FAR}),
    ]:
        added = wire.post(f"/promises/{path}/{name}", body)
        assert (added.status_code, added.json()["callback"]) == (200, None)
        assert added.json()["promise"]["state"] == "REJECTED_TIMEDOUT"


def test_a_time_out_tells_its_subscribers_without_being_read(wire: Wire) -> None:
    name, group, timeout = wire.id("sleep"), wire.id("group"), int(time.time() * 1000) + 1000
    client = wire.stream(group, "c")
    wire.create(name, {"resonate:timeout": "true"}, timeout=timeout)
    body = {"id": "s", "recv": f"poll://uni@{group}/c", "timeout": FAR}
    assert wire.post(f"/promises/subscribe/{name}", body).status_code == 201
    told = client.next()["promise"]
    assert (told["id"], told["state"], told["completedOn"]) == (name, "RESOLVED", timeout)


def test_a_resume_whose_root_is_not_there_has_no_data(wire: Wire) -> None:
    leaf, root = wire.id("leaf"), wire.id("root")
    wire.create(leaf)
    wire.post(f"/promises/callback/{leaf}", callback(wire, "leaf", "root"))
    wire.complete(leaf)
    claimed = wire.claim({"id": f"__resume:{root}:{leaf}", "counter": 1}, "p").json()["promises"]
    assert claimed["root"] == {"data": None, "href": f"{wire.url}/promises/{root}", "id": root}
    assert claimed["leaf"]["data"]["id"] == leaf


def test_a_resume_of_a_root_that_is_completed_is_not_sent(wire: Wire) -> None:
    leaf, root, group = wire.id("leaf"), wire.id("root"), wire.id("group")
    client = wire.stream(group, "w")
    for name in (leaf, root):
        wire.create(name)
    wire.post(f"/promises/callback/{leaf}", callback(wire, "leaf", "root", f"poll://any@{group}/w"))
    wire.complete(root)
    wire.complete(leaf)
    wire.create(wire.id("marker"), {"resonate:invoke": f"poll://any@{group}"})
    assert client.next()["task"]["rootPromiseId"] == wire.id("marker")
    assert code(wire.claim({"id": f"__resume:{root}:{leaf}", "counter": 1}, "p")) == 40307


def test_ids_that_make_the_same_name_are_kept_apart(wire: Wire) -> None:
    pairs = [(wire.id("a"), f"b:{wire.id('c')}"), (f"{wire.id('a')}:b", wire.id("c"))]
    client = wire.stream(wire.id("group"), "w")
    for root, leaf in pairs:
        wire.create(root)
        wire.create(leaf)
        body = {"rootPromiseId": root, "recv": f"poll://any@{wire.id('group')}/w", "timeout": FAR}
        assert wire.post(f"/promises/callback/{leaf}", body).status_code == 201
    for _, leaf in pairs:
        wire.complete(leaf)
    tasks = [client.next()["task"] for _ in pairs]
    assert [task["rootPromiseId"] for task in tasks] == [root for root, _ in pairs]
    for task, (_, leaf) in zip(tasks, pairs, strict=True):
        assert wire.claim(task, "p").json()["promises"]["leaf"]["id"] == leaf


def test_trace_headers_of_a_callback_travel_with_its_message(wire: Wire) -> None:
    leaf, group = wire.id("leaf"), wire.id("group")
    client = wire.stream(group, "c")
    wire.create(leaf)
    body = {"id": "s", "recv": f"poll://uni@{group}/c", "timeout": FAR}
    wire.post(f"/promises/subscribe/{leaf}", body, headers={"traceparent": "00-1-2-01"})
    wire.complete(leaf)
    message = client.next()
    assert (list(message), message["head"]) == (["head", "promise", "type"], {"traceparent": "00-1-2-01"})
