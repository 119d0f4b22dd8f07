"""What the factorial example promises, with real workers, clients and servers, and a real kill -9."""

import contextlib
import math
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests
from resonate import Resonate
from resonate.options import Options
from terminal_stage import Terminal
from wire_client import until

from local_server.testing import Child, ChildError, LocalServer

PAGE = Path(__file__).parent.parent / "local_server" / "README.md"
Start = Callable[..., Child]
LEASE = 10  # seconds; what happens sooner did not wait for a lease to end


@pytest.fixture
def worker(start: Start) -> Callable[..., Child]:
    def worker(name: str, *options: str) -> Child:
        child = start(name, "factorial_worker.py", "--id", name, *options)
        child.wait_for(rf"^{name} is ready, pid {child.pid}$")
        return child

    return worker


@pytest.fixture
def client(start: Start) -> Callable[..., Child]:
    return lambda n, *options: start(f"client-{n}", "factorial_client.py", str(n), *options)


def result(client: Child, timeout: float = 60) -> int:
    assert client.wait(timeout) == 0, client.output
    return int(client.wait_for(r"^Result: (\d+)$").group(1))


def steps(*workers: Child) -> list[int]:
    """Every n that was calculated, in order, once for each time."""
    lines = [line for child in workers for line in child.lines]
    return sorted(int(line.rpartition(" ")[2]) for line in lines if line.startswith("Calculating"))


def holder_of(n: int, *workers: Child) -> Child:
    """Wait until some worker calculates n, and return it."""
    for _ in range(600):
        for child in workers:
            with contextlib.suppress(ChildError):
                child.wait_for(rf"Calculating factorial of {n}$", timeout=0.05)
                return child
    raise AssertionError(f"nobody calculates {n}")


def stored(server: LocalServer, n: int, *, value: object) -> None:
    """Store the end of factorial-n by hand: a value, or an exception."""
    headers, data = Options().get_encoder().encode(value)
    host, _, port = server.url.rpartition(":")
    promises = Resonate.remote(host=host, store_port=port).promises
    promises.create(f"factorial-{n}", 2**60, ikey=f"factorial-{n}")
    end = promises.reject if isinstance(value, Exception) else promises.resolve
    end(f"factorial-{n}", headers=headers, data=data)


def test_steps_are_spread_over_all_workers_of_the_group_and_none_is_run_twice(worker: Start, client: Start) -> None:
    workers = [worker(name) for name in ("w1", "w2", "w3")]
    assert result(client(15)) == math.factorial(15)
    assert steps(*workers) == list(range(1, 16))
    assert all(steps(child) for child in workers)
    assert result(client(15)) == math.factorial(15)  # as stored
    assert steps(*workers) == list(range(1, 16))
    assert result(client(18)) == math.factorial(18)  # three steps more
    assert steps(*workers) == list(range(1, 19))
    assert result(client(3)) == math.factorial(3)  # was a step of another
    assert steps(*workers) == list(range(1, 19))


def test_survivors_finish_what_a_killed_worker_had_in_hand_and_run_nothing_else_again(
    worker: Start, client: Start
) -> None:
    workers = [worker(name, "--delay", "0.3") for name in ("w1", "w2", "w3")]
    waiting = client(8)
    victim = holder_of(4, *workers)  # it sleeps in step 4 now
    before = steps(*workers)
    victim.kill()
    survivors = [child for child in workers if child is not victim]
    holder_of(4, *survivors).wait_for(r"of 4$", timeout=LEASE / 2)  # not by the end of the lease
    assert before == [4, 5, 6, 7, 8]
    assert result(waiting) == math.factorial(8)
    twice = {n for n in range(1, 9) if steps(*workers).count(n) > 1}
    assert 4 in twice
    assert twice <= set(steps(victim))  # the step in its hands, and those in which it waited for another
    assert [steps(*workers).count(n) for n in (1, 2, 3)] == [1, 1, 1]


def test_killing_an_idle_worker_delays_nothing(worker: Start, client: Start) -> None:
    only = worker("w1", "--delay", "0.2")
    waiting = client(6)
    holder_of(4, only)
    idle = worker("w2", "--delay", "0.2")
    idle.kill()
    assert result(waiting, timeout=LEASE * 3) == math.factorial(6)


def test_with_no_worker_left_a_new_one_takes_over_at_once(worker: Start, client: Start) -> None:
    first = worker("w1", "--delay", "0.3")
    waiting = client(5)
    holder_of(3, first)
    first.kill()
    second = worker("w2")
    second.wait_for(r"of 3$", timeout=LEASE / 2)
    assert result(waiting) == math.factorial(5)


