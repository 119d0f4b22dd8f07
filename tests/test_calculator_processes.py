"""What the calculator promises, with real workers and a real kill -9."""

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import requests
from calculator_stage import COMMAND, Start, answer, balanced, connected, value, workers
from wire_client import until

from local_server.testing import LocalServer

WITHOUT_A_LEASE = 8.0  # seconds; a lease lasts 10, so what ends sooner did not wait for one to end


def test_a_killed_lhs_that_held_work_is_replaced_by_rhs_at_once(
    server: LocalServer, start: Start, tmp_path: Path
) -> None:
    (ops,) = workers(start, "ops/1")
    lhs, rhs = workers(start, "exp/lhs", "exp/rhs")
    connected(start, lhs, rhs)
    served = ops.count("^ops/1: ")
    text = balanced(5)
    asked = start("asked", *COMMAND, text)
    lhs.wait_for(r"^exp/lhs: .*-")
    killed = time.monotonic()
    lhs.kill()
    assert value(asked) == str(eval(text))  # noqa: S307 - made above
    assert time.monotonic() - killed < WITHOUT_A_LEASE
    assert ops.count("^ops/1: ") == served + 31  # no operator twice
    server.stop()  # it has its database for itself
    with closing(sqlite3.connect(tmp_path / "resonate.db")) as database:
        assert database.execute("SELECT count(*) FROM lost_claims WHERE recipient = 'exp/lhs'").fetchone()[0] > 0


def test_a_named_worker_is_a_preference_and_uni_is_a_condition(server: LocalServer, start: Start) -> None:
    (rhs,) = workers(start, "exp/rhs")
    script = """if True:
        import sys
        from resonate import Resonate
        print("value", Resonate.remote(group="asker").options(target=sys.argv[1]).rpc(sys.argv[2], "=", 5))
        """
    only_lhs = start("only-lhs", "-c", script, "poll://uni@exp/lhs", "only-lhs")
    until(lambda: requests.get(f"{server.url}/promises/only-lhs", timeout=5).ok)
    lhs_or_any = start("lhs-or-any", "-c", script, "poll://exp/lhs", "lhs-or-any")
    lhs_or_any.wait_for("value 5")
    assert rhs.count("exp/rhs: 5") == 1
    assert requests.get(f"{server.url}/promises/only-lhs", timeout=5).json()["state"] == "PENDING"
    (lhs,) = workers(start, "exp/lhs")
    only_lhs.wait_for("value 5")
    assert (lhs.count("exp/lhs: 5"), rhs.count("exp/rhs: 5")) == (1, 1)


def test_an_operation_whose_worker_is_killed_is_done_by_another(start: Start) -> None:
    workers(start, "exp/lhs", "exp/rhs")
    (slow,) = workers(start, "ops/slow", delay=600)
    asked = start("asked", *COMMAND, "20 + 22")
    slow.wait_for(r"20 \+ 22")
    slow.kill()
    killed = time.monotonic()
    (quick,) = workers(start, "ops/quick")
    assert value(asked) == "42"
    assert time.monotonic() - killed < WITHOUT_A_LEASE
    assert quick.count(r"20 \+ 22") == 1


def test_a_killed_client_finds_its_run_again_and_nothing_was_run_twice(start: Start) -> None:
    workers(start, "exp/lhs", "exp/rhs")
    (ops,) = workers(start, "ops/1", delay=1)
    asked = start("asked", *COMMAND, "2 * 3 + 4")
    ops.wait_for(r"2 \* 3")
    asked.kill()
    assert answer(start, "2 * 3 + 4") == "10"
    assert answer(start, "--id", "calculator-2*3+4") == "10"
    assert ops.count(r"2 \* 3") == ops.count(r"6 \+ 4") == 1


def test_a_run_that_starts_over_in_another_worker_sends_nothing_twice(server: LocalServer, start: Start) -> None:
    exp = workers(start, "exp/lhs", "exp/rhs")
    (ops,) = workers(start, "ops/1", delay=1)
    asked = start("asked", *COMMAND, "(1 + 2) * (3 + 4) * 5")
    ops.wait_for("^ops/1: ")
    five = f"{server.url}/promises/calculator-(1+2)*(3+4)*5.2"
    until(lambda: requests.get(five, timeout=5).json().get("state") == "RESOLVED")
    for worker in exp:
        worker.kill()
    (heir,) = workers(start, "exp/heir")
    assert value(asked) == "105"
    assert heir.count(r"exp/heir: \(1\+2\)\*\(3\+4\)\*5$") == 1
    assert heir.count("exp/heir: 5$") == 0  # it has its value
    for operation in (r"1 \+ 2", r"3 \+ 4", r"3 \* 7", r"21 \* 5"):
        assert ops.count(f": {operation}$") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_taken_away_in_the_middle_ends_cleanly_and_the_run_goes_on(
    start: Start, number: signal.Signals
) -> None:
    ops = workers(start, "ops/1", "ops/2", delay=0.2)
    lhs, rhs = workers(start, "exp/lhs", "exp/rhs")
    asked = start("asked", *COMMAND, balanced(4))
    for worker in ops:
        worker.wait_for(f"^{worker.name}: ")
    rhs.signal(number)
    ops[0].signal(number)
    assert rhs.wait() == 0
    assert ops[0].wait() == 0
    assert "Traceback" not in rhs.output + ops[0].output
    assert value(asked) == str(eval(balanced(4)))  # noqa: S307 - made above
    assert sum(worker.count(f"^{worker.name}: ") for worker in ops) == 15
    assert lhs.running


def test_ctrl_c_leaves_the_run_to_itself_and_tells_the_way_back(server: LocalServer, start: Start) -> None:
    asked = start("asked", *COMMAND, "20 + 22")
    until(lambda: requests.get(f"{server.url}/promises/calculator-20+22", timeout=5).ok)
    asked.signal(signal.SIGINT)
    assert asked.wait() == 130
    assert asked.lines == ["left; to come back to the run: uv run calculator --id 'calculator-20+22'"]
    workers(start, "exp/lhs", "ops/1")
    assert answer(start, "--id", "calculator-20+22") == "42"


def test_a_run_that_somebody_cancels_is_a_failure(server: LocalServer, start: Start) -> None:
    asked = start("asked", *COMMAND, "20 + 22")
    promise = f"{server.url}/promises/calculator-20+22"
    until(lambda: requests.get(promise, timeout=5).ok)
    requests.patch(promise, json={"state": "REJECTED_CANCELED"}, timeout=5).raise_for_status()
    assert asked.wait() == 1
    assert "the run calculator-20+22 failed: " in asked.lines[-1]
    assert "canceled" in asked.lines[-1]


def test_a_promise_of_another_program_is_no_run_to_come_back_to(server: LocalServer, start: Start) -> None:
    body = {"id": "other", "timeout": 2**62, "param": {"data": "bm90IEpTT04="}}
    requests.post(f"{server.url}/promises", json=body, timeout=5).raise_for_status()
    asked = start("asked", *COMMAND, "--id", "other")
    assert asked.wait() == 1
    assert asked.output == "'other' is no run of the calculator"
