"""The gateway over real HTTP: keys, bounded waits, many callers, a server that is gone, and requests that mean harm."""

import contextlib
import json
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest
import requests
from async_rpc_stage import DEADLINE, Stage

from demo.processes import Child, LocalServer

ANSWERS = {"await-chain": 3, "detached-chain": "detached-chain started", "fan-out-workflow": 3}
README = Path(__file__).resolve().parent.parent / "README.md"
KEY_RULE = "expected 1 to 64 characters of A-Z a-z 0-9 _ -, not only digits"


@pytest.fixture
def stage(server: LocalServer, start: Callable[..., Child]) -> Iterator[Stage]:
    with Stage(server, start) as stage:
        yield stage


def test_the_curl_commands_of_the_readme_answer_as_it_says_and_a_key_is_part_of_the_id(stage: Stage) -> None:
    stage.gateway()
    stage.services("abcdefghi")
    commands = re.findall(r"^(curl .*http://127.0.0.1:5000/[\w-]+) +# (\{.*?\})", README.read_text(), re.MULTILINE)
    assert len(commands) == 3
    for command, expected in commands:
        words = shlex.split(command.replace("http://127.0.0.1:5000", stage.url))
        output = subprocess.run([*words, "--silent"], capture_output=True, check=True, timeout=DEADLINE).stdout
        assert json.loads(output) == json.loads(expected)
    for route, message in ANSWERS.items():
        for key, promise in ((None, route), ("my-key_1", f"{route}.my-key_1")):
            answer = stage.post(route, key)
            assert (answer.status_code, answer.json()) == (200, {"message": message})
            assert answer.headers["Promise-Id"] == promise


def test_fifty_callers_of_each_route_with_keys_of_their_own_all_get_answers_and_exactly_one_run_each(
    stage: Stage,
) -> None:
    stage.gateway()
    nodes = dict(zip("abcdefghi", stage.services("abcdefghi"), strict=True))
    keys = [f"k{n}" for n in range(50)]
    posts = {(route, key): stage.begin_post(route, key) for key in keys for route in ANSWERS}
    answers = {call: post.result(DEADLINE) for call, post in posts.items()}
    assert {call: (a.status_code, a.json()) for call, a in answers.items()} == {
        (route, key): (200, {"message": message}) for key in keys for route, message in ANSWERS.items()
    }
    nodes["f"].wait_for("cog ends the chain with 3", times=50)
    for letter, function in zip(
        "abcdefghi", ("foo", "bar", "baz", "qux", "quz", "cog", "zim", "rax", "dop"), strict=True
    ):
        runs = [match[1] for line in nodes[letter].lines if (match := re.search(rf"{function} runs as (\S+)", line))]
        assert len(runs) == len(set(runs)) == 50, function


def test_twenty_callers_of_one_key_share_one_run(stage: Stage) -> None:
    stage.gateway()
    a, *_ = stage.services("abc")
    answers = [post.result(DEADLINE) for post in [stage.begin_post("await-chain", "same") for _ in range(20)]]
    assert [(a.status_code, a.json()) for a in answers] == [(200, {"message": 3})] * 20
    assert a.count("foo runs as await-chain.same$") == 1


def test_while_fifty_wait_the_next_still_gets_its_answer(stage: Stage) -> None:
    stage.gateway()
    stage.services("ghi")
    waiting = [stage.begin_post("await-chain", f"w{n}") for n in range(50)]  # nobody serves foo
    for n in range(50):
        stage.wait_for_promise(f"await-chain.w{n}", "PENDING")
    began = time.monotonic()
    assert stage.post("detached-chain").status_code == 200
    assert stage.post("fan-out-workflow").json() == {"message": 3}
    assert time.monotonic() - began < 5
    assert not wait(waiting, timeout=0).done
    stage.services("abc")
    assert [post.result(DEADLINE).json() for post in waiting] == [{"message": 3}] * 50


