"""What becomes of a call whose body is larger than the server takes.

The SDK stops working, and says so to nobody, when the creation or completion of a promise is refused: its process lives
on and holds its stream, deaf. It does handle a promise that was rejected. So a call with an idempotency key, as
the SDK's are, is answered with its promise, rejected with an error that says why: that call fails, and nothing else.
"""

import re
from functools import partial

import msgspec
from msgspec import Raw

from local_server.api import routes
from local_server.api.routes import Operation, Reply, Request
from local_server.http.exchange import LargeBody
from local_server.http.limits import MAX_BODY
from local_server.model import Promise
from local_server.rules import promises
from local_server.rules.turn import Turn

_ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\]|\\.)+")')  # the SDK sends it first
_NEXT_DAY = 86_400_000  # ms; the time-out of a promise that never is pending
_ERROR = f"value too large: the request had more than {MAX_BODY} bytes, in which the SDK sends each value twice"
_VALUE = Raw(msgspec.json.encode({"data": msgspec.json.encode({"__error__": _ERROR})}))  # bytes become base64


def fail(method: str, path: str, request: Request) -> Operation:
    """Return what fails the call.

    Raises:
        PlainReply: 413 for a call of another kind, or one without a key.
    """
    handler, _ = routes.route(method, path)
    key, found = request.key, _ID.search(request.body)
    if key is None:
        raise LargeBody
    if handler is routes.complete_promise:
        return lambda turn: promises.complete(turn, request.name, "reject", _VALUE, key, strict=False)
    if handler in (routes.create_promise, routes.create_promise_and_task) and found:
        create = partial(_create_rejected, promise_id=msgspec.json.decode(found[1], type=str), key=key)
        if handler is routes.create_promise:
            return create
        return lambda turn: _with_no_task(*create(turn))
    raise LargeBody


def _create_rejected(turn: Turn, promise_id: str, key: str) -> tuple[int, Promise]:
    new = Promise(promise_id, "PENDING", promises.EMPTY, promises.EMPTY, turn.now + _NEXT_DAY, key, None, None)
    status, promise, _ = promises.create(turn, new, {})
    if promise.state == "PENDING":
        _, promise = promises.complete(turn, promise_id, "reject", _VALUE, key, strict=False)
    return status, promise


def _with_no_task(status: int, promise: Promise) -> Reply:
    return status, {"promise": promise, "task": None}
