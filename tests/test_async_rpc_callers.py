"""What callers of the gateway get while all nine services run, over real HTTP: answers, runs of their own, refusals."""

import contextlib
import http.client
import json
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from async_rpc_stage import DEADLINE, READY, Stage

from local_server.testing import Child, LocalServer

LETTERS = "abcdefghi"
FUNCTIONS = dict(zip(LETTERS, ("foo", "bar", "baz", "qux", "quz", "cog", "zim", "rax", "dop"), strict=True))
ANSWERS = {"await-chain": 3, "detached-chain": "detached-chain started", "fan-out-workflow": 3}
PAGE = Path(__file__).resolve().parent.parent / "async_rpc" / "README.md"
KEY_RULE = "expected 1 to 64 characters of A-Z a-z 0-9 _ -, not only digits"


@pytest.fixture(scope="module")
def server(memory_server: LocalServer) -> LocalServer:
    """One for all tests here, each of which has keys of its own."""
    return memory_server


@pytest.fixture(scope="module")
def stage(server: LocalServer, start_shared: Callable[..., Child]) -> Iterator[Stage]:
    with Stage(server, start_shared) as stage:
        yield stage


@pytest.fixture(scope="module", autouse=True)
def gateway(stage: Stage) -> Child:
    return stage.gateway()


@pytest.fixture(scope="module", autouse=True)
def nodes(stage: Stage) -> dict[str, Child]:
    """A node of each service by its letter."""
    return dict(zip(LETTERS, stage.services(LETTERS), strict=True))


def test_the_curl_commands_of_its_page_answer_as_it_says_and_a_key_is_part_of_the_id(stage: Stage) -> None:
    commands = re.findall(r"^(curl .*http://127.0.0.1:5000/[\w-]+) +# (\{.*?\})", PAGE.read_text(), re.MULTILINE)
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
    stage: Stage, nodes: dict[str, Child]
) -> None:
    keys = [f"fifty-{n}" for n in range(50)]
    posts = {(route, key): stage.begin_post(route, key) for key in keys for route in ANSWERS}
    answers = {call: post.result(DEADLINE) for call, post in posts.items()}
    assert {call: (a.status_code, a.json()) for call, a in answers.items()} == {
        (route, key): (200, {"message": message}) for key in keys for route, message in ANSWERS.items()
    }
    for key in keys:
        stage.wait_for_promise(f"detached-chain.{key}.2.2", "RESOLVED")
    assert nodes["f"].count("ends the chain with") == nodes["f"].count("ends the chain with 3$") >= 50
    for letter, function in FUNCTIONS.items():
        runs = re.findall(rf"{function} runs as (\S+\.fifty-\S+)", nodes[letter].output)
        assert len(runs) == len(set(runs)) == 50, function


def test_twenty_callers_of_one_key_share_one_run(stage: Stage, nodes: dict[str, Child]) -> None:
    answers = [post.result(DEADLINE) for post in [stage.begin_post("await-chain", "same") for _ in range(20)]]
    assert [(a.status_code, a.json()) for a in answers] == [(200, {"message": 3})] * 20
    assert nodes["a"].count("foo runs as await-chain.same$") == 1


def test_a_request_sent_again_after_the_end_gets_the_stored_answer_and_another_key_a_run_of_its_own(
    stage: Stage, nodes: dict[str, Child]
) -> None:
    def runs() -> int:
        return nodes["a"].count(r"foo runs as await-chain\.again-\d$")

    assert stage.post("await-chain", "again-1").json() == {"message": 3}
    began = time.monotonic()
    assert stage.post("await-chain", "again-1").json() == {"message": 3}
    assert time.monotonic() - began < 1
    assert runs() == 1
    assert stage.post("await-chain", "again-2").json() == {"message": 3}
    assert stage.post("await-chain", "again-2").json() == {"message": 3}
    assert runs() == 2


def test_each_link_of_the_detached_chain_returns_a_value_of_its_own(stage: Stage) -> None:
    stage.post("detached-chain", "links")
    for promise in (f"detached-chain.links{end}" for end in ("", ".2", ".2.2")):  # qux, quz, cog
        assert stage.wait_for_promise(promise, "RESOLVED", "REJECTED")["state"] == "RESOLVED"


