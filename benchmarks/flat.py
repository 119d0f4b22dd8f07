"""Whether cost grows with what is stored: request time and memory of the server, at more and more promises.

uv run benchmarks/flat.py
"""

import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path

import click
import psutil
from ending import leave_no_process

from local_server.testing import LocalServer

SAMPLE = 500  # promises whose calls are timed, after each stretch of others


def call(
    connection: http.client.HTTPConnection, method: str, path: str, body: dict[str, object] | None = None
) -> float:
    """Make a call; return its milliseconds."""
    start = time.perf_counter()
    connection.request(method, path, json.dumps(body) if body is not None else None)
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 400:  # noqa: PLR2004 - a refusal
        raise click.ClickException(f"{method} {path}: {answer.status}")
    return (time.perf_counter() - start) * 1000


@click.command()
@click.option("--promises", default=100_000, show_default=True)
@click.option("--stretches", default=4, show_default=True)
def main(promises: int, stretches: int) -> None:
    """Measure, and print a line for each stretch."""
    leave_no_process()
    with tempfile.TemporaryDirectory() as folder:
        server = LocalServer(Path(folder))
        process = psutil.Process(server.child.pid)
        connection = http.client.HTTPConnection(*server.url.removeprefix("http://").split(":"))
        number = 0
        print("  promises   memory MB   create ms   complete ms    get ms   search of a page ms   (medians)")
        for stretch in range(stretches + 1):
            while number < promises * stretch // stretches:
                call(connection, "POST", "/promises", {"id": f"p{number}", "timeout": 2**60, "tags": {"k": "v"}})
                call(connection, "PATCH", f"/promises/p{number}", {"state": "RESOLVED", "value": {"data": "MQ=="}})
                number += 1
            times: dict[str, list[float]] = {"create": [], "complete": [], "get": [], "search": []}
            for _ in range(SAMPLE):
                path = f"/promises/p{number}"
                times["create"].append(call(connection, "POST", "/promises", {"id": path[10:], "timeout": 2**60}))
                times["complete"].append(call(connection, "PATCH", path, {"state": "RESOLVED"}))
                times["get"].append(call(connection, "GET", path))
                times["search"].append(call(connection, "GET", "/promises?id=*&limit=10"))
                number += 1
            create, complete, get, search = (statistics.median(values) for values in times.values())
            memory = process.memory_info().rss / 2**20
            print(f"{number:10}{memory:12.1f}{create:12.2f}{complete:14.2f}{get:10.2f}{search:22.2f}", flush=True)
        server.stop()


if __name__ == "__main__":
    main()
