"""Event streams over the wire: who gets which message, and what becomes of it when a stream closes."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from wire_client import FAR, EventStream, Wire, code, ended_well, until

from local_server.testing import LocalServer


def send(wire: Wire, name: str, address: str, **fields: object) -> str:
    """Create a promise for that address ("G" in it: the test's group); return its id."""
    wire.create(wire.id(name), {"resonate:invoke": address.replace("G", wire.id("group"))}, **fields)
    return wire.id(name)


def stream(wire: Wire, member: str) -> EventStream:
    """Connect a member of the test's group."""
    return wire.stream(wire.id("group"), member)


def root(message: dict[str, dict[str, str]]) -> str:
    """Return the promise that a message is about."""
    return message["task"]["rootPromiseId"]


def test_a_stream_begins_as_in_the_protocol(wire: Wire) -> None:
    opened = stream(wire, "w")
    assert dict(opened.headers) == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "connection": "keep-alive",
        "transfer-encoding": "chunked",
    }


def test_the_api_has_the_streams_too(wire: Wire) -> None:
    with EventStream(wire.url, f"/poll/{wire.id('group')}/a/b") as opened:
        name = send(wire, "p", "poll://uni@G/a%2Fb")
        assert root(opened.next()) == name


def test_the_rest_of_the_path_is_the_id_and_may_be_empty(wire: Wire) -> None:
    group = f"grüppe {wire.tag}"
    with EventStream(wire.poll_url, f"/gr%C3%BCppe%20{wire.tag}/") as opened:
        wire.create(wire.id("p"), {"resonate:invoke": f"poll://any@{group}"})
        assert root(opened.next()) == wire.id("p")