def test_work_that_is_asked_for_before_any_worker_is_there_starts_with_the_first(worker: Start, client: Start) -> None:
    waiting = client(4)
    waiting.wait_for("waiting for factorial-4", times=2)
    only = worker("w1")
    only.wait_for(r"of 4$", timeout=LEASE / 2)
    assert result(waiting) == math.factorial(4)
    assert waiting.count("^Nobody serves the group factorial-worker; .*: uv run factorial_worker.py$") == 1


@pytest.mark.long
def test_when_all_workers_have_gone_and_none_comes_back_the_client_says_so(worker: Start, client: Start) -> None:
    only = worker("w1", "--delay", "100")
    waiting = client(5)
    holder_of(5, only)
    waiting.wait_for("1 s: waiting for factorial-5")  # it has seen that the worker is there
    only.kill()
    waiting.wait_for("^Nobody serves the group factorial-worker")
    assert waiting.count("s: waiting for") >= 3  # after 1, 2 or 3, and 4 s or more


def test_a_client_that_comes_back_after_kill_9_attaches(worker: Start, client: Start) -> None:
    only = worker("w1", "--delay", "0.3")
    first = client(5)
    holder_of(3, only)
    first.kill()
    assert result(client(5)) == math.factorial(5)
    assert steps(only) == [1, 2, 3, 4, 5]


def test_ctrl_c_leaves_the_run_going_and_says_how_to_come_back(worker: Start, client: Start) -> None:
    only = worker("w1", "--delay", "0.3")
    waiting = client(5)
    holder_of(5, only)
    waiting.signal(signal.SIGINT)
    assert waiting.wait() == 130
    assert "uv run factorial_client.py 5" in waiting.lines[-1]
    assert "Traceback" not in waiting.output
    only.wait_for(r"of 1$")
    assert result(client(5)) == math.factorial(5)


def test_in_a_terminal_one_line_counts_the_seconds_and_ctrl_c_takes_its_place(
    server: LocalServer, worker: Start
) -> None:
    worker("w1", "--delay", "100")
    terminal = Terminal([sys.executable, "factorial_client.py", "5"], server.env)
    until(lambda: terminal.output.count("waiting for factorial-5") >= 3)
    assert terminal.press_ctrl_c() == 130
    counted, told = terminal.output.rsplit("\r\x1b[K", 1)
    assert re.fullmatch(r"(\r\x1b\[K\d+ s: waiting for factorial-5 \(Ctrl-C leaves it running\)\r){3,}\^C", counted)
    assert "Nobody serves" not in terminal.output
    assert told.endswith("to come back to it: uv run factorial_client.py 5\r\n")


def test_server_killed_mid_run_loses_nothing(server: LocalServer, worker: Start, client: Start) -> None:
    workers = [worker(name, "--delay", "0.2") for name in ("w1", "w2")]
    waiting = client(9)
    holder_of(5, *workers)
    server.kill()
    server.start()
    try:
        assert result(waiting) == math.factorial(9)
        assert all(child.running for child in workers), "\n".join(child.output for child in workers)
        assert "Nobody serves" not in waiting.output  # they come back 5 s after they lost the server
    finally:
        server.stop()


def test_server_killed_during_the_last_step_still_notifies_the_waiting_client(
    server: LocalServer, worker: Start, client: Start
) -> None:
    stored(server, 3, value=6)
    only = worker("w1", "--delay", "3")
    waiting = client(4)
    waiting.wait_for("waiting for factorial-4")  # printed after 1 s, in the middle of the step
    holder_of(4, only)
    server.kill()
    server.start()
    try:
        assert result(waiting) == math.factorial(4)
    finally:
        server.stop()


