"""A server that is restarted, or stands still, under load: no worker may notice more than a pause."""

import os
import re
import signal
import time
from collections.abc import Callable

import pytest
from fault_stage import assert_all_work, assert_running, chain_workers, wait_until_resolved
from wire_client import Wire, call, until

from local_server.testing import Child, LocalServer

CHAINS = 4  # side by side
GOES_ON_WITHIN = 6.0  # seconds after the server is ready again; the SDK's streams come back after 5


def steps(workers: list[Child]) -> int:
    """Return how many calls have begun to run."""
    return sum(worker.count("^chain ") for worker in workers)


def wait_for_steps(workers: list[Child], number: int, timeout: float) -> None:
    """Wait until so many calls have begun to run."""
    deadline = time.monotonic() + timeout
    while (done := steps(workers)) < number:
        assert_running(workers)
        assert time.monotonic() < deadline, f"after {timeout} s: {done} of {number} calls"
        time.sleep(0.01)


@pytest.mark.long
def test_a_planned_restart_under_load_ends_no_worker_and_work_goes_on_within_6_s(
    server: LocalServer, start: Callable[..., Child], times: Callable[[int], int]
) -> None:
    workers = chain_workers(start, 3)
    for restart in range(times(1)):
        chains = [f"restart{restart}-chain{number}" for number in range(CHAINS)]
        begun = steps(workers)
        for name in chains:
            call(server, f"{name}-60", "any@chain", "chain", name, 60)
        wait_for_steps(workers, begun + 40, 60)
        assert server.stop() == 0
        server.start()
        wait_for_steps(workers, steps(workers) + 1, GOES_ON_WITHIN)
        wait_until_resolved(server, [f"{name}-60" for name in chains], workers)
        assert_all_work(server, workers, f"-{restart}")
    assert not re.search("ERROR|Traceback", server.child.output)


@pytest.mark.long
def test_a_server_that_stands_still_for_7_s_costs_no_worker_its_life(
    server: LocalServer, start: Callable[..., Child], times: Callable[[int], int]
) -> None:
    workers = chain_workers(start, 4)
    for pause in range(times(1)):
        chains = [f"pause{pause}-chain{number}" for number in range(CHAINS)]
        begun = steps(workers)
        for name in chains:  # each holds a claim for 12 s, and is to wait for another call after that
            call(server, f"{name}-3", "any@chain", "chain", name, 3, 12)
        wait_for_steps(workers, begun + CHAINS, 10)
        time.sleep(4)  # the next heartbeat, 5 s after the claim, comes while the server stands still
        server.child.signal(signal.SIGSTOP)
        try:
            time.sleep(7)
        finally:
            server.child.signal(signal.SIGCONT)
        wait_until_resolved(server, [f"{name}-3" for name in chains], workers)
        assert_all_work(server, workers, f"-{pause}")
        assert steps(workers) == begun + (4 + 1) * CHAINS, "a call was run twice"


def test_a_worker_that_is_stopped_for_4_s_during_a_restart_may_still_claim(server: LocalServer) -> None:
    worker = Wire(server)
    stream = worker.stream("group", "stopped")
    until(lambda: f'"pid":{os.getpid()},' in worker.get("/ui/workers").text)
    worker.create("step", {"resonate:invoke": "poll://any@group"})
    task = stream.next()["task"]
    server.kill()
    server.start()
    worker.stream("group", "other")
    time.sleep(4)  # the worker stands still; it has not even seen that its stream is gone
    claimed = worker.claim(task, "stopped")
    worker.close()
    assert claimed.status_code == 201, claimed.text


def test_a_worker_that_is_back_before_its_claim_may_still_claim_what_was_sent_before_a_restart(
    server: LocalServer,
) -> None:
    worker = Wire(server)
    stream = worker.stream("group", "back")
    until(lambda: f'"pid":{os.getpid()},' in worker.get("/ui/workers").text)
    worker.create("step", {"resonate:invoke": "poll://any@group"})
    task = stream.next()["task"]
    server.kill()
    server.start()
    for name in ("back", "other"):  # the SDK claims in another thread, which tries again once a second
        worker.stream("group", name)
    time.sleep(1.5)
    claimed = worker.claim(task, "back")
    worker.close()
    assert claimed.status_code == 201, claimed.text
