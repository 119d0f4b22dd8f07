"""Workers that die of their work, are replaced under their own id, are stopped for a while, or come in great number."""

import os
import resource
import signal
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import requests
from fault_stage import CHAIN, LISTEN, assert_all_work, chain_workers, wait_until_resolved, where
from wire_client import FAR, Wire, call, until

from local_server.testing import Child, LocalServer

POISONED = 5.0  # seconds for which a pool stands up to a call that ends whoever claims it
# Many of them at once, each a process of its own, and one more, the victim. They end with the first, by the pipe.
FLEET = """
import os, select, signal, socket, sys
host, port, group, count = sys.argv[1:]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
alive, _held = os.pipe()
def listen(path):
    stream = socket.create_connection((host, int(port)))
    stream.sendall(f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n".encode())
    if path.endswith("/victim"):
        stream.recv(4096)
        print("victim", os.getpid(), flush=True)
    os.close(_held)
    while alive not in select.select([stream, alive], [], [])[0] and stream.recv(4096):
        pass
    os._exit(0)
for path in [f"/crowd/{number}" for number in range(int(count))] + [f"/{group}/victim"]:
    if os.fork() == 0:
        listen(path)
signal.pause()
"""


@pytest.fixture
def own_wire(server: LocalServer) -> Iterator[Wire]:
    """A client of the test's own server."""
    client = Wire(server)
    yield client
    client.close()


Replaced = Callable[[], tuple[Child, str, dict[str, str]]]


@pytest.fixture
def replaced(memory_server: LocalServer, start_shared: Callable[..., Child], wire: Wire) -> Replaced:
    """Start another worker that is to be replaced, known by its process; return it, its name, and tags for its work."""

    def worker() -> tuple[Child, str, dict[str, str]]:
        name = f"w{uuid.uuid4().hex[:8]}"  # its id, which no other worker has, and its group
        old = start_shared("old", "-c", LISTEN, *where(memory_server), f"/{name}/{name}")
        old.wait_for("listens")
        until(lambda: f'"pid":{old.pid},' in wire.get("/ui/workers").text)
        return old, name, {"resonate:invoke": f"poll://uni@{name}/{name}"}

    return worker


def test_a_restarting_pool_outlives_a_call_that_ends_whoever_claims_it_and_healthy_work_goes_on(
    server: LocalServer, start: Callable[..., Child]
) -> None:
    pool = chain_workers(start, 3)
    call(server, "poison", "any@chain", "no such function")
    call(server, "healthy-30", "any@chain", "chain", "healthy", 30)
    began, deaths, healthy = time.monotonic(), 0, 0.0
    while time.monotonic() < began + POISONED:
        for number, worker in enumerate(pool):
            if not worker.running:
                deaths += 1
                pool[number] = start(worker.name, "-c", CHAIN, worker.name)
        if not healthy and requests.get(f"{server.url}/promises/healthy-30", timeout=5).json()["state"] == "RESOLVED":
            healthy = time.monotonic() - began
        time.sleep(0.02)
    body = {"state": "REJECTED_CANCELED"}
    requests.patch(f"{server.url}/promises/poison", json=body, timeout=5).raise_for_status()
    print(f"{deaths} deaths in {POISONED:g} s, healthy work done after {healthy:.1f} s")
    assert deaths <= 4  # the first two at once, then 1 and 2 s later
    assert healthy
    for worker in pool:
        worker.wait_for("^ready")
    assert_all_work(server, pool)


def test_a_worker_that_is_replaced_under_its_own_id_keeps_its_stream(
    replaced: Replaced, wire: Wire, times: Callable[[int], int]
) -> None:
    for _ in range(times(8)):
        old, name, invoke = replaced()
        new = wire.stream(name, name)
        old.kill()
        until(lambda pid=old.pid: f'"pid":{pid},' not in wire.get("/ui/workers").text)
        wire.create(f"{name}-next", invoke)
        assert new.next()["task"]["id"] == f"__invoke:{name}-next"


def test_a_worker_that_is_replaced_under_its_own_id_keeps_its_claims(
    replaced: Replaced, wire: Wire, times: Callable[[int], int]
) -> None:
    for _ in range(times(8)):
        old, name, invoke = replaced()
        counters = {}
        for order in ("before", "after"):  # its stream opens: the SDK begins to work in another thread
            task = {"processId": name, "ttl": 60_000}
            promise = {"id": f"{name}-{order}", "timeout": FAR, "tags": invoke}
            claimed = wire.post("/promises/task", {"promise": promise, "task": task}).json()["task"]
            counters[claimed["id"]] = claimed["counter"]
            if order == "before":
                wire.stream(name, name)
        old.kill()
        until(lambda pid=old.pid: f'"pid":{pid},' not in wire.get("/ui/workers").text)
        for task_id, counter in counters.items():
            done = wire.post("/tasks/complete", {"id": task_id, "counter": counter})
            assert done.status_code == 201, done.text


def test_what_was_claimed_before_its_process_was_found_has_the_lease_of_one_that_is_seen(own_wire: Wire) -> None:
    group, ttl = own_wire.id("group"), 2.0
    promise = {"id": own_wire.id("step"), "timeout": FAR, "tags": {"resonate:invoke": f"poll://any@{group}"}}
    claimed = time.monotonic()
    own_wire.post("/promises/task", {"promise": promise, "task": {"processId": "early", "ttl": int(ttl * 1_000)}})
    own_wire.stream(group, "early")
    heir = own_wire.stream(group, "heir")
    assert heir.next()["task"]["counter"] == 2
    assert time.monotonic() - claimed > 1.4 * ttl


@pytest.mark.long
def test_a_worker_that_is_stopped_for_less_than_its_lease_lives_on(
    server: LocalServer, start: Callable[..., Child], times: Callable[[int], int]
) -> None:
    workers = chain_workers(start, 2)
    for pause in range(times(1)):
        call(server, f"held{pause}-2", "any@chain", "chain", f"held{pause}", 2, 5)
        until(lambda pause=pause: any(worker.count(f"chain held{pause}-2$") for worker in workers))
        (holder,) = [worker for worker in workers if worker.count(f"chain held{pause}-2$")]
        time.sleep(4.5)  # the next heartbeat, 5 s after the claim, comes late
        holder.signal(signal.SIGSTOP)
        try:
            time.sleep(8.5)
        finally:
            holder.signal(signal.SIGCONT)
        wait_until_resolved(server, [f"held{pause}-2"], workers)
        assert_all_work(server, workers, f"-{pause}")


def test_the_work_of_a_killed_worker_is_taken_over_in_half_a_second_while_200_others_connect(
    own_wire: Wire, server: LocalServer, start: Callable[..., Child], times: Callable[[int], int]
) -> None:
    count, group = times(200), own_wire.id("group")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    heir = own_wire.stream(group, "heir")
    fleet = start("fleet", "-c", FLEET, *where(server), group, str(count))
    pid = int(fleet.wait_for(r"^victim (\d+)").group(1))
    body = {
        "promise": {"id": own_wire.id("step"), "timeout": FAR, "tags": {"resonate:invoke": f"poll://any@{group}"}},
        "task": {"processId": "victim", "ttl": 60_000},
    }
    task = own_wire.post("/promises/task", body).json()["task"]
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    message = heir.next()
    taken_over = time.monotonic() - killed
    print(f"taken over {taken_over:.3f} s after the kill, with {count} others")
    assert (message["task"]["id"], message["task"]["counter"]) == (task["id"], task["counter"] + 1)
    assert taken_over < 0.5
