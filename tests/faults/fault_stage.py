"""What the tests of single faults share: workers that call each other, a probe."""

import time
from collections.abc import Callable, Iterable

import requests
from wire_client import call

from local_server.testing import Child, LocalServer

PROBE_DEADLINE = 15.0  # seconds; a worker whose stream was cut comes back after 5

# Each call of a chain asks the group for the next one, as the factorial does; several chains run side by side.
CHAIN = """
import signal, sys, time
from resonate import Resonate

resonate = Resonate.remote(group="chain", pid=sys.argv[1])

@resonate.register
def chain(ctx, name, n, seconds=0):
    print(f"chain {name}-{n}", flush=True)
    time.sleep(seconds)
    if n == 0:
        return 0
    below = yield ctx.rpc("chain", name, n - 1).options(target="poll://any@chain", id=f"{name}-{n - 1}")
    return below + 1

resonate.start()
print("ready", flush=True)
signal.pause()
"""

# A worker without the SDK: it holds a stream, and does no more.
LISTEN = """
import socket, sys
host, port, path = sys.argv[1:]
stream = socket.create_connection((host, int(port)))
stream.sendall(f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n".encode())
print("listens" if stream.recv(4096).startswith(b"HTTP/1.1 200") else "refused", flush=True)
while stream.recv(4096):
    pass
"""


def where(server: LocalServer) -> list[str]:
    """Return host and port of the event streams."""
    host, _, port = server.poll_url.removeprefix("http://").rpartition(":")
    return [host, port]


def chain_workers(start: Callable[..., Child], count: int) -> list[Child]:
    """Start workers of the group ``chain``."""
    workers = [start(f"w{number}", "-c", CHAIN, f"w{number}") for number in range(1, count + 1)]
    for worker in workers:
        worker.wait_for("^ready")
    return workers


def state(server: LocalServer, promise_id: str) -> str:
    """Return the state of a promise."""
    return requests.get(f"{server.url}/promises/{promise_id}", timeout=5).json()["state"]


def assert_running(workers: Iterable[Child]) -> None:
    """Fail if one of them has ended."""
    ended = [f"{worker.name} with {worker.wait()}" for worker in workers if not worker.running]
    assert not ended, f"ended: {', '.join(ended)}"


def wait_until_resolved(
    server: LocalServer, promise_ids: Iterable[str], workers: Iterable[Child], timeout: float = 60
) -> None:
    """Wait until all these promises are resolved; fail if one of the workers ends meanwhile."""
    deadline, pending = time.monotonic() + timeout, list(promise_ids)
    while pending := [one for one in pending if state(server, one) != "RESOLVED"]:
        assert_running(workers)
        assert time.monotonic() < deadline, f"not resolved after {timeout} s: {', '.join(pending)}"
        time.sleep(0.05)


def assert_all_work(server: LocalServer, workers: Iterable[Child], label: str = "") -> None:
    """Fail unless each worker of the group ``chain`` runs, and runs what only it may run."""
    workers = list(workers)
    assert_running(workers)
    probes = {f"probe-{worker.name}{label}-0": worker.name for worker in workers}
    for probe, name in probes.items():
        call(server, probe, f"uni@chain/{name}", "chain", probe.removesuffix("-0"), 0)
    wait_until_resolved(server, probes, workers, PROBE_DEADLINE)
