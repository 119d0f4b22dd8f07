"""What a test with the kit costs: a server in the test's process, and a function that sleeps for 30 days.

uv run benchmarks/kit.py
"""

import os
import statistics
import time
from collections.abc import Callable, Generator
from typing import Any

import click
from resonate import Context, Resonate

from local_server.testing.thread import ThreadServer

MONTH = 30 * 24 * 3600


def waits(ctx: Context) -> Generator[Any, Any, str]:
    """Sleep for 30 days."""
    yield ctx.sleep(MONTH)
    return "done"


def start_and_stop() -> None:
    """Run a server for a moment."""
    with ThreadServer():
        pass


def show(what: str, runs: int, run: Callable[[int], object]) -> None:
    """Time it, after a first run that imports and connects; print the median."""
    run(-1)
    times = []
    for number in range(runs):
        begin = time.perf_counter()
        run(number)
        times.append((time.perf_counter() - begin) * 1000)
    print(f"{what:34} {statistics.median(times):8.1f} ms   ({min(times):.1f} to {max(times):.1f}, {runs} runs)")


@click.command()
@click.option("--runs", default=20, show_default=True)
def main(runs: int) -> None:
    """Measure, and print a line each."""
    show("server in the test's process", runs, lambda _: start_and_stop())
    with ThreadServer() as server:
        os.environ |= server.env
        resonate = Resonate.remote()
        resonate.register(waits)
        with server.skip_time():
            show("function that sleeps for 30 days", runs, lambda number: resonate.run(f"waits-{number}", waits))
        resonate.stop()


if __name__ == "__main__":
    main()