def test_more_callers_than_may_wait_are_sent_away_at_once_with_the_id(stage: Stage) -> None:
    stage.gateway()
    address = ("127.0.0.1", int(stage.url.rpartition(":")[2]))
    callers = [socket.create_connection(address) for _ in range(200)]
    for n, caller in enumerate(callers):
        caller.sendall(b"POST /await-chain HTTP/1.1\r\nHost: x\r\nIdempotency-Key: w%d\r\n\r\n" % n)
    for n in range(200):
        stage.wait_for_promise(f"await-chain.w{n}", "PENDING")
    answer = stage.post("await-chain", "one-more")
    assert answer.status_code == 503
    assert answer.json()["promise_id"] == "await-chain.one-more"
    assert answer.json()["error"].startswith("200 requests wait already; the work goes on")
    assert stage.post("detached-chain").status_code == 200
    assert stage.promise("await-chain.one-more")["state"] == "PENDING"
    for caller in callers:
        caller.close()


def test_a_wait_ends_with_504_and_the_id_and_the_request_sent_again_gets_the_result(stage: Stage) -> None:
    stage.gateway("--wait", "1")
    answer = stage.post("await-chain", "late")
    assert answer.status_code == 504
    assert answer.headers["Promise-Id"] == "await-chain.late"
    assert answer.json() == {
        "error": "no result within 1 s; the work goes on, send the same request again for its result",
        "promise_id": "await-chain.late",
    }
    stage.services("abc")
    stage.wait_for_promise("await-chain.late", "RESOLVED")
    assert stage.post("await-chain", "late").json() == {"message": 3}


def test_a_server_that_is_gone_is_503_at_once_and_the_gateway_recovers_by_itself(stage: Stage) -> None:
    gateway = stage.gateway()
    stage.services("abc")
    stage.server.kill()
    began = time.monotonic()
    answer = stage.post("await-chain", "gone")
    assert time.monotonic() - began < 1
    assert answer.status_code == 503
    assert answer.json() == {"error": f"the Resonate server at {stage.server.url} is not reachable: Failed to connect"}
    stage.server.start()
    assert stage.post("await-chain", "back").json() == {"message": 3}
    assert gateway.running


def test_a_caller_that_waits_while_the_server_is_killed_and_restarted_gets_its_answer(stage: Stage) -> None:
    stage.gateway()
    post = stage.begin_post("await-chain")
    stage.wait_for_promise("await-chain", "PENDING")
    stage.server.kill()
    stage.server.start()
    stage.services("abc")
    assert post.result(DEADLINE).json() == {"message": 3}


