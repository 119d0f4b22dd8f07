"""The gateway: here an HTTP request, which dies with its process, becomes a durable call, which does not.

    POST /await-chain        calls foo on service-a and waits for its result
    POST /detached-chain     starts qux on service-d and does not wait
    POST /fan-out-workflow   calls zim on service-g and waits for its result

The id of the promise decides what runs. It is the name of the route, so the first request starts a run and every other
one, through whichever gateway process, attaches to that run or gets its stored result. The header
``Idempotency-Key: <key>`` asks for a run of its own: the id is then ``await-chain.<key>``. Start it:

    uv run gateway

and send it a request:

    curl -X POST http://127.0.0.1:5000/await-chain
"""

import re
import threading
from collections.abc import Iterable
from concurrent import futures
from typing import Any
from uuid import uuid4

import click
from flask import Response, abort, current_app, has_request_context, jsonify, request
from requests import HTTPError
from resonate import Handle, Resonate
from resonate.errors import ResonateCanceledError, ResonateStoreError, ResonateTimedoutError
from resonate.message_sources import Poller
from resonate.stores import RemoteStore

from async_rpc import web
from async_rpc.groups import Groups
from async_rpc.life import hold_signals, live

GROUP = "gateway"
NODE = str(uuid4())  # results come to the one that asked, so no two gateways may share an id
KEY = re.compile(r"(?![0-9]+\Z)[A-Za-z0-9_-]{1,64}")  # a number would do harm: await-chain.1 is the first call of foo
MAX_WAITING = 200  # requests that wait at the same time, each in a thread of its own
NEEDS = {  # route: the groups that its call goes through
    "await-chain": ("service-a", "service-b", "service-c"),
    "detached-chain": ("service-d", "service-e", "service-f"),
    "fan-out-workflow": ("service-g", "service-h", "service-i"),
}
GRACE = 1.0  # seconds in which a service that has just started connects


class Patience:
    """When an unreachable server is asked again: by the SDK's own threads every second, by a request never (503)."""

    def next(self, _attempt: int) -> float | None:
        """Return the seconds until the next attempt, or None for no other."""
        return None if has_request_context() else 1.0


# Resonate.remote(group=GROUP, pid=NODE) in its parts, for the patience of the store
store = RemoteStore(retry_policy=Patience())
resonate = Resonate(group=GROUP, pid=NODE, store=store, message_source=Poller(group=GROUP, id=NODE))
app = web.create_app(__name__)
groups = Groups(store)
places = threading.Semaphore(MAX_WAITING)


@app.post("/await-chain")
def await_chain() -> Response:
    """Call foo, and wait for its result."""
    handle = resonate.options(target="service-a").begin_rpc(promise_id("await-chain"), "foo")
    return result_of("await-chain", handle)


@app.post("/detached-chain")
def detached_chain() -> Response:
    """Start qux: once its promise is stored it will run, even if no service-d is there now."""
    handle = resonate.options(target="service-d").begin_rpc(promise_id("detached-chain"), "qux", 1)
    started = {"message": "detached-chain started"}
    if nobody := nobody_serves("detached-chain", GRACE):
        started["note"] = nobody
    return reply(200, handle.id, **started)


@app.post("/fan-out-workflow")
def fan_out_workflow() -> Response:
    """Call zim, and wait for its result."""
    handle = resonate.options(target="service-g").begin_rpc(promise_id("fan-out-workflow"), "zim", 1)
    return result_of("fan-out-workflow", handle)


def promise_id(route: str) -> str:
    """Return the id that this request asks for; 400 for a key that cannot be part of an id, and for a filled body."""
    if request.get_data().strip() not in (b"", b"{}"):
        abort(400, f"found a body of {request.content_length} bytes, expected none, or {{}}: there are no arguments")
    key = request.headers.get("Idempotency-Key")
    if key is not None and not KEY.fullmatch(key):
        expected = "1 to 64 characters of A-Z a-z 0-9 _ -, not only digits"
        abort(400, f"found the Idempotency-Key {key[:80]!r} of {len(key)} characters, expected {expected}")
    return route if key is None else f"{route}.{key}"


def nobody_serves(route: str, grace: float = 0, awaited: Iterable[str] = ()) -> str:
    """Say which groups of a route, and which others that are awaited, nobody serves; "" when there are none."""
    missing = groups.missing(NEEDS[route], grace)
    commands = ", ".join(f"uv run {group[-1]}" for group in missing)
    told = [f"{', '.join(missing)} ({commands})"] if missing else []
    told += [group for group in awaited if group not in NEEDS[route]]
    return f"nobody serves {', '.join(told)}" if told else ""


def result_of(route: str, handle: Handle[Any]) -> Response:
    """Wait for the result of a call, but not for ever and not among too many: the call itself goes on in any case."""
    seconds = current_app.config["WAIT"]
    again = "the work goes on, send the same request again for its result"
    if not handle.future.done():
        if not places.acquire(blocking=False):
            return reply(503, handle.id, error=f"{MAX_WAITING} requests wait already; {again}", promise_id=handle.id)
        try:
            handle.done()  # subscribes: the server sends the result to this process
            futures.wait([handle.future], timeout=seconds)
        finally:
            places.release()
    if not handle.future.done():
        why = nobody_serves(route, awaited=groups.awaited(handle.id)) or f"{', '.join(NEEDS[route])} take longer"
        return reply(504, handle.id, error=f"no result within {seconds} s: {why}; {again}", promise_id=handle.id)
    if error := handle.future.exception():  # stored under this id for ever, like a result
        told = f"{type(error).__name__}: {error}"
        if isinstance(error, ResonateCanceledError | ResonateTimedoutError):
            told += f"; this answer stays: send another Idempotency-Key, or: uv run local-server delete {handle.id}"
        return reply(500, handle.id, error=told, promise_id=handle.id)
    return reply(200, handle.id, message=handle.future.result())


def reply(status: int, promise: str, **body: object) -> Response:
    """Return a JSON response whose header names the promise."""
    response = jsonify(body)
    response.status_code = status
    response.headers["Promise-Id"] = promise
    return response


@app.errorhandler(ResonateStoreError)
def server_failed(error: ResonateStoreError) -> tuple[Response, int]:
    """503 when the Resonate server gives no answer, 500 when it refuses; the next request tries anew."""
    status, what = (500, "refuses") if isinstance(error.__cause__, HTTPError) else (503, "is not reachable")
    return jsonify(error=f"the Resonate server at {store.url} {what}: {error.mesg}"), status


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="0: any free one.")
@click.option("--wait", type=click.IntRange(0, 3600), default=30, show_default=True, help="Seconds a request waits.")
def main(host: str, port: int, wait: int) -> None:
    """Serve the three routes until Ctrl-C; then answer the requests in hand."""
    app.config["WAIT"] = wait
    hold_signals()  # before the HTTP server has threads, any of which would take one
    server = web.Server(app, host, port, MAX_WAITING)
    print(f"{GROUP} listens on {server.url}; its Resonate server is {store.url}", flush=True)
    live(resonate, GROUP, NODE, serve=server.start, finish=server.finish)


if __name__ == "__main__":
    main()
