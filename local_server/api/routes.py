"""The routes of the API: each turns a request into an operation of the rules, and its result into status and body."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Raw, Struct

from local_server.api import bodies, replies
from local_server.errors import BAD_REQUEST, Refusal
from local_server.http.exchange import PlainReply
from local_server.rules import addresses, promises, schedules, tasks
from local_server.rules.states import PromiseEvent
from local_server.rules.turn import Turn

Reply = tuple[int, object]  # HTTP status; what is encoded as the body, None for none
Operation = Callable[[Turn], Reply]

_BOOLS = {**dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
          **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False", ""), False)}  # fmt: skip
_COMPLETIONS: dict[str, PromiseEvent] = {"RESOLVED": "resolve", "REJECTED": "reject", "REJECTED_CANCELED": "cancel"}
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_HREF_TTL = 60_000  # ms; of a claim by the href of a message


class Request(Struct, frozen=True):
    """One request, with the part of its path that names what it is about."""

    name: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes | bytearray
    base_url: str

    @property
    def key(self) -> str | None:
        """The idempotency key; an empty text is a key, too."""
        return self.headers.get("idempotency-key")

    @property
    def strict(self) -> bool:
        """The header ``strict``.

        Raises:
            Refusal: 40000 when it is no boolean.
        """
        text = self.headers.get("strict", "")
        if text not in _BOOLS:
            raise Refusal(BAD_REQUEST, f"header strict: found {text!r}; expected true or false")
        return _BOOLS[text]

    @property
    def head(self) -> Raw | None:
        """The trace headers, for the messages that the request causes."""
        if "traceparent" not in self.headers:
            return None
        return Raw(replies.encode({k: self.headers[k] for k in ("traceparent", "tracestate") if k in self.headers}))

    def fenced(self, operation: Operation) -> Operation:
        """Let the operation run only as part of the claimed task that the headers name, if they name one."""
        task_id, counter = self.headers.get("task-id", ""), self.headers.get("task-counter") or "0"
        if not _INTEGER.fullmatch(counter):
            raise Refusal(BAD_REQUEST, f"header task-counter: found {counter!r}; expected an integer")
        if not task_id:
            return operation

        def run(turn: Turn) -> Reply:
            tasks.fence(turn, task_id, int(counter))
            return operation(turn)

        return run


def create_promise(request: Request) -> Operation:
    """POST /promises."""
    body, strict, head = bodies.read(request.body, bodies.NewPromise), request.strict, request.head
    new = body.promise(request.key)
    return request.fenced(lambda turn: promises.create(turn, new, body.tags, strict=strict, head=head)[:2])


def create_promise_and_task(request: Request) -> Operation:
    """POST /promises/task."""
    body, strict, head = bodies.read(request.body, bodies.NewPromiseAndTask), request.strict, request.head
    new, claim = body.promise.promise(request.key), (body.task.process_id, body.task.ttl)

    def run(turn: Turn) -> Reply:
        status, promise, task = promises.create(turn, new, body.promise.tags, strict=strict, claim=claim, head=head)
        return status, {"promise": promise, "task": task and replies.task(task)}

    return request.fenced(run)


def get_promise(request: Request) -> Operation:
    """GET /promises/{id}."""
    return lambda turn: (200, promises.get(turn, request.name))


def complete_promise(request: Request) -> Operation:
    """PATCH /promises/{id}."""
    body, strict = bodies.read(request.body, bodies.CompletePromise), request.strict
    event = _COMPLETIONS.get(body.state.upper())
    if event is None:
        raise Refusal(BAD_REQUEST, f"state: found {body.state!r}; expected one of {', '.join(_COMPLETIONS)}")
    value = body.value.encoded("value")
    return request.fenced(lambda turn: promises.complete(turn, request.name, event, value, request.key, strict=strict))


def add_callback(request: Request) -> Operation:
    """POST /promises/callback/{id}, and POST /callbacks with promiseId in the body."""
    body = bodies.read(request.body, bodies.NewCallback)
    recv, head, promise_id = addresses.of_recv(body.recv), request.head, _promise_id(request, body.promise_id)

    def run(turn: Turn) -> Reply:
        status, promise, callback = promises.add_callback(
            turn, promise_id, "resume", body.root_promise_id, recv, body.timeout, head
        )
        return status, replies.callback(promise, callback)

    return request.fenced(run)


def add_subscription(request: Request) -> Operation:
    """POST /promises/subscribe/{id}, and POST /subscriptions with promiseId in the body."""
    body = bodies.read(request.body, bodies.NewSubscription)
    recv, head, promise_id = addresses.of_recv(body.recv), request.head, _promise_id(request, body.promise_id)

    def run(turn: Turn) -> Reply:
        status, promise, callback = promises.add_callback(turn, promise_id, "notify", body.id, recv, body.timeout, head)
        return status, replies.callback(promise, callback)

    return run


def claim_task(request: Request) -> Operation:
    """POST /tasks/claim."""
    body = bodies.read(request.body, bodies.Claim)
    return _claim(request, body.id, body.counter, body.process_id, body.ttl)


def _claim(request: Request, task_id: str, counter: int, process_id: str, ttl: int) -> Operation:
    def run(turn: Turn) -> Reply:
        task, root, leaf = tasks.claim(turn, task_id, counter, process_id, ttl)
        return 201, replies.claimed(task, root, leaf, request.base_url)

    return run


def complete_task(request: Request) -> Operation:
    """POST /tasks/complete."""
    body = bodies.read(request.body, bodies.TaskCounter)
    return _complete(body.id, body.counter)


def _complete(task_id: str, counter: int) -> Operation:
    def run(turn: Turn) -> Reply:
        status, task = tasks.complete(turn, task_id, counter)
        return status, replies.task(task)

    return run


def drop_task(request: Request) -> Operation:
    """POST /tasks/drop."""
    body = bodies.read(request.body, bodies.TaskCounter)
    return lambda turn: (tasks.drop(turn, body.id, body.counter), None)


def heartbeat(request: Request) -> Operation:
    """POST /tasks/heartbeat."""
    body = bodies.read(request.body, bodies.Heartbeat)
    return lambda turn: (200, {"tasksAffected": tasks.heartbeat(turn, body.process_id)})


def task_by_href(action: str, request: Request) -> Operation:
    """GET /tasks/{claim|complete|drop|heartbeat}/{id}/{counter}: the hrefs in messages, for people with curl."""
    match = re.fullmatch(r"(.+)/([1-9]\d{0,17})", request.name, re.ASCII | re.DOTALL)
    if not match:
        raise Refusal(BAD_REQUEST, f"path: found {request.name!r} behind {action}; expected ID/COUNTER, from 1 on")
    task_id, counter = match[1], int(match[2])
    process_id = f"{task_id}/{counter}"
    if action == "claim":
        return _claim(request, task_id, counter, process_id, _HREF_TTL)
    if action == "complete":
        return _complete(task_id, counter)
    if action == "drop":
        return lambda turn: (tasks.drop(turn, task_id, counter), None)
    return lambda turn: (200, {"tasksAffected": tasks.heartbeat(turn, process_id)})


def create_schedule(request: Request) -> Operation:
    """POST /schedules."""
    new = bodies.read(request.body, bodies.NewSchedule).schedule(request.key)
    return lambda turn: schedules.create(turn, new)


def get_schedule(request: Request) -> Operation:
    """GET /schedules/{id}."""
    return lambda turn: (200, schedules.get(turn, request.name))


def delete_schedule(request: Request) -> Operation:
    """DELETE /schedules/{id}."""

    def run(turn: Turn) -> Reply:
        schedules.delete(turn, request.name)
        return 204, None

    return run


def _promise_id(request: Request, in_body: str) -> str:
    promise_id = request.name or in_body
    if not promise_id:
        raise Refusal(BAD_REQUEST, "promiseId: found none; expected the id of a promise")
    return promise_id


_FIXED: dict[tuple[str, str], Callable[[Request], Operation]] = {
    ("POST", "/promises"): create_promise,
    ("POST", "/promises/task"): create_promise_and_task,
    ("POST", "/callbacks"): add_callback,
    ("POST", "/subscriptions"): add_subscription,
    ("POST", "/tasks/claim"): claim_task,
    ("POST", "/tasks/complete"): complete_task,
    ("POST", "/tasks/drop"): drop_task,
    ("POST", "/tasks/heartbeat"): heartbeat,
    ("POST", "/schedules"): create_schedule,
}
_BY_HREF = {action: partial(task_by_href, action) for action in ("claim", "complete", "drop", "heartbeat")}
_PREFIXED: list[tuple[str, str, Callable[[Request], Operation]]] = [  # the first that fits
    ("POST", "/promises/callback/", add_callback),
    ("POST", "/promises/subscribe/", add_subscription),
    ("GET", "/promises/", get_promise),
    ("PATCH", "/promises/", complete_promise),
    *(("GET", f"/tasks/{action}/", by_href) for action, by_href in _BY_HREF.items()),
    ("GET", "/schedules/", get_schedule),
    ("DELETE", "/schedules/", delete_schedule),
]


def route(method: str, path: str) -> tuple[Callable[[Request], Operation], str]:
    """Return the handler of a path, and what follows the part of it that names the route.

    Raises:
        PlainReply: 307 to the same path with or without a slash at its end, or 404.
    """
    if handler := _FIXED.get((method, path)):
        return handler, ""
    for wanted, prefix, prefixed in _PREFIXED:
        if method == wanted and path.startswith(prefix):
            return prefixed, path[len(prefix) :]
    other = path[:-1] if path.endswith("/") else path + "/"
    prefixes = [entry[:2] for entry in _PREFIXED if entry[2] not in _BY_HREF.values()]
    if (method, other) in _FIXED or (method, other) in prefixes:
        raise PlainReply(307, "", {"location": other})
    raise PlainReply(404, "404 page not found")
