"""What a crowd does to those beside it: 50,000 time-outs at once, 10,000 waiting tasks, 200 roots, 1,000 workers.

    uv run benchmarks/crowds.py

Starts servers on a file in a temporary folder, with three factorial workers. Exits 1 if 300 steps beside the time-outs
take more than 1.2 times as long as alone.
"""

import http.client
import json
import logging
import socket
import statistics
import sys
import threading
import time

import click
from ending import leave_no_process
from factorial import Factorials, served, workers
from resonate.options import Options
from samples import told

from local_server.kept import KeptConnections
from local_server.testing import LocalServer

ROUNDS = 3
TIMEOUTS, STEPS, MOST = 50_000, 300, 1.2
TASKS = 10_000
ROOTS = 200
WORKERS = 1_000
FAR = 2**60


class Client:
    """A connection that is kept."""

    def __init__(self, server: LocalServer) -> None:
        self.env = server.env
        self._connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)

    def __call__(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Make a call; return the answer."""
        self._connection.request(method, path, json.dumps(body) if body else None)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            sys.exit(f"{method} {path}: {answer.status} {text[:200]!r}")
        found: dict[str, object] = json.loads(text)
        return found


def due_at_once(call: Client, round_: int) -> int:
    """Create promises that all time out at one time; return that, in ms since the epoch."""
    began, some = time.time(), TIMEOUTS // 20
    for number in range(some):
        call("POST", "/promises", {"id": f"warm-{round_}-{number}", "timeout": FAR})
    at = int((began + 60 * (time.time() - began)) * 1000)  # three times as long as all are likely to take
    for number in range(TIMEOUTS):
        call("POST", "/promises", {"id": f"due-{round_}-{number}", "timeout": at})
    if time.time() * 1000 > at:
        sys.exit("found the first due before the last was there; expected a machine that does nothing else")
    return at


def steps(factorials: Factorials) -> float:
    """Return the seconds that so many steps take."""
    return sum(factorials.compute(factorials.fresh(100)) for _ in range(STEPS // 100))


def with_timeouts(server: LocalServer, factorials: Factorials) -> bool:
    """Tell whether steps beside so many time-outs are about as fast as alone."""
    alone, beside, late = list[float](), list[float](), list[float]()
    for round_ in range(ROUNDS):
        alone.append(steps(factorials))
        at = due_at_once(Client(server), round_)
        time.sleep(max(0, at / 1000 - time.time()))
        beside.append(steps(factorials))
        call = Client(server)
        while call("GET", f"/promises?id=due-{round_}-*&state=pending&limit=1")["promises"]:
            time.sleep(0.05)
        late.append(time.time() - at / 1000)
    told(f"{STEPS} steps", "s", alone)
    told(f"{STEPS} steps beside {TIMEOUTS:,} time-outs", "s", beside)
    told(f"{TIMEOUTS:,} time-outs, until the last", "s", late)
    return statistics.median(beside) <= MOST * statistics.median(alone)


def waiting(call: Client, tasks: int, prefix: str) -> float:
    """Return the ms a task of one worker for which so many have waited."""
    headers, data = Options().get_encoder().encode({"func": "factorial", "args": [1], "kwargs": {}, "version": 1})
    tags = {"resonate:invoke": "poll://any@factorial-worker"}
    promises = KeptConnections(call.env["RESONATE_HOST"], call.env["RESONATE_PORT_STORE"]).promises
    for number in range(tasks):
        promises.create(f"{prefix}-{number}", FAR, headers=headers, data=data, tags=tags)
    with workers(call.env, count=1):
        began = time.perf_counter()
        while call("GET", f"/promises?id={prefix}-*&state=pending&limit=1")["promises"]:
            time.sleep(0.01)
        return (time.perf_counter() - began) / tasks * 1000


def at_once(factorials: Factorials, roots: int, depth: int) -> float:
    """Return the ms a step of so many runs that are asked for at once."""
    threads = [threading.Thread(target=factorials.compute, args=(factorials.fresh(depth),)) for _ in range(roots)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / roots / depth * 1000


def connected(server: LocalServer, count: int) -> list[socket.socket]:
    """Connect so many workers that never do anything, in groups of ten."""
    host, port = server.poll_url.removeprefix("http://").split(":")
    streams = []
    for number in range(count):
        stream = socket.create_connection((host, int(port)))
        stream.sendall(f"GET /group-{number // 10}/w{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        stream.recv(4096)
        streams.append(stream)
    return streams


@click.command()
def main() -> None:
    """Measure, and print a line for each."""
    leave_no_process()
    logging.getLogger("resonate").setLevel(logging.ERROR)
    with served("file", None) as server:
        call = Client(server)
        for tasks in (100, TASKS):
            told(f"a task of one worker for which {tasks:,} wait", "ms", [waiting(call, tasks, f"wait-{tasks}")])
        factorials = Factorials(server.env, 0)
        with workers(server.env):
            factorials.compute(factorials.fresh(20))
            for roots in (1, ROOTS):
                told(f"a step of {roots} runs at once", "ms", [at_once(factorials, roots, 10) for _ in range(ROUNDS)])
            fast = with_timeouts(server, factorials)
            streams = connected(server, WORKERS)
            told(f"{STEPS} steps with {WORKERS:,} more workers", "s", [steps(factorials) for _ in range(ROUNDS)])
            for stream in streams:
                stream.close()
    if not fast:
        sys.exit(f"found {STEPS} steps beside {TIMEOUTS:,} time-outs slower; expected at most {MOST} times as long")


if __name__ == "__main__":
    main()
