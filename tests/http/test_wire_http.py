"""HTTP as anybody may speak it: routes, broken requests, large and slow bodies, many requests at once."""

import json
import socket
import threading

import pytest
from wire_client import EventStream, Wire, code

LIMIT = 64 * 2**20  # bytes of a body


def request(method: str, path: str, body: bytes = b"", *headers: str, host: str = "localhost") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    """Return the bytes of a request that creates a promise, its body in chunks."""
    head = b"POST /promises HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


# routes


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"), ("GET", "/promise"), ("GET", "//promises/x"), ("GET", "/tasks"),
        ("GET", "/tasks/claims/x/1"), ("POST", "/"), ("POST", "/promises/x"),
        ("POST", "/schedules/x"), ("POST", "/tasks"), ("POST", "/tasks/steal"), ("PUT", "/promises"),
        ("DELETE", "/promises/x"), ("PATCH", "/schedules/x"), ("GET", "/tasks/claim"), ("GET", "/tasks/heartbeat"),
        ("OPTIONS", "/promises"), ("POST", "/locks/acquire"),
    ],
)  # fmt: skip
def test_an_unknown_route_or_method_is_404_in_plain_text(wire: Wire, method: str, path: str) -> None:
    with wire.connection() as connection:
        connection.send(request(method, path))
        status, headers = connection.head()
        assert (status, headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert connection.read(18) == "404 page not found"


@pytest.mark.parametrize(
    ("method", "path", "location"),
    [
        ("POST", "/promises/", "/promises"), ("POST", "/promises/task/", "/promises/task"),
        ("POST", "/promises/callback", "/promises/callback/"), ("POST", "/promises/subscribe", "/promises/subscribe/"),
        ("POST", "/callbacks/", "/callbacks"), ("POST", "/tasks/claim/", "/tasks/claim"),
        ("POST", "/tasks/heartbeat/", "/tasks/heartbeat"), ("POST", "/schedules/", "/schedules"),
    ],
)  # fmt: skip
def test_a_slash_too_many_or_too_few_is_redirected(wire: Wire, method: str, path: str, location: str) -> None:
    answer = wire.call(method, path, {})
    assert (answer.status_code, answer.headers["Location"]) == (307, location)


@pytest.mark.parametrize("target", ["/promises/%zz", "/promises/%", "/promises/%4", "/promises?id=%zz", "/%f"])
def test_a_broken_escape_is_400_in_plain_text(wire: Wire, target: str) -> None:
    with wire.connection() as connection:
        connection.send(request("GET", target))
        assert connection.answer() == (400, "400 Bad Request")


def test_an_answer_to_head_has_no_body(wire: Wire) -> None:
    with wire.connection() as connection:
        connection.send(request("HEAD", "/promises/x") + request("GET", "/nothing"))
        assert connection.answer(to_head=True)[0] == 404
        assert connection.answer() == (404, "404 page not found")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", None])
def test_the_content_type_does_not_matter(wire: Wire, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert wire.post("/promises", {"id": wire.id("p")}, headers=headers).status_code == 201


def test_header_names_are_read_in_any_case(wire: Wire) -> None:
    with wire.connection() as connection:
        connection.send(request("POST", "/promises", b'{"id":"%b"}' % wire.tag.encode(), "IDEMPOTENCY-key:  k  "))
        status, body = connection.answer()
        assert (status, json.loads(body)["idempotencyKeyForCreate"]) == (201, "k")


# who may ask


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "LocalHost:80", "127.0.0.1:8001", "[::1]:8001"])
def test_the_names_of_this_machine_are_let_in(wire: Wire, host: str) -> None:
    with wire.connection() as connection:
        connection.send(request("GET", "/nothing", host=host))
        assert connection.answer()[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "localhost.evil.example", "127.0.0.1.evil", "",
                                  "[::1", "10.0.0.1", "user@evil"])  # fmt: skip
@pytest.mark.parametrize("poll", [False, True])
def test_a_foreign_host_is_refused_on_both_ports(wire: Wire, host: str, poll: bool) -> None:  # noqa: FBT001 - a case
    with wire.connection(poll=poll) as connection:
        connection.send(request("GET", "/group/id", host=host))
        status, text = connection.answer()
        assert (status, repr(host) in text) == (403, True)