def test_two_workers_of_one_name_each_answer_for_what_they_hold(
    server: LocalServer, worker: Start, client: Start
) -> None:
    def connected(pid: int) -> None:
        """Wait until the server knows that this process is the one behind its name."""

        def pids() -> list[int | None]:
            groups = requests.get(f"{server.url}/ui/workers", timeout=5).json()["groups"]
            return [worker["pid"] for group in groups for worker in group["workers"]]

        until(lambda: pid in pids())

    older = worker("twin", "--delay", "3")
    connected(older.pid)
    first = client(1)
    holder_of(1, older)
    newer = worker("twin", "--delay", "3")
    connected(newer.pid)
    server.child.wait_for(f"factorial-worker/twin is the name of processes {older.pid} and {newer.pid}: ")
    older.wait_for("Retrying in 5 sec")  # its stream is cut: after a clean end it would take the name back at once
    newer.kill()
    assert result(first) == 1
    assert (steps(older, newer), older.running) == ([1], True)

    connected(older.pid)  # it connects again, 5 s after it lost its stream
    second = client(2)
    holder_of(2, older)
    older.signal(signal.SIGSTOP)  # it must not end the step while the next one starts
    newest = worker("twin")
    connected(newest.pid)
    older.kill()
    newest.wait_for(r"of 2$", timeout=LEASE / 2)
    assert result(second) == 2


@pytest.mark.long
def test_worker_paused_beyond_its_lease_exits_and_the_result_is_right(worker: Start, client: Start) -> None:
    paused = worker("w1", "--delay", "0.5")
    waiting = client(3)
    holder_of(3, paused)
    paused.signal(signal.SIGSTOP)
    other = worker("w2")
    assert result(waiting, timeout=LEASE * 3) == math.factorial(3)
    assert steps(other) == [1, 2, 3]
    paused.signal(signal.SIGCONT)
    assert paused.wait() == 1
    assert "40308" in paused.output or "40307" in paused.output or "40309" in paused.output


def test_results_beyond_the_digits_that_python_converts_by_default_are_printed(
    server: LocalServer, worker: Start, client: Start
) -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        stored(server, 1_557, value=math.factorial(1_557))
        only = worker("w1")
        assert result(client(1_561)) == math.factorial(1_561)
        assert steps(only) == [1_558, 1_559, 1_560, 1_561]
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.mark.long
def test_a_thousand_levels_deep_works(worker: Start, client: Start) -> None:
    workers = [worker(name) for name in ("w1", "w2", "w3")]
    assert result(client(1_000), timeout=100) == math.factorial(1_000)
    assert len(steps(*workers)) == 1_000


@pytest.mark.parametrize("n", ["-1", "ten", "1.5", "5001", "1e3", ""])
def test_bad_input_is_refused_before_anything_is_sent(children: list[Child], n: str) -> None:
    client = Child.python("client", "factorial_client.py", "--", n, env={"RESONATE_PORT_STORE": "1"})
    children.append(client)
    assert client.wait() == 2
    assert client.lines[-1].endswith(f"found {n}; expected an integer from 0 to 5000")


def test_a_stored_error_is_shown_as_the_error_it_is(server: LocalServer, client: Start) -> None:
    stored(server, 7, value=ValueError("out of fingers"))
    failed = client(7)
    assert failed.wait() == 1
    told, stays = failed.lines
    assert told == "factorial-7 failed: ValueError: out of fingers"
    assert stays.startswith("It is stored since ")
    assert "to have it computed anew: uv run local-server delete factorial-7, or a server with another --db" in stays


def test_a_client_without_server_says_so_at_once_and_exits_if_told_to(start: Start, nowhere: int) -> None:
    env = {"RESONATE_HOST": "http://127.0.0.1", "RESONATE_PORT_STORE": str(nowhere)}
    client = start("client", "factorial_client.py", "--no-retry", env=env)
    assert client.wait() == 1
    (line,) = client.lines
    assert f"No server at http://127.0.0.1:{nowhere}" in line
    assert "uv run local-server" in line


def test_behind_a_proxy_what_the_page_of_the_server_exports_leads_past_it(start: Start, nowhere: int) -> None:
    past = re.search(r"export NO_PROXY=(\S+)`", PAGE.read_text())
    assert past
    proxied = {"http_proxy": f"http://127.0.0.1:{nowhere}", "no_proxy": past[1]}
    start("w1", "factorial_worker.py", env=proxied)
    assert result(start("client", "factorial_client.py", "3", env=proxied)) == math.factorial(3)


def test_a_client_without_server_waits_for_one(server: LocalServer, worker: Start, client: Start) -> None:
    worker("w1")
    server.kill()
    waiting = client(3)
    waiting.wait_for(r"No server at .* \(waiting for it\)")
    server.start()
    try:
        assert result(waiting) == math.factorial(3)
    finally:
        server.stop()


def test_a_worker_is_a_process_of_its_own_that_its_ready_line_names(worker: Start) -> None:
    child = worker("w1")
    assert psutil.Process(child.pid).ppid() == os.getpid()
