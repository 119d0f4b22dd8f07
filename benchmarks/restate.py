"""A durable step of our factorial beside one of Restate, in one run, A B A B.

    uv run --with restate-sdk --with hypercorn benchmarks/restate.py

Ours: a local server on a file and three workers, as the SDK comes; another one with kept connections. Restate as it
comes: its server, and a service that calls itself in three hypercorn processes behind haproxy. What is missing is named
with the command that installs it. Exits 1 if a step of ours takes longer than it may, in times of Restate's.

All runs in a network namespace of its own: Restate's server looks for a newer release at each start, whatever is set.
"""

import fcntl
import importlib.metadata
import logging
import math
import os
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import psutil
import requests
from ending import leave_no_process
from factorial import Factorials, cpu_ms, served, workers
from samples import told

from local_server.testing import Child

STEPS = 100
AT_MOST = {"ours, as the SDK comes": 1.05, "ours, kept connections": 0.75}  # times Restate's ms a step
SCRIPTS = dict(zip(AT_MOST, ("factorial_worker.py", "benchmarks/kept_worker.py"), strict=True))
THEIRS = "Restate"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # of Linux: set the flags of a network device
INGRESS, ADMIN, PROXY, SERVICES = 8080, 9070, 9080, (9081, 9082, 9083)  # in a namespace where nobody else is
HAPROXY = """
defaults
    mode http
    option http-no-delay
    timeout connect 1s
    timeout client 1h
    timeout server 1h
listen services
    bind 127.0.0.1:{} proto h2
    default-server proto h2
"""


def missing(folder: Path) -> list[str]:
    """Return a line for each part that is not here."""
    installed = {one.name.replace("_", "-").lower() for one in importlib.metadata.distributions()}
    parts = (
        ("restate-sdk and hypercorn", {"restate-sdk", "hypercorn"} <= installed,
         "uv run --with restate-sdk --with hypercorn benchmarks/restate.py"),
        (f"server of Restate in {folder}", program(folder),
         f"npm install --ignore-scripts --prefix {folder} @restatedev/restate-server"),
        ("haproxy", shutil.which("haproxy"), "sudo apt-get install haproxy"),
    )  # fmt: skip
    return [f"found no {name}; expected it by: {command}" for name, here, command in parts if not here]


def program(folder: Path) -> Path | None:
    """Return the server of Restate itself; what npm puts on the path is a script that would outlive a kill -9 of it."""
    return next(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)


def leave_the_network() -> None:
    """Move this process, while it has one thread, to a network with nothing but 127.0.0.1."""
    user = os.getuid()
    try:
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    except OSError as error:
        sys.exit(f"found no network namespace ({error}); expected Linux that lets this user make one")


@contextmanager
def restate(server: Path, folder: Path) -> Iterator[list[Child]]:
    """Run Restate and the service; give their processes."""
    listed = [f"    server s{port} 127.0.0.1:{port}\n" for port in SERVICES]
    (folder / "haproxy.cfg").write_text(HAPROXY.format(PROXY) + "".join(listed))
    options = ["--bind-ip", "127.0.0.1", "--listen-mode", "tcp", "--base-dir", folder / "restate"]
    children = []
    try:
        for port in SERVICES:
            children += [Child.python(f"service {port}", "-P", "benchmarks/restate_service.py", str(port))]
        for child in children:
            child.wait_for("Running on")
        children += [Child("haproxy", ["haproxy", "-db", "-f", folder / "haproxy.cfg"])]
        env = {"RESTATE_DISABLE_TELEMETRY": "true", "TMPDIR": str(folder)}
        children += [Child("restate", [server, *options], env=env)]
        children[-1].wait_for("admin-api-server")
        service = {"uri": f"http://127.0.0.1:{PROXY}"}
        requests.post(f"http://127.0.0.1:{ADMIN}/deployments", json=service, timeout=60).raise_for_status()
        yield children
    finally:
        for child in children:
            child.kill()


