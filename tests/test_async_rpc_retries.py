"""What is retried and what is not, and what the caller sees of an error: the truth beside the published claim."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from async_rpc_stage import DEADLINE, Stage

from demo.processes import Child, LocalServer

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


@pytest.fixture
def stage(server: LocalServer, start: Callable[..., Child]) -> Iterator[Stage]:
    with Stage(server, start) as stage:
        yield stage


def test_a_flaky_leaf_under_a_retry_policy_fails_twice_and_then_succeeds(stage: Stage) -> None:
    stage.gateway()
    stage.services("ab")
    c = stage.service("c", "--failures", "2")
    assert stage.post("await-chain").json() == {"message": 3}
    assert re.findall(r"attempt (\d+)$", c.output, re.MULTILINE) == ["1", "2", "3"]
    assert c.count("baz runs") == 1


def test_a_rejection_is_stored_and_only_another_key_runs_again(stage: Stage) -> None:
    stage.gateway()
    a, b = stage.services("ab")
    c = stage.service("c", "--failures", "6")
    rejected = {"error": "ConnectionError: lookup got no answer in attempt 6", "promise_id": "await-chain"}
    for _ in range(2):
        answer = stage.post("await-chain")
        assert (answer.status_code, answer.json()) == (500, rejected)
    assert [a.count("foo runs"), b.count("bar runs"), c.count("baz runs")] == [1, 1, 1]
    c.stop()
    stage.service("c")
    assert stage.post("await-chain").status_code == 500
    assert stage.post("await-chain", "second-try").json() == {"message": 3}


def test_a_generator_function_is_not_retried(stage: Stage, tmp_path: Path) -> None:
    stage.gateway()
    stage.service("a")
    b = stage.script(tmp_path / "generator.py", "service-b", GENERATOR)
    answer = stage.post("await-chain")
    assert (answer.status_code, answer.json()["error"]) == (500, "TimeoutError: no luck")
    assert b.count("bar runs") == 1


def test_a_plain_function_is_retried_after_2_and_4_seconds(stage: Stage, tmp_path: Path) -> None:
    stage.gateway()
    stage.service("a")
    b = stage.script(tmp_path / "plain.py", "service-b", PLAIN)
    assert stage.post("await-chain").json() == {"message": 3}
    first, second, third = (float(at) for at in re.findall(r"bar runs at (\S+)", b.output))
    assert second - first == pytest.approx(2, abs=0.5)
    assert third - second == pytest.approx(4, abs=0.5)


def test_a_kill_starts_the_count_of_a_plain_function_anew(stage: Stage, tmp_path: Path) -> None:
    stage.gateway()
    stage.service("a")
    post = stage.begin_post("await-chain")
    b = stage.script(tmp_path / "plain.py", "service-b", PLAIN)
    b.wait_for("bar runs", times=2)
    b.kill()
    b = stage.script(tmp_path / "plain.py", "service-b", PLAIN)
    assert post.result(DEADLINE).json() == {"message": 3}
    assert b.count("bar runs") == 3


def test_a_class_that_the_caller_cannot_import_arrives_as_a_bare_exception(stage: Stage, tmp_path: Path) -> None:
    stage.gateway()
    stage.service("a")
    stage.script(tmp_path / "own_class.py", "service-b", OWN_CLASS)
    answer = stage.post("await-chain")
    assert (answer.status_code, answer.json()["error"]) == (500, "Exception: []")
