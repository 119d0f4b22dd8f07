"""Ids are taken for ever, until somebody deletes them: told by the clients, and run anew by the same processes."""

import math
import re
from collections.abc import Callable
from functools import partial

import command_stage
import pytest
import requests
from async_rpc_stage import Stage
from calculator_stage import COMMAND, answer, workers
from command_stage import Told
from wire_client import until

from local_server.testing import Child, LocalServer

Start = Callable[..., Child]
SINCE = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def command(server: LocalServer) -> Callable[..., Told]:
    """Run a command of the server to its end."""
    return partial(command_stage.run, env=server.env)


def worker(start: Start, *options: str) -> Child:
    child = start("worker", "factorial_worker.py", "--id", "one", *options)
    child.wait_for("is ready")
    return child


def factorial(start: Start, n: int) -> Child:
    child = start("client", "factorial_client.py", str(n))
    child.wait()
    return child


def states(server: LocalServer, pattern: str) -> dict[str, str]:
    found = requests.get(f"{server.url}/promises?id={pattern}", timeout=10).json()["promises"]
    return {one["id"]: one["state"] for one in found}


def test_what_was_canceled_fails_with_a_way_out_and_is_computed_again_once_deleted(
    server: LocalServer, start: Start, command: Callable[..., Told]
) -> None:
    first = start("client", "factorial_client.py", "60")
    until(lambda: "factorial-60" in states(server, "factorial-*"))
    slow = worker(start, "--delay", "0.02")
    slow.wait_for("Calculating factorial of 31")
    assert command("cancel", "factorial-31", "--yes").lines[-1] == "factorial-31 is canceled"
    assert first.wait() == 1
    failed, stored = first.lines[-2:]
    assert failed == "factorial-60 failed: ResonateCanceledError: [200.00000] Promise factorial-31 canceled"
    assert re.fullmatch(
        rf"It is stored {SINCE}, and stays so for every client; to have it computed anew: "
        "uv run local-server delete factorial-31, or a server with another --db",
        stored,
    )
    until(lambda: "PENDING" not in states(server, "factorial-*").values())
    told = [line for line in slow.lines if not line.startswith("Calculating")][1:]  # by the SDK, for each step above it
    assert all("Promise factorial-31 canceled" in line for line in told), told
    assert factorial(start, 61).status == 1  # and so would every larger one
    (told, done) = command("delete", "factorial-3*", "--yes").lines
    assert told == "2 runs with 61 promises: factorial-60, factorial-61"
    assert done == "deleted 61 promises"
    assert factorial(start, 61).lines[-1] == f"Result: {math.factorial(61)}"  # by the same process
    assert slow.running


def test_what_a_worker_has_in_hand_is_deleted_when_it_is_done_and_the_worker_lives_on(
    start: Start, command: Callable[..., Told]
) -> None:
    slow = worker(start, "--delay", "1")
    first = start("client", "factorial_client.py", "3")
    slow.wait_for("Calculating factorial of 3")
    refused = command("delete", "factorial-3", "--yes", status=1).output
    assert re.fullmatch(  # it may have gone on by now
        r"(1 promise is pending: its run stays|[23] promises are pending: their runs stay), unless with --pending\n"
        r"stays, as it is pending, in use or at work: factorial-3",
        refused,
    )
    lines = command("delete", "factorial-3", "--yes", "--pending").lines
    assert re.fullmatch(r"1 run with [123] promises?: factorial-3", lines[0])
    assert first.wait() == 1
    assert re.fullmatch(r"deleted [1-3] promises?", lines[-1])
    assert factorial(start, 3).lines[-1] == "Result: 6"
    assert slow.running


def test_in_a_pipe_nothing_is_deleted_or_canceled_without_yes(
    server: LocalServer, command: Callable[..., Told]
) -> None:
    requests.post(f"{server.url}/promises", json={"id": "a", "timeout": 2**50}, timeout=10).raise_for_status()
    refused = "Error: no terminal to ask on: add --yes to go on without a question"
    for words in (["cancel", "a"], ["prune", "--older-than", "0s"]):
        assert command(*words, status=2).lines[-1] == refused
    command("cancel", "a", "--yes")
    assert command("delete", "a", status=2).lines[-1] == refused
    assert states(server, "a") == {"a": "REJECTED_CANCELED"}
    assert command("prune", "--older-than", "1h", "--yes").output == "deleted 0 promises"
    assert command("prune", "--older-than", "0s", "--yes").output == "deleted 1 promise"
    assert command("delete", "a*", "--yes", status=1).output == "a*: no promise has such an id"
    assert "found '30'; expected a number with d, h, m or s" in command("prune", "--older-than", "30", status=2).output


def test_a_canceled_calculation_says_that_it_stays_and_what_to_do(server: LocalServer, start: Start) -> None:
    run, promise = ("calc", *COMMAND, "20 + 22"), f"{server.url}/promises/calculator-20+22"
    first = start(*run)
    until(lambda: requests.get(promise, timeout=5).ok)
    requests.patch(promise, json={"state": "REJECTED_CANCELED"}, timeout=5).raise_for_status()
    first.wait()
    again = start(*run)
    for child in (first, again):
        assert child.wait() == 1
        assert re.fullmatch(
            r"the run calculator-20\+22 failed: \[200\.00000\] Promise calculator-20\+22 canceled; it is stored "
            rf"{SINCE}, and stays; --fresh and the prompt calculate anew, or: "
            r"uv run local-server delete 'calculator-20\+22'",
            child.lines[-1],
        )


def test_a_deleted_calculation_is_done_again_by_the_same_workers(start: Start, command: Callable[..., Told]) -> None:
    _, operator = workers(start, "exp/lhs", "ops/1")
    for times in (1, 2, 3):
        assert answer(start, "(1 + 2) * 3") == "9"
        assert operator.count(r"ops/1: 3 \* 3") == times
        assert command("delete", "calculator-*", "--yes").lines[-1] == "deleted 7 promises"


def test_a_deleted_request_is_answered_anew_by_the_same_gateway_and_services(
    server: LocalServer, start: Start, command: Callable[..., Told]
) -> None:
    with Stage(server, start) as stage:
        stage.gateway()
        foo, *_ = stage.services("abc")
        for times in (1, 2, 3):
            assert stage.post("await-chain", "again").json() == {"message": 3}
            assert foo.count("foo runs") == times
            command("delete", "await-chain.again", "--yes")
        foo.kill()
        waiting = stage.begin_post("await-chain", "stays")
        stage.wait_for_promise("await-chain.stays", "PENDING")
        stage.cancel("await-chain.stays")
        told = "this answer stays: send another Idempotency-Key, or: uv run local-server delete await-chain.stays"
        assert waiting.result(30).json()["error"].endswith(told)
        assert stage.post("await-chain", "stays").json()["error"].endswith(told)