@pytest.mark.parametrize("path", ["/group", "/", "//id"])
def test_a_stream_without_group_or_id_is_refused(wire: Wire, path: str) -> None:
    with EventStream(wire.poll_url, path) as refused:
        assert refused.status == 400
    with EventStream(wire.url, f"/poll{path}") as refused:
        assert refused.status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_a_stream_is_opened_by_get_only(wire: Wire, method: str) -> None:
    with wire.connection(poll=True) as connection:
        connection.send(f"{method} /group/id HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.answer(to_head=method == "HEAD")[0] == 405


def test_the_same_name_again_replaces_the_older_stream(wire: Wire) -> None:
    older = stream(wire, "w")
    newer = stream(wire, "w")
    assert older.ended_cleanly()
    name = send(wire, "p", "poll://any@G")
    assert root(newer.next()) == name


def test_what_was_sent_on_a_replaced_stream_is_sent_again(wire: Wire) -> None:
    older = stream(wire, "w")
    name = send(wire, "p", "poll://any@G")
    first = older.next()
    newer = stream(wire, "w")
    again = newer.next()
    assert (root(again), again["task"]["counter"]) == (name, first["task"]["counter"] + 1)
    assert wire.claim(again["task"], "w").status_code == 201


def test_messages_are_in_ascii(wire: Wire) -> None:
    client = stream(wire, "w")
    name = send(wire, 'ü\u2028\x85\x0b<"日🎲', "poll://any@G")
    assert root(client.next()) == name  # next() refuses any other byte


# who gets it


@pytest.mark.parametrize(
    "address",
    ["poll://G", "poll://any@G", "POLL://ANY@G", "poll://any@G/", "poll://any@G?x=1", "poll://G/w", "poll://any@G/w",
     "poll://uni@G/w", "poll://Uni@G/w", "poll://uni@G/%77", "poll://any@G/absent",
     '{"type":"poll","data":{"cast":"any","group":"G"}}', '{"type":"poll","data":{"group":"G","id":"w"}}',
     ' {"data":{"id":"w","group":"G","cast":"uni"},"type":"poll"}'],
)  # fmt: skip
def test_an_address_leads_to_its_worker(wire: Wire, address: str) -> None:
    client = stream(wire, "w")
    name = send(wire, "p", address)
    message = client.next()
    assert (root(message), message["type"]) == (name, "invoke")


@pytest.mark.parametrize(
    "address",
    ["", "G", "x", "poll://", "poll:///w", "poll://foo@G", "poll://uni@G", "poll://uni@G/", "poll://uni@G/other",
     "poll://other", "poll://any@G:80", "pole://G", "http://127.0.0.1:1/", "https://localhost", "[[[", "{",
     '{"type":"http","data":{"url":"http://127.0.0.1:1/"}}'],
)  # fmt: skip
def test_an_address_of_nobody_makes_a_task_that_is_not_sent_but_can_be_claimed(wire: Wire, address: str) -> None:
    client = stream(wire, "w")
    name = send(wire, "p", address)
    marker = send(wire, "marker", "poll://any@G")
    assert root(client.next()) == marker
    assert wire.claim({"id": f"__invoke:{name}", "counter": 1}, "p").status_code == 201


@pytest.mark.parametrize(
    "tag",
    ["5", "{}", "true", "[]", '"poll://G"', '{"type":"poll"}', '{"type":"","data":{}}', '{"type":5,"data":{}}',
     '{"type":"poll","data":{"group":"G"},"x":1}'],
)  # fmt: skip
def test_json_that_is_no_address_makes_no_task(wire: Wire, tag: str) -> None:
    name = send(wire, "p", tag)
    assert code(wire.claim({"id": f"__invoke:{name}", "counter": 1}, "p")) == 40403


@pytest.mark.parametrize(
    "tag",
    ["null", '{"type":"poll","data":null}', '{"type":"poll","data":{}}', '{"type":"poll","data":{"cast":"all"}}',
     '{"type":"poll","data":{"cast":"all","group":"g"}}', '{"type":"poll","data":{"group":"a@b"}}'],
)  # fmt: skip
def test_a_tag_that_ends_the_official_server_is_refused(wire: Wire, tag: str) -> None:
    promise = {"id": wire.id("p"), "timeout": FAR, "tags": {"resonate:invoke": tag}}
    assert code(wire.post("/promises", promise)) == 40000
    assert code(wire.post("/promises/task", {"promise": promise, "task": {"processId": "w"}})) == 40000
    assert code(wire.get(f"/promises/{wire.id('p')}")) == 40400


def test_default_is_the_group_default(wire: Wire) -> None:
    opened = wire.stream("default", wire.id("w"))
    wire.create(wire.id("p"), {"resonate:invoke": "default"})
    while root(message := opened.next()) != wire.id("p"):
        assert message["type"] == "invoke"  # of another test that left it


def test_the_named_worker_is_preferred_and_any_other_will_do(wire: Wire) -> None:
    one, two = stream(wire, "one"), stream(wire, "two")
    for number in range(3):
        name = send(wire, f"two{number}", "poll://any@G/two")
        assert root(two.next()) == name
    name = send(wire, "one", "poll://any@G/one")
    assert root(one.next()) == name
    two.close()
    # until the server has noticed, it sends to two; what it sent there comes to one in the end
    names = {send(wire, f"late{number}", "poll://any@G/two") for number in range(3)}
    assert names <= {root(one.next()) for _ in range(6)}


def test_work_is_spread_over_the_members_of_a_group(wire: Wire) -> None:
    members = [stream(wire, name) for name in "abc"]
    names = {send(wire, f"p{number}", "poll://any@G") for number in range(6)}
    assert {root(member.next()) for member in members for _ in "12"} == names


def test_a_group_name_is_case_sensitive(wire: Wire) -> None:
    client = stream(wire, "w")
    wire.create(wire.id("p"), {"resonate:invoke": f"poll://any@{wire.id('GROUP')}"})
    marker = send(wire, "marker", "poll://any@G")
    assert root(client.next()) == marker


# waiting for workers


@pytest.mark.parametrize("address", ["poll://any@G", "poll://any@G/absent", "poll://uni@G/w"])
def test_work_waits_for_its_worker_and_is_sent_when_it_connects(wire: Wire, address: str) -> None:
    names = [send(wire, f"p{number}", address) for number in range(3)]
    client = stream(wire, "w")
    assert [root(client.next()) for _ in names] == names


def test_a_notification_waits_for_its_client(wire: Wire) -> None:
    name, group = wire.id("p"), wire.id("group")
    wire.create(name)
    wire.post(f"/promises/subscribe/{name}", {"id": "s", "recv": f"poll://uni@{group}/c", "timeout": FAR})
    done = wire.complete(name)
    assert stream(wire, "c").next() == {"promise": done, "type": "notify"}


def notified(wire: Wire, pid: int | None) -> tuple[EventStream, dict[str, Any]]:
    """Open the stream of a client whose process the server knows as that; it is sent a notification of a promise."""
    name, group, first = wire.id("p"), wire.id("group"), stream(wire, "c")
    until(lambda: pids(wire, group) == [pid])
    wire.create(name)
    wire.post(f"/promises/subscribe/{name}", {"id": "s", "recv": f"poll://uni@{group}/c", "timeout": FAR})
    return first, wire.complete(name)


def pids(wire: Wire, group: str) -> list[int | None]:
    """Return the processes that the server has found behind the streams of a group."""
    groups = {one["name"]: one["workers"] for one in wire.get("/ui/workers").json()["groups"]}
    return [one["pid"] for one in groups.get(group, [])]


def test_a_notification_is_sent_again_when_its_stream_closes_at_once(wire: Wire) -> None:
    first, done = notified(wire, os.getpid())
    assert first.next()["promise"] == done
    first.close()
    assert stream(wire, "c").next()["promise"] == done


def test_a_notification_that_a_client_has_not_read_is_sent_again_on_a_stream_that_replaces_the_first(
    wire: Wire,
) -> None:
    first, done = notified(wire, os.getpid())
    assert first.socket.recv(1, socket.MSG_PEEK)  # it has come
    assert stream(wire, "c").next()["promise"] == done


def test_a_notification_that_a_client_has_read_is_not_sent_again_on_a_stream_that_replaces_the_first(
    wire: Wire,
) -> None:
    first, done = notified(wire, os.getpid())
    assert first.next()["promise"] == done
    second, marker = stream(wire, "c"), send(wire, "marker", "poll://uni@G/c")
    assert root(second.next()) == marker


@pytest.fixture
def proxied(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A server that can see only the process of a proxy."""
    yield from ended_well(LocalServer(None, "--behind-proxy"), request)


def test_a_notification_is_sent_again_on_a_stream_that_replaces_the_first_if_a_proxy_may_have_read_it(
    proxied: LocalServer,
) -> None:
    with closing(Wire(proxied)) as wire:
        first, done = notified(wire, None)
        assert first.next()["promise"] == done
        assert stream(wire, "c").next()["promise"] == done


def test_a_message_that_nobody_claims_is_offered_to_another_when_its_stream_closes(wire: Wire) -> None:
    first = stream(wire, "first")
    name = send(wire, "p", "poll://any@G")
    sent = first.next()["task"]
    second = stream(wire, "second")
    first.close()
    again = second.next()["task"]
    assert again == sent | {"counter": 2}
    assert code(wire.claim(sent, "first")) == 40308
    assert wire.claim(again, "second").json()["promises"]["root"]["id"] == name


def test_a_claimed_task_outlives_the_stream_of_a_living_worker(wire: Wire) -> None:
    first, second = stream(wire, "first"), stream(wire, "second")
    name = send(wire, "p", "poll://uni@G/first")
    task = first.next()["task"]
    assert wire.claim(task, "first").status_code == 201
    first.close()
    marker = send(wire, "marker", "poll://any@G/second")
    assert root(second.next()) == marker
    assert wire.complete(name)["state"] == "RESOLVED"
    assert wire.post("/tasks/complete", {"id": task["id"], "counter": 1}).status_code == 200
