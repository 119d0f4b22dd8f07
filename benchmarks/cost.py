"""What a request and a step cost: CPU of the server by kind of request, its rate, and of a step by who spends it.

    uv run benchmarks/cost.py                        this checkout
    uv run benchmarks/cost.py --against ../before    another checkout as well, in turn with this one: A B A B

CPU is that of the process, user and system, as Linux tells it; so a busy machine disturbs less than with a stopwatch.
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
import psutil
from ending import leave_no_process
from factorial import FAR, Factorials, requests_per_second, workers
from samples import told

from local_server.testing import Child, LocalServer

ROUNDS, TIMES = 20, 20  # blocks of so many requests of each kind
BURSTS = 10  # of three seconds
STEPS = 100
HERE = Path(__file__).parent.parent
VALUE = {"headers": {"resonate:format-py": "." * 60}, "data": "MTIz" * 25}
HEAD = (
    "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: python-requests/2\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n"
    "Connection: keep-alive\r\nstrict: False\r\nidempotency-Key: k\r\nContent-Length: {}\r\n"
    "Content-Type: application/json\r\n\r\n"
)  # as the SDK sends it
Call = tuple[str, str, dict[str, object]]


def calls(n: int) -> dict[str, Call]:
    """Return the calls of one step, in order; those in brackets only prepare."""
    tags = {"resonate:invoke": "poll://any@g", "resonate:parent": "p", "resonate:root": "p", "resonate:scope": "global"}
    claim = {"counter": 1, "processId": "w", "ttl": 10_000}
    waits = {"rootPromiseId": f"p{n}", "timeout": FAR, "recv": "poll://any@g/w"}
    return {
        "create, with its task": ("POST", "/promises", {"id": f"p{n}", "param": VALUE, "timeout": FAR, "tags": tags}),
        "claim": ("POST", "/tasks/claim", {"id": f"__invoke:p{n}", **claim}),
        "(child)": ("POST", "/promises", {"id": f"q{n}", "timeout": FAR}),
        "callback": ("POST", f"/promises/callback/q{n}", waits),
        "complete a task": ("POST", "/tasks/complete", {"id": f"__invoke:p{n}", "counter": 1}),
        "(child ends)": ("PATCH", f"/promises/q{n}", {"state": "RESOLVED", "value": VALUE}),
        "claim a resume": ("POST", "/tasks/claim", {"id": f"__resume:p{n}:q{n}", **claim}),
        "complete a promise": ("PATCH", f"/promises/p{n}", {"state": "RESOLVED", "value": VALUE}),
        "complete a task again": ("POST", "/tasks/complete", {"id": f"__resume:p{n}:q{n}", "counter": 1}),
    }


def cpu_ms(pid: int) -> float:
    """Return the CPU time of a process so far, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


