"""What is stored, as people read it: functions with their arguments, short results, values as text.

Values are shown, never interpreted: only JSON is read, that in their base64, and that which the SDK pickled beside it.
From the latter come names of classes, and the fields of objects, of which the former tells {}. Nothing is unpickled.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

import msgspec
from msgspec import Struct, field

from local_server.store import parts

SHORT = 60  # characters of arguments or a result in a list
BRACKETS = 300  # in a value whose objects are shown; Python's stack bears twice that depth
PICKLED = "resonate:format-py"  # the header with what the SDK pickled
_json = json.JSONEncoder(ensure_ascii=False).encode
_UUID = re.compile(r"/([0-9a-f]{8})-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$")


@lru_cache(1_024)
def short(worker: str) -> str:
    """Shorten a name ``group/id`` whose id is a UUID."""
    return _UUID.sub(r"/\1", worker)


class _Tags(Struct):
    invoke: str | None = field(name="resonate:invoke", default=None)
    timeout: str = field(name="resonate:timeout", default="")
    scope: str = field(name="resonate:scope", default="")


def kind(text: str | None) -> str:
    """Return what a promise is by its tags: call, local, sleep, or promise."""
    found = msgspec.json.decode(text or "{}", type=_Tags)  # of thousands of tags it makes nothing
    if found.invoke is not None:
        return "call"
    if found.timeout == "true":
        return "sleep"
    return "local" if found.scope == "local" else "promise"


def tags(text: str | None) -> dict[str, str]:
    """Return the tags of a promise."""
    return msgspec.json.decode(text, type=dict[str, str]) if text else {}


def _data(text: str | None) -> bytes:
    """Return the bytes that a parameter or value carries."""
    if text is None or text == "{}":
        return b""
    return base64.b64decode(msgspec.json.decode(text).get("data", ""))


def _decoded(text: str | None) -> Any:
    """Return the JSON value that a parameter or value carries, None if it carries none."""
    try:
        return msgspec.json.decode(_data(text))
    except (ValueError, RecursionError):
        return None


def _pickled(text: str | None) -> Any:
    """Return the JSON that the SDK pickled beside a value, None if there are no objects in it, or too many."""
    if text is None or ("py/object" not in text and "py/reduce" not in text):
        return None
    if text.count("[") + text.count("{") > BRACKETS:
        return None
    try:
        return msgspec.json.decode(msgspec.json.decode(text)["headers"][PICKLED])
    except (ValueError, KeyError, TypeError):
        return None


@lru_cache(4_096)
def call(param: str | None) -> tuple[str, str]:
    """Return the function that a parameter names, and its arguments as short text."""
    found, made = _decoded(param), _pickled(param)
    if not isinstance(found, dict) or not isinstance(found.get("func"), str):
        return "", ""
    if not isinstance(made, dict) or not isinstance(made.get("kwargs"), dict):
        made = {"kwargs": {}}
    args, kwargs = found.get("args"), found.get("kwargs")
    words: Iterable[Iterable[str]] = _items(args, made.get("args")) if isinstance(args, list) else ()
    if isinstance(kwargs, dict):
        words = chain(words, (_after(f"{name}=", one, made["kwargs"].get(name)) for name, one in kwargs.items()))
    return found["func"], _cut(_joined(words))


@lru_cache(4_096)
def result(text: str | None) -> str:
    """Return a value as short text, nothing for none."""
    found = _decoded(text)
    return "" if found is None else _cut(_text(found, _pickled(text)))


def failure(text: str | None) -> tuple[str, str]:
    """Return the type and the message of the error that a value carries, each empty where it is not known.

    The SDK stores the message as JSON. The name of the type stands only in what it pickled, from where it is copied.
    """
    message = _message(text)
    return _error_type(text), message if isinstance(message, str) else _json(message)


@lru_cache(4_096)
def outcome(state: str, text: str | None) -> tuple[str, str]:
    """Return a value as a short result and a short error, of which one is empty."""
    if not failed(state):
        return result(text), ""
    kind, message = _error_type(text), _message(text)
    words = [message] if isinstance(message, str) else _text(message, None)
    return "", _cut(chain([kind, ": " if kind and message != "" else ""], words))


def failed(state: str) -> bool:
    """Tell whether a promise of that state was rejected, canceled or timed out."""
    return state not in ("PENDING", "RESOLVED")


def _message(text: str | None) -> Any:
    found = _decoded(text)
    return found.get("__error__", found) if isinstance(found, dict) else "" if found is None else found


def _error_type(text: str | None) -> str:
    match _pickled(text):
        case {"py/reduce": [{"py/type": str(name)}, *_]} | {"py/object": str(name)}:
            return name.removeprefix("builtins.").removeprefix("__main__.")
    return ""


def _text(found: Any, made: Any) -> Iterator[str]:
    """Yield the JSON of a value, piece by piece: of a large one only the beginning is wanted.

    In place of {}, as that of an object is, what is pickled: Order(id=7, total=9.5).
    """
    match made:
        case {"py/tuple": items}:
            yield from _text(items if found is made else found, items)
        case (
            {"py/reduce": [{"py/type": str(name)}, {"py/tuple": fields}, *_]}
            | {"py/object": str(name), "py/state": fields}
            | {"py/object": str(name), **fields}
        ) if found == {} or found is made:  # the latter: within the fields of an object
            yield f"{name.rpartition('.')[2]}("
            yield from _joined(_fields(fields))
            yield ")"
        case _ if isinstance(found, list):
            yield from chain("[", _joined(_items(found, made)), "]")
        case _ if isinstance(found, dict):
            made = made if isinstance(made, dict) else {}
            words = (
                _after(f"{json.dumps(key, ensure_ascii=False)}: ", one, made.get(key)) for key, one in found.items()
            )
            yield from chain("{", _joined(words), "}")
        case _:
            yield _json(found)


def _items(found: list[Any], made: Any) -> Iterator[Iterator[str]]:
    """Return the text of each item of a list."""
    if isinstance(made, dict):
        made = made.get("py/tuple")
    return map(_text, found, made if isinstance(made, list) and len(made) == len(found) else repeat(None))


def _fields(fields: Any) -> Iterable[Iterable[str]]:
    """Return the text of each field of an object."""
    if isinstance(fields, list):
        words: list[Iterable[str]] = [_text(one, one) for one in fields]
    else:
        shown = fields.items() if isinstance(fields, dict) else ()
        words = [_after(f"{key}=", one, one) for key, one in shown if not str(key).startswith(("py/", "__"))]
    return words or ["…"]


def _after(name: str, found: Any, made: Any) -> Iterator[str]:
    return chain([name], _text(found, made))


def _joined(words: Iterable[Iterable[str]]) -> Iterator[str]:
    for number, word in enumerate(words):
        if number:
            yield ", "
        yield from word


def _cut(pieces: Iterable[str]) -> str:
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > SHORT:
            return text[: SHORT - 1] + "…"
    return text


def value(text: str | None, size: int) -> dict[str, Any]:
    """Show a parameter or value: its headers as stored, and its data as text."""
    if text is None or parts.is_split(text.encode()):
        return {"size": parts.whole_size(text.encode()) if text else size, "large": True}
    data = _data(text)
    try:
        content: str | None = data.decode()
    except UnicodeDecodeError:
        content = None
    return {"size": len(data), "text": content, "headers": msgspec.json.decode(text).get("headers", {})}
