"""The gateway while services or the server are missing: bounded waits, too many callers, and how all processes end."""

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from threading import Thread

import pytest
import requests
from async_rpc_stage import DEADLINE, Stage
from resonate.stores import RemoteStore
from wire_client import until

from async_rpc.groups import Groups
from local_server.testing import Child, LocalServer

PAYS = """
@resonate.register
def baz(ctx):
    return (yield ctx.rfc("pay").options(target="payments"))
"""


@pytest.fixture
def stage(server: LocalServer, start: Callable[..., Child]) -> Iterator[Stage]:
    with Stage(server, start) as stage:
        yield stage


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
    stage.service("b", "--delay", "2")
    answer = stage.post("await-chain", "late")
    assert answer.status_code == 504
    assert answer.headers["Promise-Id"] == "await-chain.late"
    assert answer.json() == {
        "error": "no result within 1 s: nobody serves service-a, service-c (uv run a, uv run c); "
        "the work goes on, send the same request again for its result",
        "promise_id": "await-chain.late",
    }
    stage.services("ac")
    stage.wait_for_promise("await-chain.late", "RESOLVED")
    assert stage.post("await-chain", "late").json() == {"message": 3}
    slow = stage.post("await-chain", "slow").json()["error"]
    assert slow.startswith("no result within 1 s: service-a, service-b, service-c take longer; the work goes on")


def test_a_504_also_names_a_group_that_is_no_part_of_the_chain_but_for_which_a_call_of_it_waits(
    stage: Stage, tmp_path: Path
) -> None:
    stage.gateway("--wait", "1")
    _, b = stage.services("ab")
    stage.script(tmp_path / "c.py", "service-c", PAYS)
    stage.begin_post("await-chain")
    stage.wait_for_promise("await-chain.2.2.1", "PENDING")
    told = stage.post("await-chain").json()["error"]
    assert told.startswith("no result within 1 s: nobody serves payments; the work goes on")
    b.kill()
    told = stage.post("await-chain").json()["error"]
    assert told.startswith("no result within 1 s: nobody serves service-b (uv run b), payments; the work goes on")


def test_of_a_server_that_does_not_tell_who_works_for_it_nothing_is_said(tmp_path: Path) -> None:
    answers = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))  # 404 for /ui, as the official one
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as official:
        Thread(target=official.serve_forever, daemon=True).start()
        store = RemoteStore("http://127.0.0.1", str(official.server_port))
        assert Groups(store).missing(("service-a",), grace=60) == []
        assert Groups(store).awaited("await-chain") == []
        official.shutdown()


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


def test_the_gateway_is_killed_while_it_waits_and_the_request_sent_again_attaches(stage: Stage) -> None:
    gateway = stage.gateway()
    a, c = stage.services("ac")
    b = stage.service("b", "--delay", "3")
    post = stage.begin_post("await-chain")
    stage.wait_for_promise("await-chain.2.1", "PENDING")
    gateway.kill()
    assert post.exception(DEADLINE) is not None
    stage.gateway()
    assert stage.post("await-chain").json() == {"message": 3}
    assert [a.count("foo runs"), b.count("bar runs"), c.count("baz runs")] == [1, 1, 1]


def test_the_gateway_is_killed_before_cog_runs_and_cog_runs(stage: Stage) -> None:
    gateway = stage.gateway()
    stage.services("de")
    note = "nobody serves service-f (uv run f)"
    assert stage.post("detached-chain").json() == {"message": "detached-chain started", "note": note}
    gateway.kill()
    f = stage.service("f")
    f.wait_for("cog ends the chain with 3", timeout=DEADLINE)
    assert f.count("cog runs as") == 1


def test_a_service_ends_clean_with_exit_0(stage: Stage) -> None:
    nodes = stage.services("abcdefghi")
    for node, number in zip(nodes, cycle([signal.SIGINT, signal.SIGTERM]), strict=False):
        node.signal(number)
    assert [node.wait() for node in nodes] == [0] * 9
    assert [len(node.lines) for node in nodes] == [2] * 9, [node.output for node in nodes]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_gateway_ends_clean_with_exit_0(number: signal.Signals, stage: Stage) -> None:
    gateway = stage.gateway()
    gateway.signal(number)
    assert gateway.wait() == 0
    assert len(gateway.lines) == 3, gateway.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopping_gateway_answers_the_request_in_hand_and_accepts_no_other(
    number: signal.Signals, stage: Stage
) -> None:
    def accepts() -> bool:
        try:
            return stage.post("nothing", timeout=0.5).status_code == 404
        except requests.Timeout:
            return False

    gateway = stage.gateway()
    stage.services("ac")
    stage.service("b", "--delay", "2")
    post = stage.begin_post("await-chain")
    stage.wait_for_promise("await-chain.2.1", "PENDING")
    gateway.signal(number)
    gateway.wait_for("^gateway/[-0-9a-f]{36} is stopping$")
    until(lambda: not accepts())
    assert not post.done()
    assert post.result(DEADLINE).json() == {"message": 3}
    assert gateway.wait() == 0
    told = gateway.output.partition(" is stopping\n")[2].splitlines()
    assert all(" INFO in web: " in line for line in told)
    assert " POST /await-chain, await-chain: 200 after " in told[-1]


def test_a_gateway_that_cannot_answer_within_5_s_says_so_and_ends_with_1(stage: Stage) -> None:
    gateway = stage.gateway()
    post = stage.begin_post("await-chain")  # nobody serves foo
    stage.wait_for_promise("await-chain", "PENDING")
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 1
    told = ": could not finish the step in hand within 5 s, it is left to another process"
    assert gateway.lines[-1].endswith(told)
    with pytest.raises(requests.ConnectionError):
        post.result(DEADLINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_gateway_at_once(number: signal.Signals, stage: Stage) -> None:
    gateway = stage.gateway()
    post = stage.begin_post("await-chain")  # nobody serves foo
    stage.wait_for_promise("await-chain", "PENDING")
    gateway.signal(number)
    gateway.wait_for("^gateway/[-0-9a-f]{36} is stopping$")
    gateway.signal(number)
    assert gateway.wait(2) == -number
    assert re.fullmatch("gateway/[-0-9a-f]{36} is stopping", gateway.lines[-1])
    with pytest.raises(requests.ConnectionError):
        post.result(DEADLINE)
