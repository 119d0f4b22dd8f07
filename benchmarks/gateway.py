"""Measure the async RPC gateway: what it adds to a direct ``begin_rpc``, and whether each of many requests is answered.

    uv run benchmarks/gateway.py
    uv run benchmarks/gateway.py --calls 500 --burst 10000

Starts a local server with its database in a temporary folder, the nine services and the gateway. Direct calls and
requests take turns, each with an id of its own, on a new connection, as curl does. Exits 1 if the gateway adds 5 ms or
more at the median, or if a request of the burst gets no result.
"""

import http.client
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import click
from ending import leave_no_process
from resonate import Resonate

from local_server.testing import Child, LocalServer

CALLS = {  # route: target group, function, its arguments, whether the gateway waits
    "await-chain": ("service-a", "foo", (), True),
    "detached-chain": ("service-d", "qux", (1,), False),
    "fan-out-workflow": ("service-g", "zim", (1,), True),
}
AT_A_TIME = 150  # requests of the burst
TRIES = 10  # a wait ends after 30 s, the work does not
LIMIT_MS = 5.0
DEADLINE = 60.0  # seconds


def post(address: str, route: str, key: str) -> int:
    """Send one request to the gateway at ``host:port``; return the status."""
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    connection.request("POST", f"/{route}", headers={"Idempotency-Key": key})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def call(resonate: Resonate, route: str, key: str) -> None:
    """Make the call that the gateway makes for this route, without the gateway."""
    group, function, args, waits = CALLS[route]
    handle = resonate.options(target=group).begin_rpc(f"{route}.{key}", function, *args)
    if waits:
        handle.result(DEADLINE)


def milliseconds(work: Callable[..., object], *args: object) -> float:
    """Return how long ``work(*args)`` took."""
    began = time.perf_counter()
    work(*args)
    return (time.perf_counter() - began) * 1000


def compare(resonate: Resonate, address: str, route: str, calls: int) -> float:
    """Print median and p99 of both ways; return the median of what the gateway adds to the call before it, in ms."""
    direct, gateway = [], []
    for n in range(calls):
        direct.append(milliseconds(call, resonate, route, f"direct-{n}"))
        gateway.append(milliseconds(post, address, route, f"gateway-{n}"))
    row = [
        f"{statistics.median(times):8.1f} {statistics.quantiles(times, n=100)[98]:8.1f}" for times in (direct, gateway)
    ]
    added = statistics.median(slow - fast for fast, slow in zip(direct, gateway, strict=True))
    print(f"{route:<17} {row[0]}   {row[1]}   {added:6.1f}", flush=True)
    return added


def send_until_answered(address: str, route: str, key: str) -> tuple[int, int]:
    """Send one request, and again while the answer is that the work goes on; return the last status, and how often."""
    for again in range(TRIES):
        status = post(address, route, key)
        if status not in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}:
            return status, again
    return status, TRIES


def burst(address: str, requests: int) -> bool:
    """Send that many requests over the three routes, AT_A_TIME at a time; return whether each got its result."""
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = list(
            pool.map(lambda n: send_until_answered(address, list(CALLS)[n % 3], f"burst-{n}"), range(requests))
        )
    seconds = time.perf_counter() - began
    results = sum(status == HTTPStatus.OK for status, _ in answers)
    again = sum(again for _, again in answers)
    print(f"{results} of {requests} requests got their result, {AT_A_TIME} at a time, {again} sent again after 30 s;")
    print(f"{seconds:.0f} s, {requests / seconds:.0f} requests per second")
    return results == requests


@click.command()
@click.option("--calls", type=click.IntRange(2), default=200, show_default=True, help="Calls of each route, each way.")
@click.option(
    "--burst", "requests", type=click.IntRange(0), default=1500, show_default=True, help="Requests of the burst."
)
def main(calls: int, requests: int) -> None:
    """Start everything, measure, end everything."""
    leave_no_process()
    logging.getLogger("resonate").setLevel(logging.ERROR)  # no word on the stream that breaks at the end
    children: list[Child] = []
    with tempfile.TemporaryDirectory() as folder:
        server = LocalServer(Path(folder))
        children.append(server.child)
        try:
            for name in ["gateway", *(f"service_{letter}" for letter in "abcdefghi")]:
                options = ["--port", "0"] if name == "gateway" else []
                children.append(Child.python(name, "-m", f"async_rpc.{name}", *options, env=server.env))
            for child in children[1:]:
                child.wait_for("is ready")
            address = children[1].wait_for(r"listens on http://([^;]+);").group(1)
            host, port, poll_port = server.env.values()
            resonate = Resonate.remote(group="benchmark", host=host, store_port=port, message_source_port=poll_port)
            resonate.start()
            print(f"{'ms':<17} {'direct':>8} {'p99':>8}   {'gateway':>8} {'p99':>8}    added")
            added = [compare(resonate, address, route, calls) for route in CALLS]
            if not burst(address, requests):
                sys.exit("a request of the burst got no result")
            if max(added) >= LIMIT_MS:
                sys.exit(f"the gateway adds {max(added):.1f} ms at the median, the limit is {LIMIT_MS} ms")
        finally:
            for child in reversed(children):
                child.kill()


if __name__ == "__main__":
    main()
