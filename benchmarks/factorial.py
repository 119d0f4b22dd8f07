"""What a step of the factorial costs, what a stored result costs, and how soon a killed worker is replaced.

    uv run benchmarks/factorial.py                          the local server: in memory, on a file, on PostgreSQL
    uv run benchmarks/factorial.py postgres                 one of these
    uv run benchmarks/factorial.py --running 8001 8002      a server that runs already, the official one for instance

Everything is measured in one run, as medians with the range. The machine's speed drifts, so the steps are also counted
in SDK calls: one `requests` call on a new connection to a server that answers from a constant, measured in between.
"""

import http.client
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
import requests
from ending import leave_no_process
from resonate import Resonate
from resonate.options import Options
from samples import Samples

from local_server.testing import Child, LocalServer
from local_server.testing.postgres import Cluster, programs

CALLERS = 8
FAR = 2**60  # a time-out that nobody reaches


@dataclass
class Running:
    """A server that somebody else has started."""

    env: dict[str, str]
    child: None = None


@contextmanager
def served(kind: str, running: tuple[int, int] | None) -> Iterator[LocalServer | Running]:
    """Give a server: the running one, or one of our own."""
    if running:
        yield Running({"RESONATE_HOST": "http://127.0.0.1", "RESONATE_PORT_STORE": str(running[0]),
                       "RESONATE_PORT_MESSAGE_SOURCE": str(running[1])})  # fmt: skip
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        cluster = stack.enter_context(closing(Cluster(sync=True))) if kind == "postgres" else None
        server = LocalServer(cluster.url() if cluster else Path(folder) if kind == "file" else None)
        try:
            yield server
        finally:
            server.stop()


def kinds() -> list[str]:
    """Return the kinds of store that this machine has."""
    try:
        programs()
    except FileNotFoundError as error:
        print(error)
        return ["memory", "file"]
    return ["memory", "file", "postgres"]


@contextmanager
def workers(
    env: dict[str, str], *options: str, count: int = 3, script: str = "factorial_worker.py",
    on_line: Callable[[str, str], None] | None = None,
) -> Iterator[list[Child]]:  # fmt: skip
    """Run workers."""
    children = [
        Child.python(f"w{i}", script, "--id", f"w{i}", *options, env=env, on_line=on_line) for i in range(count)
    ]
    try:
        for child in children:
            child.wait_for("is ready")
        yield children
    finally:
        for child in children:
            child.kill()


def cpu_ms(*children: Child | None) -> float:
    """Return the CPU time of processes so far."""
    return sum(sum(psutil.Process(child.pid).cpu_times()[:2]) for child in children if child) * 1000


def call(url: str, method: str, path: str, body: dict[str, object]) -> None:
    """Make one call as the SDK makes it: on a connection of its own."""
    request = requests.Request(method, url + path, json=body, headers={"strict": "False", "idempotency-Key": "k"})
    with requests.Session() as session:
        session.send(request.prepare(), timeout=5).json()


def sdk_call_ms(url: str, times: int = 300) -> float:
    """Return what a call costs against the constant server."""
    body = {"id": "x", "param": {"headers": {"resonate:format-py": "." * 60}, "data": "." * 100}, "timeout": FAR}
    start = time.perf_counter()
    for _ in range(times):
        call(url, "POST", "/promises", body)
    return (time.perf_counter() - start) / times * 1000


class Factorials:
    """Computes products of fresh numbers: each starts above a stored floor, so that nothing of it is known yet."""

    def __init__(self, env: dict[str, str], first: int) -> None:
        self._client = Resonate.remote(
            group="bench", host=env["RESONATE_HOST"], store_port=env["RESONATE_PORT_STORE"],
            message_source_port=env["RESONATE_PORT_MESSAGE_SOURCE"],
        )  # fmt: skip
        self._client.start()
        self._floor = first

    def fresh(self, steps: int) -> int:
        """Store a floor; return the n whose factorial takes that many steps from there."""
        self._floor += 1_000
        headers, data = Options().get_encoder().encode(1)
        floor = f"factorial-{self._floor}"
        self._client.promises.create(floor, FAR, ikey=floor)
        self._client.promises.resolve(floor, headers=headers, data=data)
        return self._floor + steps

    def compute(self, n: int) -> float:
        """Return the seconds from asking for n! to having it."""
        start = time.perf_counter()
        self._client.options(target="poll://any@factorial-worker").begin_rpc(f"factorial-{n}", "factorial", n).result()
        return time.perf_counter() - start