class Measured:
    """A process that answers requests, and the CPU ms that each kind of them has taken."""

    def __init__(self, child: Child, port: int) -> None:
        self.costs: dict[str, list[float]] = {}
        self._child, self._port, self._count = child, port, 0

    def _call(self, method: str, path: str, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.sendall(HEAD.format(method, path, "localhost", len(data)).encode())
            connection.sendall(data)
            if (answer := connection.recv(65_536))[9:12] not in (b"200", b"201"):
                sys.exit(f"{method} {path}: {answer!r}")

    def block(self) -> None:
        """Make some calls of each kind."""
        steps = [calls(n) for n in range(self._count, self._count + TIMES)]
        self._count += TIMES
        for kind in steps[0]:
            before = cpu_ms(self._child.pid)
            for step in steps:
                self._call(*step[kind])
            if not kind.startswith("("):
                self.costs.setdefault(kind, []).append((cpu_ms(self._child.pid) - before) / TIMES)


def serve(checkout: Path, folder: Path | None) -> LocalServer:
    """Start a server of some checkout, with one connected worker that takes what it is sent."""
    server = LocalServer(folder, env={"PYTHONPATH": str(checkout)}, start=partial(Child.python, cwd=checkout))
    stream = socket.create_connection(("127.0.0.1", port_of(server.poll_url)))
    stream.sendall(b"GET /g/w HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def drop() -> None:
        while stream.recv(65_536):
            pass

    threading.Thread(target=drop, daemon=True).start()
    return server


def port_of(url: str) -> int:
    """Return the port in a URL."""
    return int(url.rpartition(":")[2])


def requests(checkouts: dict[str, Path], folder: Path | None) -> None:
    """Print the CPU of each kind of request, and of all; and how many a second eight callers get answered."""
    kept = "file" if folder else "memory"
    with ExitStack() as stack:
        servers = dict[str, LocalServer]()
        for number, (name, checkout) in enumerate(checkouts.items()):
            own = folder and folder / str(number)
            own and own.mkdir()
            servers[name] = serve(checkout, own)
            stack.callback(servers[name].stop)
        empty = Child.python("empty", "benchmarks/empty_server.py", cwd=HERE)
        stack.callback(empty.kill)
        measured = {f"{kept}{name}": Measured(one.child, port_of(one.url)) for name, one in servers.items()}
        measured["empty server"] = Measured(empty, int(empty.wait_for(r"port (\d+)").group(1)))
        for one in measured.values():
            one.block()
            one.costs.clear()
        for _ in range(ROUNDS):
            for one in measured.values():
                one.block()
        for name, one in measured.items():
            every = [statistics.mean(values) for values in zip(*one.costs.values(), strict=True)]
            for kind, values in ({} if name == "empty server" else one.costs).items():
                told(f"{kind}, {name}", "ms", values)
            told(f"a request, {name}", "ms", every)
        rates: dict[str, list[float]] = {name: [] for name in checkouts}
        for _ in range(BURSTS):
            for name, server in servers.items():
                rates[name].append(requests_per_second(server.env))
        for name, values in rates.items():
            told(f"create + complete, {kept}{name}", "requests/s", values)


def step(folder: Path) -> None:
    """Print who spends what on a durable step: the SDK in workers and client, the server, its kernel, its disk."""
    server = LocalServer(folder)
    me, rows = psutil.Process(), dict[str, list[float]]()
    try:
        factorials = Factorials(server.env, 0)
        with workers(server.env) as children:
            factorials.compute(factorials.fresh(20))
            of_sdk, of_server = [psutil.Process(child.pid) for child in children], psutil.Process(server.child.pid)
            for _ in range(5):
                n = factorials.fresh(STEPS)
                before = [one.cpu_times() for one in (*of_sdk, me, of_server)]
                took = factorials.compute(n)
                spent = [(a.user - b.user, a.system - b.system) for a, b in
                         zip([one.cpu_times() for one in (*of_sdk, me, of_server)], before, strict=True)]  # fmt: skip
                for name, seconds in {
                    "a step, from end to end": took,
                    "CPU of the SDK, user": sum(user for user, _ in spent[:-1]),
                    "CPU of the SDK, kernel": sum(system for _, system in spent[:-1]),
                    "CPU of the server, user": spent[-1][0],
                    "CPU of the server, kernel": spent[-1][1],
                }.items():
                    rows.setdefault(name, []).append(seconds / STEPS * 1000)
            for name, values in rows.items():
                told(name, "ms", values)
            if strace := shutil.which("strace"):
                syncs(strace, server.child.pid, factorials)
    finally:
        server.stop()


def syncs(strace: str, pid: int, factorials: Factorials) -> None:
    """Print how often a step waits for the disk, and for how long."""
    n = factorials.fresh(STEPS)
    with tempfile.NamedTemporaryFile("r") as log:
        tracer = subprocess.Popen([strace, "-f", "-T", "-e", "fdatasync", "-p", str(pid), "-o", log.name],
                                  stderr=subprocess.PIPE)  # fmt: skip
        tracer.stderr.readline()  # it has attached
        factorials.compute(n)
        tracer.terminate()
        tracer.communicate()
        waits = [float(found) * 1000 for found in re.findall(r"<(\d+\.\d+)>", log.read())]
    told("syncs a step", "", [len(waits) / STEPS])
    told("a sync", "ms", waits)


@click.command()
@click.option("--against", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout.")
def main(against: Path | None) -> None:
    """Measure, and print a line for each."""
    if not Path("/proc/self/schedstat").exists():
        sys.exit("found no /proc/self/schedstat; expected Linux")
    leave_no_process()
    checkouts = {", here": HERE, ", there": against.resolve()} if against else {"": HERE}
    requests(checkouts, None)
    with tempfile.TemporaryDirectory() as folder:
        requests(checkouts, Path(folder))
        step(Path(folder))
    os._exit(0)  # the SDK's client never ends by itself


if __name__ == "__main__":
    main()
