"""Requests that the server of the SDK reads in a way of its own, that of Go: here they mean the same."""

import json

import pytest
from wire_client import FAR, EventStream, Wire, code

GO = [  # body, and what is shown of it
    ('{"id":"ID","timeout":7,"timeout":null}', {"timeout": 7}),
    ('{"id":"ID","id":null}', {}),
    ('{"id":"ID","timeout":7,"TIMEOUT":null,"timeout":8}', {"timeout": 8}),
    ('{"id":"ID","param":{"data":"eA=="},"param":null}', {"param": {"data": "eA=="}}),
    ('{"id":"ID","param":{"data":"eA=="},"param":{"headers":{"a":"b"}}}',
     {"param": {"headers": {"a": "b"}, "data": "eA=="}}),
    ('{"id":"ID","param":{"headers":{"a":"b"}},"Param":{"headers":{"c":"d"}}}',
     {"param": {"headers": {"a": "b", "c": "d"}}}),
    ('{"id":"ID","param":{"data":"eA==","data":null}}', {}),
    ('{"id":"ID","tags":{"a":"1","b":"2"},"tags":{"b":"3","c":null}}', {"tags": {"a": "1", "b": "3", "c": ""}}),
    ('{"id":"ID","tags":{"a":"1"},"tags":null}', {}),
    ('{"id":"ID","tags":{"a":"1"},"tags":null,"tags":{"b":"2"}}', {"tags": {"b": "2"}}),
    ('{"id":"ID","tags":{"timeout":"1","timeout":null}}', {"tags": {"timeout": ""}}),
    ('{"id" :"ID","timeout" :7,"timeout"\n:null}', {"timeout": 7}),
    ('{"id":"ID","tags":{"a":"\\":"},"timeout":7,"timeout":null}', {"tags": {"a": '":'}, "timeout": 7}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "shown"), GO)
def test_a_field_that_comes_twice_is_added_to_the_first_as_in_go(
    wire: Wire, body: str, shown: dict[str, object]
) -> None:
    created = wire.post("/promises", body.replace('"ID"', f'"{wire.tag}"'))
    assert created.status_code == 201, created.text
    found = {key: value for key, value in created.json().items() if key != "createdOn"}
    assert found == {"id": wire.tag, "state": "PENDING", "param": {}, "value": {}, "timeout": 0} | shown


def test_a_field_that_comes_twice_below_another_is_added_too(wire: Wire) -> None:
    body = '{"promise":{"id":"ID","timeout":7},"task":{"processId":"p"},"promise":{"timeout":null,"tags":{"a":"b"}}}'
    created = wire.post("/promises/task", body.replace('"ID"', f'"{wire.tag}"')).json()["promise"]
    assert (created["timeout"], created["tags"]) == (7, {"a": "b"})


def test_of_repeated_headers_the_first_counts(wire: Wire) -> None:
    body = b'{"id":"%b"}' % wire.tag.encode()
    with wire.connection() as connection:
        connection.send(
            b"POST /promises HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: one\r\nidempotency-key: two\r\n"
            b"Strict: true\r\nStrict: nonsense\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        status, text = connection.answer()
        assert (status, json.loads(text)["idempotencyKeyForCreate"]) == (201, "one")


def test_an_empty_task_counter_is_none(wire: Wire) -> None:
    assert wire.post("/promises", {"id": wire.id("p")}, headers={"task-counter": ""}).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/promises/", 40400), ("PATCH", "/promises/", 40400), ("POST", "/promises/callback/", 40000),
        ("POST", "/promises/subscribe/", 40000), ("GET", "/schedules/", 40401), ("DELETE", "/schedules/", 40401),
        ("GET", "/tasks/claim/", 40000), ("GET", "/tasks/complete//1", 40000),
    ],
)  # fmt: skip
def test_an_empty_id_in_a_path_is_an_error_in_json(wire: Wire, method: str, path: str, expected: int) -> None:
    body = {"state": "RESOLVED", "id": "x", "rootPromiseId": "r", "recv": "default", "timeout": FAR}
    assert code(wire.call(method, path, body)) == expected


@pytest.mark.parametrize("action", ["claim", "complete", "drop", "heartbeat"])
def test_a_task_by_its_href_needs_more_than_the_action(wire: Wire, action: str) -> None:
    answer = wire.get(f"/tasks/{action}")
    assert (answer.status_code, answer.text) == (404, "404 page not found")


@pytest.mark.parametrize("path", ["//GROUP/w", "///GROUP/w", "/GROUP/w"])
def test_slashes_before_the_group_do_not_matter_on_the_port_of_the_streams(wire: Wire, path: str) -> None:
    with EventStream(wire.poll_url, path.replace("GROUP", wire.tag)) as stream:
        wire.create(wire.id("p"), {"resonate:invoke": f"poll://uni@{wire.tag}/w"})
        assert stream.next()["type"] == "invoke"


@pytest.mark.parametrize("path", ["/grüppe-TAG/日🎲", "/gr%C3%BCppe-TAG/%E6%97%A5🎲"])
def test_a_path_may_be_raw_utf_8(wire: Wire, path: str) -> None:
    with EventStream(wire.poll_url, path.replace("TAG", wire.tag)) as stream:
        assert stream.status == 200
        wire.create(wire.id("p"), {"resonate:invoke": f"poll://any@grüppe-{wire.tag}"})
        assert stream.next()["type"] == "invoke"
    with wire.connection() as connection:
        connection.send(f"GET /promises/日-{wire.tag} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, text = connection.answer()
        assert (status, f"promise 日-{wire.tag}" in text) == (404, True)


def test_a_trace_of_a_promise_with_its_task_travels_with_the_message_that_is_sent_later(wire: Wire) -> None:
    promise = {"id": wire.id("p"), "timeout": FAR, "tags": {"resonate:invoke": f"poll://any@{wire.tag}"}}
    body = {"promise": promise, "task": {"processId": "p", "ttl": 0}}
    created = wire.post("/promises/task", body, headers={"traceparent": "00-a", "tracestate": "b"})
    assert created.json()["task"]["counter"] == 1
    message = wire.stream(wire.tag, "w").next()
    assert (message["task"]["counter"], message["head"]) == (2, {"traceparent": "00-a", "tracestate": "b"})


@pytest.mark.parametrize("poll", [False, True])
def test_http_1_0_needs_no_host(wire: Wire, poll: bool) -> None:  # noqa: FBT001 - a case
    with wire.connection(poll=poll) as connection:
        connection.send(f"GET /{wire.tag}/x HTTP/1.0\r\n\r\n")
        assert connection.head()[0] == (200 if poll else 404)


def test_http_1_0_with_a_foreign_host_is_refused(wire: Wire) -> None:
    with wire.connection() as connection:
        connection.send("GET /promises/x HTTP/1.0\r\nHost: evil.example\r\n\r\n")
        assert connection.answer()[0] == 403
