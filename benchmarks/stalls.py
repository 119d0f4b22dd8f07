"""How long one large request makes all others wait, since one process answers them all.

    uv run benchmarks/stalls.py

Starts a server on a file in a temporary folder. While it is at work on a large request, a small one is sent again and
again on another connection: the longest wait of these counts. Exits 1 if the median of one kind is 50 ms or more.
"""

import http.client
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from ending import leave_no_process

from local_server.testing import LocalServer

ROUNDS = 5
NODES = 22_000  # of the tree
CALLBACKS = 50_000
CROWDS = 2  # promises with so many
RESULTS = 500  # of 100 kB, for one client
CLAIMS = 10_000  # of one process
LONG = 1_000  # promises with long ids and tags
LIMIT = 50.0  # ms
FAR = 2**60
MB = 2**20
TAGS = {f"{number}": "" for number in range(10_000)}


class Client:
    """A connection that is kept."""

    def __init__(self, server: LocalServer) -> None:
        self._connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)

    def __call__(self, method: str, path: str, body: dict[str, object] | bytes | None = None) -> bytes:
        """Make a call, its body a dict or JSON; return the answer."""
        self._connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201, 404):
            sys.exit(f"{method} {path}: {answer.status} {text[:200]!r}")
        return text


@contextmanager
def waits(client: Client) -> Iterator[list[float]]:
    """Send small requests until the end of the block; the list then has the ms of each."""
    times: list[float] = []
    done = threading.Event()

    def probe() -> None:
        while not done.wait(0.001):
            began = time.perf_counter()
            client("GET", "/promises/none")
            times.append((time.perf_counter() - began) * 1000)

    prober = threading.Thread(target=probe)
    prober.start()
    yield times
    done.set()
    prober.join()


def fill(call: Client) -> None:
    """Store a tree, promises on which many wait, large results, claims, and promises with long ids and tags."""
    for number in range(NODES):
        tags = {"resonate:parent": f"tree-{(number - 1) // 100}"} if number else {}
        call("POST", "/promises", {"id": f"tree-{number}", "timeout": FAR, "tags": tags})
    for crowd in range(CROWDS):
        call("POST", "/promises", {"id": f"crowd-{crowd}", "timeout": FAR})
        for number in range(CALLBACKS):
            wanted = {"id": f"{number}", "recv": "poll://uni@nobody/n", "timeout": FAR}
            call("POST", f"/promises/subscribe/crowd-{crowd}", wanted)
    for number in range(RESULTS):
        call("POST", "/promises", {"id": f"result-{number}", "timeout": FAR})
        wanted = {"id": "c", "recv": "poll://uni@somebody/c", "timeout": FAR}
        call("POST", f"/promises/subscribe/result-{number}", wanted)
        call("PATCH", f"/promises/result-{number}", resolve(100_000))
    for number in range(CLAIMS):
        promise = {"id": f"claim-{number}", "timeout": FAR, "tags": {"resonate:invoke": "poll://any@g"}}
        call("POST", "/promises/task", {"promise": promise, "task": {"processId": "p", "ttl": 2**50}})
    for number in range(LONG):
        tags = {f"t{place}": "x" for place in range(500)}
        call("POST", "/promises", {"id": f"{'a' * 1_000}{number}", "timeout": FAR, "tags": tags})


def come_back(server: LocalServer, client: str) -> None:
    """Open the stream of a client for which many ends wait, take what it is sent in a second, and leave."""
    host, _, port = server.poll_url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port))) as stream:
        stream.sendall(f"GET /{client} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        end = time.monotonic() + 1
        while time.monotonic() < end:
            stream.settimeout(max(0.001, end - time.monotonic()))
            try:
                stream.recv(2**20)
            except TimeoutError:
                break


def resolve(size: int) -> bytes:
    """Return the body that resolves a promise with so many bytes of base64."""
    return json.dumps({"state": "RESOLVED", "value": {"data": "A" * size}}).encode()


@click.command()
def main() -> None:
    """Measure, and print a line for each kind of request."""
    leave_no_process()
    with tempfile.TemporaryDirectory() as folder:
        server = LocalServer(Path(folder))
        call, other = Client(server), Client(server)
        fill(call)

        def value(round_: int, body: bytes) -> None:
            path = f"value-{len(body)}-{round_}"
            call("POST", "/promises", {"id": path, "timeout": FAR})
            call("PATCH", f"/promises/{path}", body)
            call("GET", f"/promises/{path}")

        end = {"state": "RESOLVED"}
        large: dict[str, Callable[[int], object]] = {
            f"page: a tree of {NODES:,}": lambda _: call("GET", "/ui/tree/tree-0?limit=10000"),
            "page: a search that finds nothing": lambda _: call("GET", "/ui/roots?q=nothing*like*this"),
            "a search that finds nothing": lambda _: call("GET", "/promises?id=nothing*like*this"),
            f"an end for which {CALLBACKS:,} wait": lambda round_: call("PATCH", f"/promises/crowd-{round_}", end),
            f"a client for which {CROWDS * CALLBACKS:,} results wait": lambda _: come_back(server, "nobody/n"),
            f"a client for which {RESULTS} results of 100 kB wait": lambda _: come_back(server, "somebody/c"),
            f"a heartbeat for {CLAIMS:,} claims": lambda _: call("POST", "/tasks/heartbeat", {"processId": "p"}),
            "a search by a pattern, for long ids": lambda _: call("GET", f"/promises?id=*{'a' * 240}b*"),
            "a search by tags, of many": lambda _: call("GET", "/promises?id=*&tags%5Bt499%5D=x&tags%5Bt%5D=none"),
            "128 KiB of tags": lambda round_: call("POST", "/promises", {"id": f"tags-{round_}", "tags": TAGS}),
            "a value of 4 MB": partial(value, body=resolve(4 * MB)),
            "a value of 60 MB": partial(value, body=resolve(60 * MB)),
        }
        slow = []
        for name, act in large.items():
            longest = []
            for round_ in range(CROWDS if "an end" in name else ROUNDS):
                with waits(other) as times:
                    act(round_)
                    time.sleep(1)  # what an end sets going goes on behind its answer
                longest.append(max(times))
            middle, spread = statistics.median(longest), f"{min(longest):.1f} to {max(longest):.1f}"
            print(f"{name:46}{middle:6.1f} ms   ({spread}, {len(longest)} runs)", flush=True)
            if middle >= LIMIT:
                slow.append(name)
        server.stop()
    if slow:
        sys.exit(f"{LIMIT:.0f} ms or more: {', '.join(slow)}")


if __name__ == "__main__":
    main()
