"""The shapes of what is received: the request bodies of the API.

Bodies are read as tolerantly as Go reads them, since that is what the official server is written in: the first JSON
value counts and trailing bytes do not, unknown fields are ignored, names match in any case, null is the same as absent,
broken UTF-8 becomes U+FFFD. Values are read strictly: no type is converted into another.
"""

import base64
import json
import re
import secrets
import string
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from local_server.errors import BAD_REQUEST, Refusal
from local_server.model import Promise, Schedule
from local_server.store.parts import marker

Id = Annotated[str, Meta(min_length=1, max_length=16_384)]
Cron = Annotated[str, Meta(min_length=1, max_length=256)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Ttl = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Headers = dict[str, str]
_ALPHABET = f"{string.ascii_letters}{string.digits}+/".encode()  # of base64
_SECRET = secrets.token_hex(16)  # of this run, so that no client can write a token
_SECRET_BYTES = _SECRET.encode()
_TOKEN = re.compile(_SECRET_BYTES + rb":(\d+):(\d+):(\d+):(True|False)")


class Value(Struct):
    """What a promise carries: headers, and data in base64 (or, as Go allows, as an array of bytes)."""

    headers: Headers = {}
    data: str | list[int] = ""

    def encoded(self, where: str) -> Raw:
        """Return it as it is shown, in one spelling."""
        shown: dict[str, object] = {}
        if self.headers:
            shown["headers"] = dict(sorted(self.headers.items()))
        try:
            data = _canonical(self.data) if isinstance(self.data, str) else _to_base64(bytes(self.data))
        except ValueError as error:
            raise Refusal(BAD_REQUEST, f"{where}.data: {error}; expected base64 of the standard alphabet") from None
        if data:
            shown["data"] = data
        text = _encode(shown)
        return Raw(_TOKEN.sub(_marker, text) if _is_cut(text) else text)


def _canonical(text: str) -> str:
    """Return base64 in its one spelling, or a token for it; raise a ValueError for what is none."""
    if text.startswith(_SECRET):
        if text.endswith("False"):
            raise ValueError("found another character, or no whole groups of four")
        return text
    return _to_base64(base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True))


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def no_base64(text: bytes) -> bytes:
    """Return the characters that are not of the alphabet of base64."""
    return text.translate(None, _ALPHABET)


def token(parts: range, size: int, *, is_base64: bool) -> bytes:
    """Return what stands for a string that was cut out of a body, whatever reads that."""
    return f"{_SECRET}:{parts.start}:{parts.stop}:{size}:{is_base64}".encode()


def _marker(found: re.Match[bytes]) -> bytes:
    return marker(range(int(found[1]), int(found[2])), int(found[3]))


def _is_cut(text: bytes | bytearray) -> bool:
    return _SECRET_BYTES in text


class NewPromise(Struct):
    """Body of POST /promises."""

    id: Id
    param: Value = msgspec.field(default_factory=Value)
    timeout: Int64 = 0
    tags: Headers = {}

    def promise(self, key: str | None) -> Promise:
        """Return the promise that is asked for."""
        tags = Raw(msgspec.json.encode(dict(sorted(self.tags.items())))) if self.tags else None
        return Promise(self.id, "PENDING", self.param.encoded("param"), Raw(b"{}"), self.timeout, key, None, tags)


class Claimant(Struct, rename="lower"):
    """Who claims the task of a new promise."""

    process_id: Id = msgspec.field(name="processid")
    ttl: Ttl = 0


class NewPromiseAndTask(Struct):
    """Body of POST /promises/task."""

    promise: NewPromise
    task: Claimant


class CompletePromise(Struct):
    """Body of PATCH /promises/{id}."""

    state: str
    value: Value = msgspec.field(default_factory=Value)


class NewCallback(Struct):
    """Body of POST /promises/callback/{id}, and of POST /callbacks."""

    root_promise_id: Id = msgspec.field(name="rootpromiseid")
    recv: Any
    timeout: Int64 = 0
    promise_id: str = msgspec.field(name="promiseid", default="")


class NewSubscription(Struct):
    """Body of POST /promises/subscribe/{id}, and of POST /subscriptions."""

    id: Id
    recv: Any
    timeout: Int64 = 0
    promise_id: str = msgspec.field(name="promiseid", default="")


class TaskCounter(Struct):
    """Body of POST /tasks/complete and /tasks/drop."""

    id: Id
    counter: Int64

    def __post_init__(self) -> None:
        if self.counter == 0:
            raise ValueError("counter: found 0; expected the counter of the message, 1 or more")


class Claim(TaskCounter):
    """Body of POST /tasks/claim."""

    process_id: Id = msgspec.field(name="processid")
    ttl: Ttl = 0


class Heartbeat(Struct):
    """Body of POST /tasks/heartbeat."""

    process_id: Id = msgspec.field(name="processid")


class Remove(Struct):
    """Body of POST /ui/remove: a pattern for ids; whether what is pending is canceled, and goes too."""

    id: Id
    pending: bool = False


class Prune(Struct):
    """Body of POST /ui/prune."""

    older_than: Annotated[int, Meta(ge=0, le=2**53)] = msgspec.field(name="olderthan")  # ms


