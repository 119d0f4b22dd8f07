"""The claims of the async RPC example, each over real processes, real HTTP and kill -9."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest
from async_rpc_stage import DEADLINE, Stage

from demo.processes import Child, LocalServer

ENDLESS = """
@resonate.register
def bar(ctx):
    print("bar runs", flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def stage(server: LocalServer, start: Callable[..., Child]) -> Iterator[Stage]:
    with Stage(server, start) as stage:
        yield stage


def test_service_b_is_killed_in_its_sleep_and_a_new_node_resumes_at_the_end_of_the_sleep(stage: Stage) -> None:
    stage.gateway()
    a, _ = stage.services("ac")
    b = stage.service("b", "--delay", "4")
    post = stage.begin_post("await-chain")
    sleep = stage.wait_for_promise("await-chain.2.1", "PENDING")
    b.kill()
    b = stage.service("b")
    assert post.result(DEADLINE).json() == {"message": 3}
    late = stage.wait_for_promise("await-chain", "RESOLVED")["completedOn"] - sleep["timeout"]
    assert 0 <= late < 3000, f"answered {late} ms after the end of the sleep"
    assert a.count("foo runs as await-chain$") == 1
    assert b.count("bar runs as await-chain.2$") == 1


def test_no_service_b_is_there_at_the_end_of_the_sleep_and_the_next_one_resumes_at_once(stage: Stage) -> None:
    stage.gateway()
    stage.services("ac")
    b = stage.service("b", "--delay", "1")
    post = stage.begin_post("await-chain")
    stage.wait_for_promise("await-chain.2.1", "PENDING")
    b.kill()
    stage.wait_for_promise("await-chain.2.1", "RESOLVED")
    stage.service("b")
    began = time.monotonic()
    assert post.result(DEADLINE).json() == {"message": 3}
    assert time.monotonic() - began < 3


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


def test_a_request_sent_again_after_the_end_gets_the_stored_answer_and_a_key_a_run_of_its_own(stage: Stage) -> None:
    stage.gateway()
    a, *_ = stage.services("abc")
    stage.post("await-chain")
    began = time.monotonic()
    assert stage.post("await-chain").json() == {"message": 3}
    assert time.monotonic() - began < 1
    assert a.count("foo runs") == 1
    assert stage.post("await-chain", "again").json() == {"message": 3}
    assert stage.post("await-chain", "again").json() == {"message": 3}
    assert a.count("foo runs") == 2


def test_two_nodes_of_a_group_share_the_work_and_each_call_runs_on_one(stage: Stage) -> None:
    stage.gateway()
    _, first, second, _ = stage.services("abbc")
    posts = [stage.begin_post("await-chain", f"k{n}") for n in range(30)]
    assert [post.result(DEADLINE).status_code for post in posts] == [200] * 30
    runs = [re.findall(r"bar runs as (\S+)", node.output) for node in (first, second)]
    assert sorted(runs[0] + runs[1]) == sorted(f"await-chain.k{n}.2" for n in range(30))
    assert runs[0]
    assert runs[1]


def test_the_gateway_is_killed_before_cog_runs_and_cog_runs(stage: Stage) -> None:
    gateway = stage.gateway()
    stage.services("de")
    assert stage.post("detached-chain").json() == {"message": "detached-chain started"}
    gateway.kill()
    f = stage.service("f")
    f.wait_for("cog ends the chain with 3", timeout=DEADLINE)
    assert f.count("cog runs as") == 1


def test_the_detached_chain_returns_while_service_d_is_down_and_runs_when_it_comes(stage: Stage) -> None:
    stage.gateway()
    began = time.monotonic()
    assert stage.post("detached-chain").status_code == 200
    assert time.monotonic() - began < 2
    f, *_ = stage.services("fed")
    f.wait_for("cog ends the chain with 3", timeout=DEADLINE)


def test_each_link_of_the_detached_chain_returns_a_value_of_its_own(stage: Stage) -> None:
    stage.gateway()
    stage.services("def")
    stage.post("detached-chain")
    for promise in ("detached-chain", "detached-chain.2", "detached-chain.2.2"):  # qux, quz, cog
        assert stage.wait_for_promise(promise, "RESOLVED", "REJECTED")["state"] == "RESOLVED"


def test_rax_and_dop_overlap_in_time(stage: Stage) -> None:
    stage.gateway()
    stage.service("g")
    stage.service("h", "--delay", "2")
    stage.service("i", "--delay", "2")
    assert stage.post("fan-out-workflow").json() == {"message": 3}
    rax, dop = (stage.promise(f"fan-out-workflow.{n}") for n in (2, 3))
    overlap = min(rax["completedOn"], dop["completedOn"]) - max(rax["createdOn"], dop["createdOn"])
    assert overlap >= 1900, f"both ran for {overlap} ms"


def test_zim_is_killed_while_its_branches_run_and_they_are_not_run_again(stage: Stage) -> None:
    stage.gateway()
    g = stage.service("g")
    h, i = (stage.service(letter, "--delay", "3") for letter in "hi")
    post = stage.begin_post("fan-out-workflow")
    stage.wait_for_promise("fan-out-workflow.2.1", "PENDING")
    stage.wait_for_promise("fan-out-workflow.3.1", "PENDING")
    g.kill()
    stage.service("g")
    assert post.result(DEADLINE).json() == {"message": 3}
    assert [h.count("rax runs"), i.count("dop runs")] == [1, 1]


def test_the_right_arguments_keep_service_d_alive_and_wrong_ones_end_it_until_the_promise_is_canceled(
    stage: Stage,
) -> None:
    stage.gateway()
    stage.post("detached-chain")  # arguments that the gateway chooses, whatever the request holds
    d = stage.service("d")
    stage.wait_for_promise("detached-chain", "RESOLVED")
    stage.create("wrong", "service-d", "qux", 1, 2, 3)
    assert d.wait(DEADLINE) == 1
    assert "TypeError" in d.output
    stage.cancel("wrong")
    d = stage.service("d")
    stage.post("detached-chain", "after")
    stage.wait_for_promise("detached-chain.after", "RESOLVED")
    assert d.running


def test_a_service_ends_clean_with_exit_0(stage: Stage) -> None:
    nodes = stage.services("abcdefghi")
    for node, number in zip(nodes, cycle([signal.SIGINT, signal.SIGTERM]), strict=False):
        node.signal(number)
    assert [node.wait() for node in nodes] == [0] * 9
    assert [len(node.lines) for node in nodes] == [1] * 9, [node.output for node in nodes]


def test_a_step_that_does_not_end_holds_a_stopping_service_up_for_five_seconds_only(
    stage: Stage, tmp_path: Path
) -> None:
    node = stage.script(tmp_path / "endless.py", "service-b", ENDLESS)
    stage.create("endless", "service-b", "bar")
    node.wait_for("bar runs")
    node.signal(signal.SIGTERM)
    assert node.wait() == 1
    assert node.lines[-1] == "service-b: a task could not be finished within 5 s; it goes to another node"
