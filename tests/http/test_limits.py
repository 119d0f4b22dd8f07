"""Limits in time, number and bytes: who takes too much is closed and named in the log, and the others are served."""

import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import requests
from wire_client import FAR, Wire, until

from local_server.testing import Child, LocalServer

QUICK = "HEAD_TIME=0.5 BODY_TIME=0.5 IDLE_TIME=0.5 SEND_TIME=0.5 LINGER_TIME=0.1 LOOK_EVERY=0.05 APART=0.1"
MB = 2**20
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST
Start = Callable[..., Wire]


@pytest.fixture
def serve(tmp_path: Path, children: list[Child]) -> Iterator[Start]:
    """Start a server with limits of the test's own, and few descriptors; in the end it must have logged no fault."""
    servers: list[LocalServer] = []
    wires: list[Wire] = []

    def serve(changed: str = "", ulimit: str = "-n 1024") -> Wire:
        script = "import runpy; from local_server.http import limits\n"
        script += "".join(f"limits.{one}\n" for one in changed.split()) + "runpy.run_module('local_server')"
        shell = ["sh", "-c", f'ulimit {ulimit}; exec "$@"', "sh", sys.executable, "-c", script]

        def start(name: str, *argv: str | Path, **options: object) -> Child:
            children.append(Child(name, [*shell, *argv[2:]], **options))
            return children[-1]

        servers.append(LocalServer(tmp_path, start=start))
        wires.append(Wire(servers[-1]))
        wires[-1].child = servers[-1].child
        return wires[-1]

    yield serve
    for wire in wires:
        wire.close()
    for server in servers:
        assert (server.stop(), server.child.count("ERROR|Traceback|Errno")) == (0, 0), server.child.output


def memory(wire: Wire) -> float:
    """Return what the server takes, in MB."""
    return psutil.Process(wire.child.pid).memory_info().rss / MB


def post(body: bytes, length: int | None = None) -> bytes:
    """Return a request that creates a promise, or the beginning of a longer one."""
    return b"POST /promises HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (length or len(body)) + body


# time


def test_who_sends_half_a_head_is_told_so_and_closed(serve: Start) -> None:
    wire = serve(QUICK)
    with wire.connection() as half, wire.connection(poll=True) as other:
        half.send("GET /promises/x HTTP/1.1\r\nHo")
        other.send("GET /g")
        for connection in (half, other):
            status, text = connection.answer()
            assert (status, "no whole head" in text) == (408, True)
            assert connection.ended()
    assert wire.child.wait_for(r"2 connections closed: no whole head of a request in time")


def test_who_sends_half_a_body_is_told_to_send_it_again(serve: Start) -> None:
    wire = serve(QUICK)
    with wire.connection() as half:
        half.send(post(b'{"id":', 99))
        status, text = half.answer()
        assert (status, "found 6 bytes" in text) == (500, True)  # the only status after which the SDK does so
        assert half.ended()
    assert wire.child.wait_for("no whole body of a request in time")