def test_two_nodes_of_a_group_share_the_work_and_each_call_runs_on_one(
    stage: Stage, nodes: dict[str, Child], start: Callable[..., Child]
) -> None:
    first, second = nodes["b"], start("second b", "-m", "async_rpc.service_b")
    second.wait_for(READY)
    posts = [stage.begin_post("await-chain", f"shared-{n}") for n in range(30)]
    assert [post.result(DEADLINE).status_code for post in posts] == [200] * 30
    runs = [re.findall(r"bar runs as (await-chain\.shared-\S+)", node.output) for node in (first, second)]
    assert sorted(runs[0] + runs[1]) == sorted(f"await-chain.shared-{n}.2" for n in range(30))
    assert runs[0]
    assert runs[1]


def test_wrong_methods_and_unknown_paths_are_405_and_404_as_json(stage: Stage) -> None:
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
    def newest() -> list[str]:
        answer = requests.get(f"{stage.server.url}/promises?id=await-chain*", timeout=DEADLINE)
        return [promise["id"] for promise in answer.json()["promises"]]

    before = newest()
    for key in ("", "1", "0012", "a b", "a.b", "a/b", "../x", "a?b", "a%2Fb", "schlüssel", "k" * 65, "k" * 10_000):
        answer = requests.post(f"{stage.url}/await-chain", headers={"Idempotency-Key": key.encode()}, timeout=DEADLINE)
        assert answer.status_code == 400, key
        assert answer.json()["error"].endswith(f"of {len(key.encode())} characters, {KEY_RULE}")
    assert newest() == before


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
    "no URL": (b"POST http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "unknown method": (b"EAT /await-chain HTTP/1.1\r\nHost: x\r\n\r\n", 405),
}


def test_hostile_requests_get_a_clear_status_each_and_the_gateway_goes_on(stage: Stage, gateway: Child) -> None:
    address = ("127.0.0.1", int(stage.url.rpartition(":")[2]))
    slow = [socket.create_connection(address, DEADLINE) for _ in range(100)]
    for caller in slow:
        caller.sendall(POST + b"Content-Length: 10\r\n\r\n1")  # the rest does not come
    statuses = {}
    for name, (message, _) in HOSTILE.items():
        with socket.create_connection(address, DEADLINE) as caller:
            with contextlib.suppress(ConnectionError):  # it is refused before it is read to its end
                caller.sendall(message)
            answer = http.client.HTTPResponse(caller)
            answer.begin()
            statuses[name] = answer.status
            assert list(json.loads(answer.read())) == ["error"], name
    assert statuses == {name: status for name, (_, status) in HOSTILE.items()}
    gateway.wait_for("no request: 431 Request Header Fields Too Large")
    assert not gateway.count("Traceback|[Ee]xception")
    assert stage.post("await-chain").json() == {"message": 3}
    slow[0].sendall(b"234567890")
    assert slow[0].recv(4096).startswith(b"HTTP/1.1 400 ")
    for caller in slow:
        caller.close()
    assert gateway.running


def test_1500_half_sent_heads_silence_nobody(stage: Stage) -> None:
    address = ("127.0.0.1", int(stage.url.rpartition(":")[2]))
    with contextlib.ExitStack() as stack:
        for _ in range(1500):
            stack.enter_context(socket.create_connection(address, DEADLINE)).sendall(POST)
        assert stage.post("await-chain").json() == {"message": 3}


def test_each_request_is_a_line_of_the_log_with_the_promise_id(stage: Stage, gateway: Child) -> None:
    stage.post("detached-chain", "logged")
    gateway.wait_for(r"POST /detached-chain, detached-chain\.logged: 200 after 0\.\d\d s$")
    requests.get(f"{stage.url}/%0Aforged", timeout=DEADLINE)
    gateway.wait_for(r"GET /%0Aforged, no promise: 404 after 0\.\d\d s$")


def test_a_port_in_use_is_one_clear_line_and_exit_1(stage: Stage, start: Callable[..., Child]) -> None:
    port = stage.url.rpartition(":")[2]
    second = start("second gateway", "-m", "async_rpc.gateway", "--port", port)
    assert second.wait() == 1
    way_out = f"another port: --port {int(port) + 1}"
    assert second.lines == [f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; {way_out}"]
