"""What a store of a million promises costs: the start of the server, its memory, lists and searches.

    uv run benchmarks/stored.py [PROMISES]

Fills a file in a temporary folder, starts a server on it, and asks for a page of 100 in several ways, over HTTP. Half
of the promises begin with ``old-``, the newer half with ``new-``; all are roots and completed but for the first 100.
"""

import http.client
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import click
import psutil
from ending import leave_no_process

from local_server.store.store import Store
from local_server.testing import LocalServer

PROMISES = 1_000_000
PENDING = 100
ROUNDS = 11
INSERT = """INSERT INTO promises (id, state, param, value, timeout, tags, created_on, completed_on)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
PARAM = '{"headers":{},"data":"eyJmdW5jIjogImZhY3RvcmlhbCIsICJhcmdzIjogWzEwXSwgImt3YXJncyI6IHt9fQ=="}'
VALUE = '{"headers":{},"data":"MzYyODgwMA=="}'
TAGS = '{"resonate:invoke":"poll://any@factorial-workers"}'
SEARCHES = {
    "the newest": "*",
    "pending, the 100 oldest": "*&state=pending",
    "by the id": "old-000123",
    "by a prefix that 10 have": "old-00012*",
    "by a prefix that none has": "none-*",
    "by a prefix of the newer half": "new-*",
    "by a prefix of the oldest tenth": "old-0*",
    "by a part that none has": "*none*",
}


def rows(promises: int) -> Iterator[tuple[object, ...]]:
    """Yield the promises, the oldest first."""
    half = promises // 2
    for number in range(promises):
        name = f"old-{number:06d}" if number < half else f"new-{number - half:06d}"
        state, value, end = ("PENDING", "{}", None) if number < PENDING else ("RESOLVED", VALUE, number + 1)
        yield name, state, PARAM, value, 2**60, TAGS, number, end


@click.command()
@click.argument("promises", type=click.IntRange(min=1), default=PROMISES)
def main(promises: int) -> None:
    """Measure, and print a line for each."""
    leave_no_process()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "resonate.db")
        store.begin()
        store.db.executemany(INSERT, rows(promises))
        store.commit()
        store.close()
        began = time.perf_counter()
        server = LocalServer(Path(folder))
        print(f"{promises:,} promises: ready after {time.perf_counter() - began:.2f} s", flush=True)
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        for name, query in SEARCHES.items():
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                connection.request("GET", f"/promises?id={quote(query, safe='*&=')}")
                answer = connection.getresponse()
                answer.read()
                times.append((time.perf_counter() - began) * 1000)
                if answer.status != http.HTTPStatus.OK:
                    sys.exit(f"{query}: {answer.status}")
            middle, spread = statistics.median(times), f"{min(times):.1f} to {max(times):.1f}"
            print(f"{name:36}{middle:8.1f} ms   ({spread}, {ROUNDS} runs)", flush=True)
        memory = psutil.Process(server.child.pid).memory_info().rss / 2**20
        print(f"{memory:.0f} MB of memory", flush=True)
        server.stop()


if __name__ == "__main__":
    main()