def test_a_request_without_a_host_is_refused_and_one_with_two_too(wire: Wire) -> None:
    with wire.connection() as connection:
        connection.send("GET /promises/x HTTP/1.1\r\n\r\n")
        assert connection.answer()[0] == 403
    with wire.connection() as connection:
        connection.send("GET /promises/x HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.answer()[0] == 400
        assert connection.ended()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://localhost.evil", "https://127.0.0.1:1"])
def test_a_page_of_another_origin_can_write_nothing(wire: Wire, origin: str) -> None:
    refused = wire.post("/promises", {"id": wire.id("p")}, headers={"Origin": origin})
    assert (refused.status_code, refused.headers["Content-Type"]) == (403, "text/plain; charset=utf-8")
    assert code(wire.get(f"/promises/{wire.id('p')}")) == 40400


def test_a_page_of_this_server_can_write(wire: Wire) -> None:
    assert wire.post("/promises", {"id": wire.id("p")}, headers={"Origin": wire.url}).status_code == 201


# bodies


def test_a_body_at_the_limit_is_read_and_one_beyond_is_413_then_business_as_usual(wire: Wire) -> None:
    small = b'{"id":"%b"}' % wire.id("p").encode()
    with wire.connection() as connection:
        connection.send(request("POST", "/promises", small.ljust(LIMIT)))
        assert connection.answer()[0] == 201
        connection.send(request("POST", "/promises", small.ljust(LIMIT + 1)))
        status, text = connection.answer()
        assert (status, str(LIMIT) in text) == (413, True)
        assert connection.ended()
    with wire.connection() as connection:
        connection.send(chunked(*[small.ljust(LIMIT // 4)] * 5))
        assert connection.answer()[0] == 413
        assert connection.ended()
    assert wire.get(f"/promises/{wire.id('p')}").status_code == 200


def test_a_body_may_come_in_chunks(wire: Wire) -> None:
    with wire.connection() as connection:
        connection.send(chunked(b'{"id":', b'"%b' % wire.id("p").encode(), b'"}'))
        status, body = connection.answer()
        assert (status, json.loads(body)["id"]) == (201, wire.id("p"))
        connection.send(request("GET", f"/promises/{wire.id('p')}"))
        assert connection.answer()[0] == 200


def test_a_slow_body_holds_up_nobody(wire: Wire) -> None:
    body = b'{"id":"%b"}' % wire.id("slow").encode()
    with wire.connection() as slow:
        slow.send(request("POST", "/promises", body).removesuffix(body))
        for position in range(len(body)):
            slow.send(body[position : position + 1])
            wire.create(wire.id(f"fast{position}"))
        assert slow.answer()[0] == 201


def test_a_client_that_asks_first_is_told_to_go_on(wire: Wire) -> None:
    body = b'{"id":"%b"}' % wire.id("p").encode()
    with wire.connection() as connection:
        connection.send(request("POST", "/promises", body, "Expect: 100-continue").removesuffix(body))
        assert connection.head()[0] == 100
        connection.send(body)
        assert connection.answer()[0] == 201
    with wire.connection() as connection:
        connection.send(request("POST", "/promises", b"x", "Expect: 100-continue").replace(b": 1\r", b": 99999999\r"))
        assert connection.answer()[0] == 413


# connections


def test_requests_sent_together_are_answered_in_order(wire: Wire) -> None:
    names = [wire.id(str(number)) for number in range(50)]
    with wire.connection() as connection:
        connection.send(b"".join(request("POST", "/promises", json.dumps({"id": name}).encode()) + request("GET", "/x")
                                 for name in names))  # fmt: skip
        for name in names:
            status, body = connection.answer()
            assert (status, json.loads(body)["id"]) == (201, name)
            assert connection.answer()[0] == 404


def test_thousands_of_requests_sent_together_are_all_answered(wire: Wire) -> None:
    count = 3000
    with wire.connection() as connection:
        sender = threading.Thread(
            target=connection.send, args=[request("GET", "/promises/x") + request("GET", "/x") * count]
        )
        sender.start()
        assert [connection.answer()[0] for _ in range(count + 1)] == [404] * (count + 1)
        sender.join()


def test_what_came_before_garbage_is_answered_first(wire: Wire) -> None:
    good = request("POST", "/promises", b'{"id":"%b"}' % wire.tag.encode())
    with wire.connection() as connection:
        connection.send(good + b"garbage\r\n\r\n" + good)
        assert connection.answer()[0] == 201
        assert connection.answer()[0] == 400
        assert connection.ended()
    with wire.connection() as connection:
        connection.send(good + request("POST", "/promises", bytes(LIMIT + 1)))
        assert [connection.answer()[0] for _ in "12"] == [409, 413]
        assert connection.ended()


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"GET /promises/x\r\n\r\n", 403),  # HTTP/0.9, without a host
        (b"GET /promises/a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /x HTTP/3.7\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\n: no name\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n", 400),
        (b"POST /promises HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /promises HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /promises HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST /promises HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
        (b"POST /promises HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n{}", 400),
        (b"POST /promises HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400),
        (b"GET /promises/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 501),
        (b"GET /promises/x HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /promises/" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 40_000 + b"\r\n", 431),
        (b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    ],
)
@pytest.mark.parametrize("poll", [False, True])
def test_what_is_no_request_is_refused_and_the_connection_closed(
    wire: Wire, broken: bytes, status: int, poll: bool  # noqa: FBT001 - a case
) -> None:  # fmt: skip
    with wire.connection(poll=poll) as connection:
        connection.send(broken)
        found, text = connection.answer()
        assert found == (405 if poll and status == 404 else status)
        assert text.count("\n") == 0
        assert connection.ended()


def test_a_header_of_10_000_bytes_is_read(wire: Wire) -> None:
    with wire.connection() as connection:
        connection.send(
            request("POST", "/promises", b'{"id":"%b"}' % wire.tag.encode(), "Idempotency-Key: " + "k" * 10_000)
        )
        status, body = connection.answer()
        assert (status, len(json.loads(body)["idempotencyKeyForCreate"])) == (201, 10_000)


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("HTTP/1.1\r\nHost: localhost", True),
        ("HTTP/1.1\r\nHost: localhost\r\nConnection: close", False),
        ("HTTP/1.0\r\nHost: localhost", False),
        ("HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive", True),
    ],
)
def test_a_connection_stays_open_for_who_wants_it(wire: Wire, line: str, stays: bool) -> None:  # noqa: FBT001 - a case
    with wire.connection() as connection:
        for _ in range(2 if stays else 1):
            connection.send(f"GET /promises/x {line}\r\n\r\n")
            assert connection.answer()[0] == 404
        assert stays or connection.ended()


@pytest.mark.parametrize("size", [0, 4 * 2**20])
def test_a_client_that_has_finished_sending_gets_its_answer(wire: Wire, size: int) -> None:
    body = b'{"id":"%b","param":{"data":"%b"}}' % (wire.id(f"p{size}").encode(), b"x" * size)
    for sent, status in (
        (request("POST", "/promises", body), 201),
        (request("GET", f"/promises/{wire.id(f'p{size}')}"), 200),
    ):
        with wire.connection() as connection:
            connection.send(sent)
            connection.socket.shutdown(socket.SHUT_WR)
            found, text = connection.answer()
            assert (found, json.loads(text).get("param", {}).get("data", "")) == (status, "x" * size)
            assert connection.ended()


def test_clients_that_go_in_the_middle_do_no_harm(wire: Wire) -> None:
    whole = request("POST", "/promises", b'{"id":"%b"}' % wire.tag.encode())
    for length in (0, 1, 20, len(whole) - 1, len(whole)):
        with wire.connection() as connection:
            connection.send(whole[:length])
    with EventStream(wire.poll_url, f"/{wire.tag}/w"):
        pass
    assert code(wire.get(f"/promises/{wire.id('none')}")) == 40400


def test_nothing_is_answered_behind_an_event_stream(wire: Wire) -> None:
    with EventStream(wire.url, f"/poll/{wire.tag}/w") as opened:
        opened.send(request("GET", "/nothing") * 2)
        wire.create(wire.id("p"), {"resonate:invoke": f"poll://any@{wire.tag}"})
        assert opened.next()["type"] == "invoke"