class NewSchedule(Struct):
    """Body of POST /schedules."""

    id: Id
    cron: Cron
    promise_id: Id = msgspec.field(name="promiseid")
    promise_timeout: Int64 = msgspec.field(name="promisetimeout", default=0)
    promise_param: Value = msgspec.field(name="promiseparam", default_factory=Value)
    promise_tags: Headers = msgspec.field(name="promisetags", default_factory=dict)
    desc: str = ""
    tags: Headers = {}

    def schedule(self, key: str | None) -> Schedule:
        """Return the schedule that is asked for."""
        promise_tags = Raw(msgspec.json.encode(dict(sorted(self.promise_tags.items())))) if self.promise_tags else None
        return Schedule(
            id=self.id,
            description=self.desc,
            cron=self.cron,
            tags=Raw(msgspec.json.encode(dict(sorted(self.tags.items())))),
            promise_id=self.promise_id,
            promise_timeout=self.promise_timeout,
            promise_param=self.promise_param.encoded("promiseParam"),
            promise_tags=promise_tags,
            idempotency_key=key,
        )


_OBJECTS = {"param", "value", "promise", "task", "promiseparam"}  # fields whose own field names match in any case
_MAPS = {"headers", "tags", "promisetags"}  # fields whose keys are the client's
_HALF = re.compile(r"\\ud[89a-f]", re.IGNORECASE)  # of a character, as JSON escapes it
_SURROGATE = re.compile("[\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode
MOST = 128 * 2**10  # bytes of a body that are read; long strings are cut out of a larger one before: see ``large``
_SEARCHED = 32 * 2**10  # bytes; in a larger body the last of repeated names counts


class _Pairs(list[tuple[str, Any]]):
    """An object with its fields as they came, those of the same name included."""


_OBJECT = (dict, _Pairs)


def read[T](body: bytes | bytearray, shape: type[T]) -> T:
    """Decode and check a request body.

    Raises:
        Refusal: 40000 that names the field, what was found and what was expected.
    """
    if len(body) > MOST:
        raise too_much()
    try:
        fields = _fields(body)
        if _is_cut(body):
            _refuse_long(fields)
        return msgspec.convert(fields, shape)
    except RecursionError:
        raise Refusal(BAD_REQUEST, "body: found too many levels; expected a JSON object") from None
    except msgspec.ValidationError as error:
        raise Refusal(BAD_REQUEST, str(error).replace(" - at `$.", " - at `")) from None


def _fields(body: bytes | bytearray) -> dict[str, Any]:
    """Return the fields of an object, their names in lower case."""
    try:
        value = msgspec.json.decode(body)
        if isinstance(value, dict) and _may_repeat(body, value):
            value = _tolerant(body)
    except ValueError:  # what Go reads and msgspec does not: trailing bytes, broken UTF-8
        value = _tolerant(body)
    if value is None:
        value = {}
    if not isinstance(value, _OBJECT):
        raise Refusal(BAD_REQUEST, f"body: found {type(value).__name__}; expected a JSON object")
    return _folded({}, value)


def too_much() -> Refusal:
    """Return the refusal of a body that is large, and not for its long strings."""
    return Refusal(BAD_REQUEST, f"body: found more than {MOST} bytes besides long strings; expected at most that")


def _may_repeat(body: bytes | bytearray, value: object) -> bool:
    """Tell whether an object may name a field twice: then ``value``, with the last of each, is written with fewer."""
    return len(body) <= _SEARCHED and body.count(b'":') != _encode(value).count(b'":')


def _refuse_long(fields: dict[str, Any], *, in_value: bool = False) -> None:
    """Refuse long strings but for the headers and data of a promise's parameter and value."""
    for name, one in fields.items():
        text = name if in_value or isinstance(one, dict) else f"{name} {one}"
        if found := _TOKEN.search(text.encode("utf-8", "replace")):
            where = "a name" if _SECRET in name else name[:40]  # a client that knew that could write tokens
            raise Refusal(BAD_REQUEST, f"{where}: found a string of {found[3].decode()} bytes; expected one as long as "
                                       "that only in headers and data of param and value")  # fmt: skip
        if isinstance(one, dict):
            _refuse_long(one, in_value=name in {"param", "value"} or (in_value and name == "headers"))


def _tolerant(body: bytes | bytearray) -> object:
    try:
        text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
        hook = _Pairs if len(body) <= _SEARCHED else None
        value = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=hook).raw_decode(text)[0]
        return mended(value) if _HALF.search(text) else value
    except (ValueError, RecursionError) as error:
        raise Refusal(BAD_REQUEST, f"body: {error}; expected a JSON object") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"found {name}, which is no JSON")


def _folded(earlier: dict[str, Any], fields: dict[str, Any] | _Pairs) -> dict[str, Any]:
    """Add fields to those that came before under the same name in any case, as Go does: names become lower case.

    An object is added to the earlier object; null takes a map or data away, and leaves anything else as it is.
    """
    for name, value in fields.items() if isinstance(fields, dict) else fields:
        lower = name.lower()
        if value is None:
            if lower in _MAPS or lower == "data":
                earlier.pop(lower, None)
        elif lower in _OBJECTS and isinstance(value, _OBJECT):
            before = earlier.get(lower)
            earlier[lower] = _folded(before if isinstance(before, dict) else {}, value)
        elif lower in _MAPS and isinstance(value, _OBJECT):
            texts = {key: "" if one is None else one for key, one in dict(value).items()}
            if isinstance(before := earlier.get(lower), dict):
                before.update(texts)
            else:
                earlier[lower] = texts
        else:
            earlier[lower] = value if isinstance(fields, dict) else _plain(value)
    return earlier


def mended(value: Any) -> Any:
    """Return what was decoded without halves of characters."""
    if isinstance(value, _Pairs):
        return _Pairs((mended(key), mended(one)) for key, one in value)
    if isinstance(value, dict):
        return {mended(key): mended(one) for key, one in value.items()}
    if isinstance(value, list):
        return [mended(one) for one in value]
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Return what was decoded with the last of repeated names."""
    if isinstance(value, _Pairs):
        return {key: _plain(one) for key, one in value}
    return [_plain(one) for one in value] if isinstance(value, list) else value