def requests_per_second(env: dict[str, str], seconds: float = 3) -> float:
    """Return the rate of create + complete of distinct promises by callers that open a connection for each."""
    host, port = env["RESONATE_HOST"].partition("://")[2], int(env["RESONATE_PORT_STORE"])
    deadline, done, run = time.perf_counter() + seconds, [0] * CALLERS, os.urandom(4).hex()

    def caller(number: int) -> None:
        while time.perf_counter() < deadline:
            promise = f"rate-{run}-{number}-{done[number]}"
            for method, path, body in (
                ("POST", "/promises", {"id": promise, "timeout": FAR}),
                ("PATCH", f"/promises/{promise}", {"state": "RESOLVED", "value": {"data": "MQ=="}}),
            ):
                connection = http.client.HTTPConnection(host, port)
                connection.request(method, path, json.dumps(body))
                connection.getresponse().read()
                connection.close()
                done[number] += 1

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def recovery(env: dict[str, str], factorials: Factorials) -> float:
    """Return the seconds from the kill -9 of the worker that runs a step to that step running elsewhere."""
    runs: list[tuple[float, str, int]] = []  # time, worker, step
    more = threading.Condition()

    def on_line(name: str, line: str) -> None:
        if line.startswith("Calculating"):
            with more:
                runs.append((time.perf_counter(), name, int(line.rpartition(" ")[2])))
                more.notify_all()

    with workers(env, "--delay", "0.3", on_line=on_line) as children:
        asking = threading.Thread(target=factorials.compute, args=(factorials.fresh(6),), daemon=True)
        asking.start()
        with more:
            more.wait_for(lambda: len(runs) >= 3, timeout=60)  # noqa: PLR2004 - in the middle of the run
            _, victim, step = runs[-1]
        killed = time.perf_counter()
        next(child for child in children if child.name == victim).kill()
        with more:
            more.wait_for(lambda: any(run[1] != victim and run[2] == step for run in runs), timeout=120)
            taken_over = min(run[0] for run in runs if run[1] != victim and run[2] == step)
        asking.join(timeout=120)
    return taken_over - killed


def measure(
    env: dict[str, str], server: Child | None, rounds: int, first: int, constant_url: str
) -> dict[str, Samples]:
    """Measure one server."""
    table = {
        "SDK call, constant server": Samples("ms"),
        "step, n = 50": Samples("ms"),
        "step, n = 100": Samples("ms"),
        "step, n = 100, in SDK calls": Samples("calls"),
        "server CPU a step": Samples("ms"),
        "workers CPU a step": Samples("ms"),
        "step, kept connections": Samples("ms"),
        "stored result, asked again": Samples("ms"),
        "create + complete, 8 callers": Samples("requests/s"),
        "taken over after kill -9": Samples("s"),
    }
    factorials = Factorials(env, first)
    for _ in range(rounds):
        with workers(env) as children:
            factorials.compute(factorials.fresh(20))  # everything is loaded and connected then
            call_ms = sdk_call_ms(constant_url)
            table["SDK call, constant server"].values.append(call_ms)
            table["step, n = 50"].values.append(factorials.compute(factorials.fresh(50)) / 50 * 1000)
            n, before = factorials.fresh(100), (cpu_ms(server), cpu_ms(*children))
            step_ms = factorials.compute(n) / 100 * 1000
            table["step, n = 100"].values.append(step_ms)
            table["step, n = 100, in SDK calls"].values.append(step_ms / call_ms)
            table["server CPU a step"].values.append((cpu_ms(server) - before[0]) / 100)
            table["workers CPU a step"].values.append((cpu_ms(*children) - before[1]) / 100)
            table["stored result, asked again"].values.append(factorials.compute(n) * 1000)
        with workers(env, script="benchmarks/kept_worker.py"):
            factorials.compute(factorials.fresh(20))
            table["step, kept connections"].values.append(factorials.compute(factorials.fresh(100)) / 100 * 1000)
    for _ in range(rounds):
        table["create + complete, 8 callers"].values.append(requests_per_second(env))
        table["taken over after kill -9"].values.append(recovery(env, factorials))
    return table


@click.command()
@click.argument("only", nargs=-1, metavar="[memory|file|postgres]...")
@click.option("--running", nargs=2, type=int, metavar="PORT POLL_PORT", help="Measure the server on these ports.")
@click.option("--rounds", default=5, show_default=True)
def main(running: tuple[int, int] | None, rounds: int, only: tuple[str, ...]) -> None:
    """Measure, and print a table for each kind of store."""
    leave_no_process()
    logging.getLogger("resonate").setLevel(logging.ERROR)  # the client here outlives the servers
    constant = Child.python("constant", "benchmarks/constant_server.py")
    try:
        constant_url = f"http://127.0.0.1:{constant.wait_for(r'port (\d+)').group(1)}"
        for kind in ["running"] if running else only or kinds():
            first = int(time.time()) % 10**6 * 1_000 if running else 0  # not known to that server yet
            with served(kind, running) as server:
                table = measure(server.env, server.child, rounds, first, constant_url)
            print(f"{kind}\n" + "\n".join(f"  {name:30}{samples}" for name, samples in table.items()), flush=True)
    finally:
        constant.kill()


if __name__ == "__main__":
    main()
