"""How fast the calculator is, what a second ops worker brings, and what the largest expressions cost.

    uv run benchmarks/calculator.py
    uv run benchmarks/calculator.py --large      # minutes

Two exp workers, on a server of its own with its database on disk; each run is under a fresh id, each figure is the
median of 5 runs, with the fastest and the slowest; runs with one and with two ops workers alternate. A balanced tree of
31 operators has 94 parts: 63 expressions to take apart (32 of them are numbers) and 31 operations.

Where an operator takes 100 ms, two ops workers need 16 turns for what one does in 31 (64 for 127): the speed-up can be
1.94 (1.98) at most, less the time to take the tree apart, which comes before the first operator. Exits 1 if it is less
than 1.7 for 31 operators, or less than 1.8 for 127.
"""

import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import click
import psutil
from ending import leave_no_process
from resonate import Resonate

from local_server.testing import Child, LocalServer

type Expr = int | tuple[str, Expr, Expr]

RUNS = 5
DELAY = 0.1  # seconds that an operator takes when the overlap of two ops workers is measured
SMALL = {32: 1.7, 128: 1.8}  # terms, and the least speed-up that is good enough
LEVELS = 700  # as many as the calculator takes
TERMS = 10_000


def halves(terms: int) -> Expr:
    """Return a sum that every operator halves."""
    return ("+", halves(terms // 2), halves(terms - terms // 2)) if terms > 1 else 1


def row(terms: int) -> Expr:
    """Return a sum grouped from the left, as it is without parentheses: one level for each operator."""
    expr: Expr = 1
    for _ in range(terms - 1):
        expr = ("+", expr, 1)
    return expr


@contextmanager
def worker(server: LocalServer, name: str, delay: float = 0.0) -> Iterator[Child]:
    """Start a worker of this ``group/id``; stop it at the end."""
    group, _, member = name.partition("/")
    options = ["--delay", str(delay)] if group == "ops" else []
    started = Child.python(
        name, "-m", "calculator.calculator", "--group", group, "--id", member, *options, env=server.env
    )
    try:
        started.wait_for("is ready")
        yield started
    finally:
        started.stop()


@contextmanager
def workers(server: LocalServer, ops: int, delay: float = 0.0) -> Iterator[list[Child]]:
    """Start two exp workers and this many ops workers; stop them at the end."""
    with ExitStack() as stack:
        names = ("exp/lhs", "exp/rhs", *(f"ops/{number}" for number in range(ops)))
        yield [stack.enter_context(worker(server, name, delay)) for name in names]


def run(resonate: Resonate, terms: int, expr: Expr) -> float:
    """Return the seconds from the request for a sum of so many ones to its value in hand."""
    started = time.perf_counter()
    value = resonate.options(target="poll://exp").rpc(str(uuid.uuid4()), "=", expr)
    took = time.perf_counter() - started
    if value != terms:
        sys.exit(f"found the value {value}, expected {terms}")
    return took


def timed(resonate: Resonate, terms: int) -> float:
    """Return the time of a run, after a short one that waits until every worker is connected."""
    run(resonate, 4, halves(4))
    return run(resonate, terms, halves(terms))


def shown(times: list[float]) -> str:
    """Return their median and range."""
    return f"{median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"


def small(resonate: Resonate, server: LocalServer) -> bool:
    """Measure small trees; return whether every speed-up is as expected."""
    for terms in SMALL:
        parts = 3 * terms - 2
        with workers(server, ops=2):
            times = [timed(resonate, terms) for _ in range(RUNS)]
        rate = parts / median(times)
        print(f"{terms - 1} operators, {parts} parts: {shown(times)}, {rate:.0f} parts a second", flush=True)
    overlaps = True
    for terms, enough in SMALL.items():
        one, two = [], []
        with workers(server, 1, DELAY):
            for _ in range(RUNS):
                one.append(timed(resonate, terms))
                with worker(server, "ops/1", DELAY):
                    two.append(timed(resonate, terms))
        speed_up = median(one) / median(two)
        overlaps &= speed_up >= enough
        print(
            f"{terms - 1} operators of {DELAY * 1000:.0f} ms each: {shown(one)} with 1 ops worker, "
            f"{shown(two)} with 2, speed-up {speed_up:.2f} (at least {enough})",
            flush=True,
        )
    return overlaps


def large(resonate: Resonate, server: LocalServer) -> None:
    """Measure the deepest tree, and a wide one."""
    sys.setrecursionlimit(10_000)
    for what, terms, expr in (
        (f"{LEVELS + 1} terms in a row", LEVELS + 1, row(LEVELS + 1)),
        (f"{TERMS:,} terms in halves", TERMS, halves(TERMS)),
    ):
        with workers(server, ops=2) as team:
            took = run(resonate, terms, expr)
            memory = max(psutil.Process(worker.pid).memory_info().rss for worker in team)
        print(f"{what}: {took:.0f} s, {memory / 1e6:.0f} MB in the largest worker", flush=True)


@click.command()
@click.option("--large", "big", is_flag=True, help="Measure the largest expressions instead.")
def main(*, big: bool) -> None:
    """Measure, and print one line for each figure."""
    leave_no_process()
    logging.getLogger("resonate").setLevel(logging.ERROR)  # the client here outlives the server
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = LocalServer(Path(folder))
        stack.callback(server.stop)
        os.environ.update(server.env)
        resonate = Resonate.remote(group="benchmark")
        if big:
            large(resonate, server)
        elif not small(resonate, server):
            sys.exit(1)


if __name__ == "__main__":
    main()
