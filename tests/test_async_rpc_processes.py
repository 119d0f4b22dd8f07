"""The claims of the async RPC example over real processes, real HTTP and kill -9; what is retried and what is not."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from async_rpc_stage import DEADLINE, Stage
from wire_client import call

from local_server.testing import Child, LocalServer

PLAIN = """
@resonate.register
def bar(ctx):
    print(f"bar runs at {time.monotonic()}", flush=True)
    if ctx.info.attempt < 3:
        raise ValueError("not yet")
    return 2
"""

GENERATOR = """
@resonate.register
def bar(ctx):
    print(f"bar runs as {ctx.id}", flush=True)
    yield ctx.sleep(0)
    raise TimeoutError("no luck")  # not to be taken for the end of the wait
"""

OWN_CLASS = """
class Trouble(Exception):
    pass

@resonate.register
def bar(ctx):
    yield ctx.sleep(0)
    raise Trouble("only this file knows me")
"""


@pytest.fixture(scope="module")
def server(memory_server: LocalServer) -> LocalServer:
    """One for all tests here, each of which has a key of its own."""
    return memory_server


@pytest.fixture(scope="module")
def gateway(server: LocalServer, start_shared: Callable[..., Child]) -> str:
    """The address of a gateway that all tests here use."""
    stage = Stage(server, start_shared)
    stage.gateway()
    return stage.url


@pytest.fixture
def stage(server: LocalServer, start: Callable[..., Child], gateway: str) -> Iterator[Stage]:
    with Stage(server, start, gateway) as stage:
        yield stage


def test_service_b_is_killed_in_its_sleep_and_a_new_node_resumes_at_the_end_of_the_sleep(stage: Stage) -> None:
    a, _ = stage.services("ac")
    b = stage.service("b", "--delay", "4")
    post = stage.begin_post("await-chain", "sleep")
    sleep = stage.wait_for_promise("await-chain.sleep.2.1", "PENDING")
    b.kill()
    b = stage.service("b")
    assert post.result(DEADLINE).json() == {"message": 3}
    late = stage.wait_for_promise("await-chain.sleep", "RESOLVED")["completedOn"] - sleep["timeout"]
    assert 0 <= late < 3000, f"answered {late} ms after the end of the sleep"
    assert a.count("foo runs as await-chain.sleep$") == 1
    assert b.count("bar runs as await-chain.sleep.2$") == 1


def test_no_service_b_is_there_at_the_end_of_the_sleep_and_the_next_one_resumes_at_once(stage: Stage) -> None:
    stage.services("ac")
    b = stage.service("b", "--delay", "1")
    post = stage.begin_post("await-chain", "nobody")
    stage.wait_for_promise("await-chain.nobody.2.1", "PENDING")
    b.kill()
    stage.wait_for_promise("await-chain.nobody.2.1", "RESOLVED")
    stage.service("b")
    began = time.monotonic()
    assert post.result(DEADLINE).json() == {"message": 3}
    assert time.monotonic() - began < 3


def test_the_detached_chain_returns_while_service_d_is_down_and_runs_when_it_comes(stage: Stage) -> None:
    began = time.monotonic()
    assert stage.post("detached-chain", "without-d").status_code == 200
    assert time.monotonic() - began < 2
    f, *_ = stage.services("fed")
    stage.wait_for_promise("detached-chain.without-d.2.2", "RESOLVED")
    assert f.count("cog runs as detached-chain.without-d.2.2$") == 1
    assert f.count("ends the chain with") == f.count("ends the chain with 3$") > 0


def test_rax_and_dop_overlap_in_time(stage: Stage) -> None:
    stage.service("g")
    stage.service("h", "--delay", "2")
    stage.service("i", "--delay", "2")
    assert stage.post("fan-out-workflow", "overlap").json() == {"message": 3}
    rax, dop = (stage.promise(f"fan-out-workflow.overlap.{n}") for n in (2, 3))
    overlap = min(rax["completedOn"], dop["completedOn"]) - max(rax["createdOn"], dop["createdOn"])
    assert overlap >= 1900, f"both ran for {overlap} ms"


def test_zim_is_killed_while_its_branches_run_and_they_are_not_run_again(stage: Stage) -> None:
    g = stage.service("g")
    h, i = (stage.service(letter, "--delay", "3") for letter in "hi")
    post = stage.begin_post("fan-out-workflow", "zim")
    stage.wait_for_promise("fan-out-workflow.zim.2.1", "PENDING")
    stage.wait_for_promise("fan-out-workflow.zim.3.1", "PENDING")
    g.kill()
    stage.service("g")
    assert post.result(DEADLINE).json() == {"message": 3}
    assert [h.count("rax runs"), i.count("dop runs")] == [1, 1]


def test_the_right_arguments_keep_service_d_alive_and_wrong_ones_end_it_until_the_promise_is_canceled(
    stage: Stage,
) -> None:
    stage.post("detached-chain", "right")  # arguments that the gateway chooses, whatever the request holds
    d = stage.service("d")
    stage.wait_for_promise("detached-chain.right", "RESOLVED")
    call(stage.server, "wrong", "any@service-d", "qux", 1, 2, 3)
    assert d.wait(DEADLINE) == 1
    assert "TypeError" in d.output
    stage.cancel("wrong")
    d = stage.service("d")
    stage.post("detached-chain", "after")
    stage.wait_for_promise("detached-chain.after", "RESOLVED")
    assert d.running


def test_a_flaky_leaf_under_a_retry_policy_fails_twice_and_then_succeeds(stage: Stage) -> None:
    stage.services("ab")
    c = stage.service("c", "--failures", "2")
    assert stage.post("await-chain", "flaky").json() == {"message": 3}
    assert re.findall(r"attempt (\d+)$", c.output, re.MULTILINE) == ["1", "2", "3"]
    assert c.count("baz runs") == 1


def test_a_rejection_is_stored_and_only_another_key_runs_again(stage: Stage) -> None:
    a, b = stage.services("ab")
    c = stage.service("c", "--failures", "6")
    rejected = {"error": "ConnectionError: lookup got no answer in attempt 6", "promise_id": "await-chain.first-try"}
    for _ in range(2):
        answer = stage.post("await-chain", "first-try")
        assert (answer.status_code, answer.json()) == (500, rejected)
    assert [a.count("foo runs"), b.count("bar runs"), c.count("baz runs")] == [1, 1, 1]
    c.stop()
    stage.service("c")
    assert stage.post("await-chain", "first-try").status_code == 500
    assert stage.post("await-chain", "second-try").json() == {"message": 3}


def test_a_generator_function_is_not_retried(stage: Stage, tmp_path: Path) -> None:
    stage.service("a")
    b = stage.script(tmp_path / "generator.py", "service-b", GENERATOR)
    answer = stage.post("await-chain", "generator")
    assert (answer.status_code, answer.json()["error"]) == (500, "TimeoutError: no luck")
    assert b.count("bar runs") == 1


def test_a_plain_function_is_retried_after_2_and_4_seconds(stage: Stage, tmp_path: Path) -> None:
    stage.service("a")
    b = stage.script(tmp_path / "plain.py", "service-b", PLAIN)
    assert stage.post("await-chain", "plain").json() == {"message": 3}
    first, second, third = (float(at) for at in re.findall(r"bar runs at (\S+)", b.output))
    assert second - first == pytest.approx(2, abs=0.5)
    assert third - second == pytest.approx(4, abs=0.5)


def test_a_kill_starts_the_count_of_a_plain_function_anew(stage: Stage, tmp_path: Path) -> None:
    stage.service("a")
    post = stage.begin_post("await-chain", "killed")
    b = stage.script(tmp_path / "plain.py", "service-b", PLAIN)
    b.wait_for("bar runs", times=2)
    b.kill()
    b = stage.script(tmp_path / "plain.py", "service-b", PLAIN)
    assert post.result(DEADLINE).json() == {"message": 3}
    assert b.count("bar runs") == 3


def test_a_class_that_the_caller_cannot_import_arrives_as_a_bare_exception(stage: Stage, tmp_path: Path) -> None:
    stage.service("a")
    stage.script(tmp_path / "own_class.py", "service-b", OWN_CLASS)
    answer = stage.post("await-chain", "own-class")
    assert (answer.status_code, answer.json()["error"]) == (500, "Exception: []")