def test_a_body_has_more_time_the_larger_it_is(serve: Start) -> None:
    wire = serve(QUICK + " BODY_RATE=2e6")
    body = b'{"id":"slow"}'.ljust(4 * MB)
    with wire.connection() as slow:
        slow.send(post(b"", len(body)))
        for begin in range(0, len(body), MB // 4):  # in 1.6 s
            time.sleep(0.1)
            slow.send(body[begin : begin + MB // 4])
        assert slow.answer()[0] == 201


def test_who_sends_nothing_is_closed_without_an_answer_that_another_request_could_get(serve: Start) -> None:
    wire = serve(QUICK)
    with wire.connection() as silent, wire.connection() as idle:
        idle.send("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.answer()[0] == 404
        assert silent.ended()
        assert idle.ended()


def test_an_event_stream_and_what_waits_for_an_answer_have_no_limit_in_time(serve: Start) -> None:
    wire = serve(QUICK)
    stream = wire.stream("g", "w")
    for _ in range(4):
        with wire.connection() as silent:
            assert silent.ended()  # the time of a connection that was opened later than the stream is over
    wire.create("p", {"resonate:invoke": "poll://any@g"})
    assert stream.next()["type"] == "invoke"


# number


def test_the_server_raises_its_own_limit_of_open_files(serve: Start) -> None:
    wire = serve(ulimit="-Sn 256")
    soft, hard = psutil.Process(wire.child.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard > 256


@pytest.mark.parametrize("begun", ["", "GET /promises/x HTTP/1.1\r\n"])
def test_1500_connections_that_send_nothing_whole_shut_nobody_out(serve: Start, begun: str) -> None:
    wire = serve()
    stream = wire.stream("g", "w")
    with ExitStack() as stack:
        for number in range(1500):
            connection = stack.enter_context(wire.connection(poll=number % 2 == 0))
            connection.send(begun)
            if number % 100 == 0:
                wire.create(f"p{number}")
        wire.create("p", {"resonate:invoke": "poll://any@g"})
        assert stream.next()["type"] == "invoke"
        assert wire.child.wait_for(r"connections closed: too many connections")


def served(wire: Wire) -> bool:
    """Tell whether a call is answered; the SDK repeats it if its connection is closed."""
    with suppress(requests.ConnectionError):
        return wire.get("/promises/x").status_code == 404
    return False


def test_1500_connections_that_come_at_once_after_a_pause_do_no_harm(serve: Start) -> None:
    wire = serve()
    stream = wire.stream("g", "w")
    wire.child.signal(signal.SIGSTOP)
    with ExitStack() as stack:
        for number in range(1500):
            stack.enter_context(wire.connection(poll=number % 2 == 0))
        wire.child.signal(signal.SIGCONT)
        until(lambda: served(wire))  # the system closes some before anybody can know who sends something
        wire.create("p", {"resonate:invoke": "poll://any@g"})
        assert stream.next()["type"] == "invoke"


def test_520_streams_leave_room_for_calls(serve: Start) -> None:
    wire = serve()
    with ExitStack() as stack:
        streams = []
        for number in range(520):
            connection = stack.enter_context(wire.connection(poll=True))
            connection.send(f"GET /g/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n")
            streams.append(connection)
            if number % 50 == 0:
                wire.create(f"p{number}")
        until(lambda: wire.get("/ui/workers").json())
        for number in range(100):
            wire.create(f"q{number}")
        first = streams[0]
        assert first.head()[0] == 200
        wire.create("p", {"resonate:invoke": "poll://uni@g/0"})
        assert b"invoke" in first.socket.recv(10_000) or b"invoke" in first.socket.recv(10_000)

        def here() -> int:
            shown = wire.get("/ui/workers").json()
            return len(shown["groups"][0]["workers"]) + shown["more"]

        until(lambda: here() == 520)  # the last ones may still be on their way
        assert wire.child.count("closed") == 0


# bytes


def test_200_unfinished_bodies_take_bounded_memory(serve: Start) -> None:
    wire = serve()
    before = memory(wire)
    with ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(wire.connection())
            try:
                connection.send(post(bytes(4 * MB - 100), 4 * MB))
            except OSError:  # it was closed in the middle
                continue
        assert memory(wire) - before < 450
        assert wire.post("/promises", b'{"id":"p"}'.ljust(60 * MB)).status_code == 201
        assert wire.child.wait_for("connections closed: too many bytes of unfinished requests")
    until(lambda: memory(wire) - before < 150)


def test_large_bodies_that_come_at_once_all_get_through_in_bounded_memory(serve: Start) -> None:
    wire = serve(f"RECEIVING={40 * MB}")
    before, most = memory(wire), 0.0

    def send(name: str) -> int:
        """Do as the SDK does: send it again when it was answered with 500, or not at all."""
        for _ in range(100):
            with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                body = {"id": name, "param": {"data": "eHh4" * (4 * MB)}}
                answer = requests.post(f"{wire.url}/promises", json=body, headers={"idempotency-key": "k"}, timeout=30)
                if answer.status_code != 500:
                    return answer.status_code
            time.sleep(0.2)
        return 500

    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(send, f"p{number}") for number in range(6)]
        while not all(one.done() for one in sent):
            most = max(most, memory(wire) - before)
            time.sleep(0.05)
    assert {one.result() for one in sent} <= {200, 201}
    assert most < 150


def test_a_head_without_an_end_is_refused_before_it_is_large(serve: Start) -> None:
    wire = serve("LINGER_TIME=30")
    with wire.connection() as endless:
        endless.send("GET / HTTP/1.1\r\nX: ")
        for _ in range(300):
            endless.send("x" * MB)  # what comes behind the refusal is dropped
        assert endless.answer()[0] == 431
    assert memory(wire) < 200


def test_a_client_that_does_not_read_its_answers_is_sent_no_more_and_closed(serve: Start) -> None:
    wire = serve(QUICK)
    wire.create("large", param={"data": "eHh4" * MB})
    before = memory(wire)
    with wire.connection() as deaf:
        deaf.send("GET /promises/large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
        until(lambda: wire.child.count("closed: the client took nothing of what it was sent"))
        assert memory(wire) - before < 100


def subscribe(wire: Wire, count: int) -> list[str]:
    """Create promises whose ends are told to the client c of group g."""
    names = [f"p{number:02}" for number in range(count)]
    for name in names:
        wire.create(name)
        wire.post(f"/promises/subscribe/{name}", {"id": "s", "recv": "poll://uni@g/c", "timeout": FAR})
    return names


def test_a_stream_that_is_not_read_is_cut_and_the_next_one_is_sent_all_that_was_not_taken(serve: Start) -> None:
    wire = serve()
    names = subscribe(wire, 200)
    before = memory(wire)
    wire.stream("g", "c")
    for name in names:
        wire.complete(name, data="eHh4" * (MB // 42))
    assert wire.child.wait_for("1 connections closed: an event stream whose client did not read")
    until(lambda: memory(wire) - before < 100)

    client = wire.stream("g", "c")  # one that reads gets more at once than one that does not may be sent
    assert [client.next()["promise"]["id"] for _ in names] == names
    assert wire.child.count("closed: an event stream") == 1


def test_large_messages_wait_for_a_stream_to_be_read_and_take_no_memory_meanwhile(serve: Start) -> None:
    wire = serve("STALL_TIME=0.1 LOOK_EVERY=0.05 HEAD_TIME=2")
    names = subscribe(wire, 20)
    before = memory(wire)
    client = wire.stream("g", "c")
    for name in names:
        wire.complete(name, data="eHh4" * MB)
    with wire.connection() as silent:
        assert silent.ended()  # after many times the stream's
    assert memory(wire) - before < 50
    assert [client.next()["promise"]["id"] for _ in names] == names


def test_a_stream_that_is_replaced_in_the_middle_of_a_message_does_not_end_as_if_that_were_whole(serve: Start) -> None:
    wire = serve()
    names = subscribe(wire, 1)
    first = wire.stream("g", "c")
    wire.complete(names[0], data="eHh4" * (5 * MB))
    second = wire.stream("g", "c")
    assert second.next()["promise"]["id"] == names[0]
    received = b""
    with suppress(ConnectionResetError):
        while data := first.socket.recv(MB):
            received = data
    assert not received.endswith(b"0\r\n\r\n")  # the chunk that ends a stream


def test_a_stream_that_has_little_to_take_is_not_cut_however_long_it_takes(serve: Start) -> None:
    wire = serve(QUICK + " STALL_TIME=0.1")
    subscribe(wire, 2)
    client = wire.stream("g", "c")
    for name in ("p00", "p01"):
        wire.complete(name, data="eHh4" * (MB * 7 // 8))
    for _ in range(2):
        with wire.connection() as silent:
            assert silent.ended()  # after many times the stream's
    assert [client.next()["promise"]["id"] for _ in "12"] == ["p00", "p01"]


def test_a_server_whose_streams_are_not_read_stops_on_a_signal(serve: Start) -> None:
    wire = serve()
    wire.stream("g", "c")
    wire.create("p")
    wire.post("/promises/subscribe/p", {"id": "s", "recv": "poll://uni@g/c", "timeout": FAR})
    wire.complete("p", data="eHh4" * (5 * MB))
    assert wire.child.stop(10) == 0


# faults


def test_600_streams_that_are_reset_at_once_leave_no_traceback(serve: Start) -> None:
    wire = serve(ulimit="-n 4096")
    for path in ("/g/w{}", "/poll/g/v{}"):
        for number in range(600):
            with wire.connection(poll=path[1] == "g") as client:
                client.send(f"GET {path.format(number)} HTTP/1.1\r\nHost: localhost\r\n\r\n")
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    wire.create("p")
    assert until(lambda: len(psutil.Process(wire.child.pid).net_connections()) < 10)
    assert wire.child.count("Traceback|ERROR") == 0