def theirs(floors: Iterator[int]) -> Callable[[int], float]:
    """Return what computes a fresh product of so many numbers, in seconds."""
    session = requests.Session()

    def compute(steps: int) -> float:
        floor = next(floors)
        n = floor + steps
        start = time.perf_counter()
        answer = session.post(
            f"http://127.0.0.1:{INGRESS}/factorial/factorial",
            json=[floor, n], headers={"idempotency-key": f"factorial-{n}"}, timeout=600,
        )  # fmt: skip
        took = time.perf_counter() - start
        answer.raise_for_status()
        if answer.json() != math.prod(range(floor + 1, n + 1)):
            raise ValueError(f"found {answer.text} of Restate; expected the product of {floor + 1} to {n}")
        return took

    return compute


def cpu_of_others(*children: Child) -> float:
    """Return the CPU ms so far of all processes but these and this one."""
    everybody = psutil.cpu_times()
    return (everybody.user + everybody.nice + everybody.system - sum(os.times()[:2])) * 1000 - cpu_ms(*children)


def measure(stack: ExitStack, server: Path, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the ms and the CPU ms of a step, of each; print how busy the machine was with other things."""
    runs: dict[str, tuple[Callable[[int], float], list[Child]]] = {}
    for name, script in SCRIPTS.items():
        own = stack.enter_context(served("file", None))
        children = stack.enter_context(workers(own.env, script=script))
        ours = Factorials(own.env, 0)
        runs[name] = (lambda steps, ours=ours: ours.compute(ours.fresh(steps))), [own.child, *children]
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    children = stack.enter_context(restate(server, Path(folder)))
    runs[THEIRS] = theirs(iter(range(1_000, 10**9, 1_000))), children
    for compute, _ in runs.values():  # everything is loaded and connected then
        compute(STEPS)
    times, cpus = ({name: list[float]() for name in runs} for _ in range(2))
    all_children = [child for _, children in runs.values() for child in children]
    start, others = time.perf_counter(), cpu_of_others(*all_children)
    for _ in range(rounds):
        for name, (compute, children) in runs.items():
            before = cpu_ms(*children)
            times[name].append(compute(STEPS) / STEPS * 1000)
            cpus[name].append((cpu_ms(*children) - before) / STEPS)
    most = (time.perf_counter() - start) * (os.cpu_count() or 1) * 1000
    part = max(0, cpu_of_others(*all_children) - others) / most  # ticks are counted in two ways
    print(f"other processes took {part:.0%} of the {os.cpu_count()} cores")
    return times, cpus


@click.command()
@click.option("--rounds", default=20, show_default=True)
@click.option(
    "--server", "folder", default=Path("~/.cache/restate-server").expanduser(), show_default="~/.cache/restate-server",
    type=click.Path(file_okay=False, path_type=Path), help="Where npm has installed the server of Restate.",
)  # fmt: skip
def main(rounds: int, folder: Path) -> None:
    """Measure, and print a line for each."""
    leave_no_process()
    server = program(folder)
    if lines := missing(folder):
        sys.exit("\n".join(lines))
    leave_the_network()
    logging.getLogger("resonate").setLevel(logging.ERROR)
    with ExitStack() as stack:
        times, cpus = measure(stack, server, rounds)
    for name, values in times.items():
        told(f"a step, {name}", "ms", values)
    for name, values in cpus.items():
        told(f"CPU of a step, {name}", "ms", values)
    slow = []
    for name, most in AT_MOST.items():
        ratios = [one / other for one, other in zip(times[name], times[THEIRS], strict=True)]
        told(f"{name}, in times of Restate's", "times", ratios)
        if (median := statistics.median(ratios)) > most:
            slow.append(f"found {name}: {median:.2f} times as long as Restate; expected at most {most}")
    if slow:
        sys.exit("\n".join(slow))


if __name__ == "__main__":
    main()