def test_wrong_methods_and_unknown_paths_are_405_and_404_as_json(stage: Stage) -> None:
    stage.gateway()
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = requests.request(method, f"{stage.url}/await-chain", timeout=DEADLINE)
        assert answer.status_code == 405
        assert "POST" in answer.headers["Allow"]
        assert answer.json()["error"].startswith(f"{method} /await-chain: ")
    for path in ("", "nothing", "await-chain/", "await-chain/1", "static/gateway.py", "await-chain%00", "%2e%2e/etc"):
        answer = stage.post(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"].startswith("POST /")


def test_a_key_that_cannot_be_part_of_an_id_is_400_and_creates_nothing(stage: Stage) -> None:
    stage.gateway()
    for key in ("", "1", "0012", "a b", "a.b", "a/b", "../x", "a?b", "a%2Fb", "schlüssel", "k" * 65, "k" * 10_000):
        answer = requests.post(f"{stage.url}/await-chain", headers={"Idempotency-Key": key.encode()}, timeout=DEADLINE)
        assert answer.status_code == 400, key
        assert answer.json()["error"].endswith(f"of {len(key.encode())} characters, {KEY_RULE}")
    assert requests.get(f"{stage.server.url}/promises?id=*", timeout=DEADLINE).json()["promises"] == []


POST = b"POST /await-chain HTTP/1.1\r\nHost: x\r\n"
HOSTILE = {
    "10 MB": (POST + b"Content-Length: 10000000\r\n\r\n" + b"x" * 10_000_000, 413),
    "10 MB in chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n989680\r\n" + b"x" * 10_000_000, 413),
    "bad JSON": (POST + b'Content-Type: application/json\r\nContent-Length: 6\r\n\r\n{"arg"', 400),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "length and chunks": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 400),
    "bad chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "newline in key": (POST + b"Idempotency-Key: a\n-b\r\n\r\n", 400),
    "folded key": (POST + b"Idempotency-Key: a\r\n b\r\n\r\n", 400),
    "NUL in key": (POST + b"Idempotency-Key: a\0b\r\n\r\n", 400),
    "bytes that are no UTF-8 in key": (POST + b"Idempotency-Key: \xff\xfe\r\n\r\n", 400),
    "two keys": (POST + b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n", 400),
    "20 kB of headers": (POST + b"Idempotency-Key: " + b"k" * 20_000 + b"\r\n\r\n", 431),
    "dots in path": (b"POST /../../await-chain HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "encoded dots in path": (b"POST /%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "bytes that are no UTF-8 in path": (b"POST /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bad escapes in path": (b"POST /%zz%0d%0a HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "no HTTP": (b"await-chain\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "unknown method": (b"EAT /await-chain HTTP/1.1\r\nHost: x\r\n\r\n", 405),
}


def test_hostile_requests_get_a_clear_status_each_and_the_gateway_goes_on(stage: Stage) -> None:
    gateway = stage.gateway()
    stage.services("abc")
    address = ("127.0.0.1", int(stage.url.rpartition(":")[2]))
    slow = [socket.create_connection(address, DEADLINE) for _ in range(100)]
    for caller in slow:
        caller.sendall(POST + b"Content-Length: 10\r\n\r\n1")  # the rest does not come
    statuses = {}
    for name, (message, _) in HOSTILE.items():
        with socket.create_connection(address, DEADLINE) as caller:
            with contextlib.suppress(ConnectionError):  # it is refused before it is read to its end
                caller.sendall(message)
            statuses[name] = int(caller.recv(4096).split()[1])
    assert statuses == {name: status for name, (_, status) in HOSTILE.items()}
    assert stage.post("await-chain").json() == {"message": 3}
    slow[0].sendall(b"234567890")
    assert slow[0].recv(4096).startswith(b"HTTP/1.1 400 ")
    for caller in slow:
        caller.close()
    assert gateway.running


def test_a_port_in_use_is_one_clear_line_and_exit_1(stage: Stage, children: list[Child]) -> None:
    stage.gateway()
    port = stage.url.rpartition(":")[2]
    second = Child.python("second gateway", "-m", "async_rpc.gateway", "--port", port, env=stage.server.env)
    children.append(second)
    assert second.wait() == 1
    assert second.lines == [f"Error: cannot listen on 127.0.0.1:{port}: Address already in use"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_gateway_ends_clean_with_exit_0(number: signal.Signals, stage: Stage) -> None:
    gateway = stage.gateway()
    gateway.signal(number)
    assert gateway.wait() == 0
    assert len(gateway.lines) == 2, gateway.output


def test_a_second_signal_ends_the_gateway_at_once(stage: Stage) -> None:
    gateway = stage.gateway()
    post = stage.begin_post("await-chain")  # nobody serves foo; a stopping gateway gives it 5 s
    stage.wait_for_promise("await-chain", "PENDING")
    gateway.signal(signal.SIGINT)
    deadline = time.monotonic() + DEADLINE
    while gateway.running:
        gateway.signal(signal.SIGINT)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert gateway.wait() == -signal.SIGINT
    assert "Traceback" not in gateway.output
    with pytest.raises(requests.ConnectionError):
        post.result(DEADLINE)
