"""The shapes of what is sent: the answers of the API, the messages of event streams, and errors, all as JSON."""

import json
import re

import msgspec
from msgspec import Struct

from local_server.errors import BAD_REQUEST, INTERNAL_ERROR, TASK_PRECONDITION_FAILED, TITLES, Refusal
from local_server.model import Callback, Promise, Task
from local_server.rules.workers import Delivery


class TaskReply(Struct, rename="camel", omit_defaults=True):
    """A task as it is shown."""

    id: str
    counter: int
    timeout: int
    root_promise_id: str
    process_id: str | None = None
    created_on: int = -1
    completed_on: int | None = None


class CallbackReply(Struct, rename="camel"):
    """A callback as it is shown."""

    id: str
    promise_id: str
    root_promise_id: str
    timeout: int
    created_on: int


_encode = msgspec.json.Encoder().encode
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_ESCAPES = [(one.encode()[0], one.encode(), b"\\u%04x" % ord(one)) for one in "<>&\u2028\u2029"]


def encode(value: object) -> bytes:
    """Encode a response as the official server does, which escapes what could end a script."""
    text = _encode(value)
    for first, character, escape in _ESCAPES:
        if first in text:  # of some megabytes, looking for one byte takes a tenth of the time
            text = text.replace(character, escape)
    return text


def task(stored: Task) -> TaskReply:
    """Return a task as it is shown."""
    return TaskReply(
        stored.id, stored.counter, stored.timeout, stored.root, stored.process, stored.created_on, stored.completed_on
    )


def callback(promise: Promise, added: Callback | None) -> dict[str, object]:
    """Answer a callback or subscription; its rootPromiseId is "" on the official server, and nobody reads it."""
    reply = added and CallbackReply(added.id, added.promise, "", added.timeout, added.created_on)
    return {"callback": reply, "promise": promise}


def claimed(task: Task, root: Promise | None, leaf: Promise | None, base: str) -> dict[str, object]:
    """Answer a claim."""
    promises: dict[str, object] = {}
    if task.leaf is not None:
        promises["leaf"] = {"data": leaf, "href": f"{base}/promises/{task.leaf}", "id": task.leaf}
    promises["root"] = {"data": root, "href": f"{base}/promises/{task.root}", "id": task.root}
    return {"promises": promises, "type": task.kind}


def message(delivery: Delivery, base: str) -> bytes:
    """Encode an event. Only ASCII: the SDK reads the stream as latin-1, and some bytes would break its lines."""
    head = {"head": delivery.task.head} if delivery.task.head else {}
    if delivery.promise:
        body: dict[str, object] = {**head, "promise": delivery.promise, "type": "notify"}
    else:
        shown = task(delivery.task)
        href = {"base": base}
        for action in ("claim", "complete", "heartbeat"):
            href[action] = f"{base}/tasks/{action}/{shown.id}/{shown.counter}"
        body = {**head, "href": href, "task": shown, "type": delivery.task.kind}
    text = encode(body)
    if not text.isascii():
        text = _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text.decode()).encode()
    return b"data: " + text + b"\n\n"


def error(refusal: Refusal) -> bytes:
    """Encode an error."""
    code = refusal.code
    kind, domain = "RequestError", "request"
    if code == BAD_REQUEST:
        kind = "FieldValidationError"
    elif code >= INTERNAL_ERROR or code == TASK_PRECONDITION_FAILED:
        kind, domain = "ServerError", "server"
    details = [
        {
            "@type": kind,
            "message": found,
            "domain": domain,
            "metadata": {"url": f"https://docs.resonatehq.io/operate/errors#{code}"},
        }
        for found in refusal.found
    ]
    return encode({"error": {"code": code, "message": TITLES[code], "details": details}})
