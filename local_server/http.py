"""The two listeners: who may ask, which operation a request means, and the answer once it is committed."""

import asyncio
import base64
import contextlib
import hmac
import logging
import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes, urlsplit

from local_server import api, wire
from local_server.api import Request
from local_server.config import LOOPBACK, Config
from local_server.engine import Engine
from local_server.errors import INTERNAL_ERROR, Refusal
from local_server.presence import Presence
from local_server.protocol import TEXT, Exchange
from local_server.search import Query, search
from local_server.web import Web

logger = logging.getLogger(__name__)
JSON = "application/json; charset=utf-8"
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class _Plain(Exception):  # noqa: N818 - an answer, not a fault
    """The request is answered in plain text: status, text, further headers."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Guard:
    """Lets through who may ask. Values are pickles: whoever can write a promise can run code in a worker."""

    def __init__(self, config: Config) -> None:
        self._hosts = LOOPBACK | {config.host.lower()}
        self._basic: list[bytes] = []  # as curl encodes them, and as the SDK does
        for codec in ("utf-8", "latin-1") if config.credentials else ():
            with contextlib.suppress(UnicodeEncodeError):
                self._basic.append(base64.b64encode(":".join(config.credentials or ()).encode(codec)))

    def check(self, headers: dict[str, str]) -> None:
        """Refuse what a foreign page could make a browser send, and what has not the credentials."""
        host = headers.get("host", "")
        if not self._basic and _hostname(host) not in self._hosts:  # a foreign name that was bound to this address
            raise _Plain(403, f"Host: found {host!r}; expected localhost or the address of this server")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise _Plain(403, f"Origin: found {origin!r}; expected none, or that of this server")
        if self._basic:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            token = given.strip().encode()
            if scheme.lower() != "basic" or not any(hmac.compare_digest(token, one) for one in self._basic):
                raise _Plain(401, "Unauthorized", {"www-authenticate": 'Basic realm="local-server"'})


class _EventStream:
    """The stream of one worker: an event is a chunk of the response."""

    def __init__(self, exchange: Exchange) -> None:
        self.send = exchange.write
        self.close, self.cut = exchange.end_stream, exchange.cut_stream


class Listener:
    """Answers the requests of one port."""

    def __init__(self, engine: Engine, presence: Presence, guard: Guard) -> None:
        self._engine, self._presence, self._guard = engine, presence, guard
        self._searches: set[asyncio.Task[None]] = set()

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, now or when its turn is committed."""
        try:
            self._guard.check(exchange.headers)
            self._answer(exchange, *_split(exchange.target))
        except _Plain as answer:
            exchange.reply(answer.status, TEXT, answer.text.encode(), answer.headers)
        except Refusal as refusal:
            _refuse(exchange, refusal)
        except Exception:
            logger.exception("%s %r could not be answered", exchange.method, exchange.target[:200])
            _refuse(exchange, Refusal(INTERNAL_ERROR, "the server has a fault; its log tells which"))

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        raise NotImplementedError

    def _open_stream(self, exchange: Exchange, path: str) -> None:
        """Make the exchange the event stream of ``/{group}/{id}``, until either side closes it."""
        group, slash, member = path.removeprefix("/").partition("/")
        if not group or not slash:
            raise _Plain(400, f"invalid request: found {path!r}; expected /group/id")
        stream = _EventStream(exchange)
        exchange.open_stream("text/event-stream", lambda: self._presence.disconnect(worker, stream))
        worker = self._presence.connect(group, member, stream, exchange.peer, exchange.here)


class Api(Listener):
    """The API: promises, callbacks, tasks, schedules; and the page."""

    def __init__(self, engine: Engine, presence: Presence, guard: Guard) -> None:
        super().__init__(engine, presence, guard)
        self._web = Web(engine)

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        method = exchange.method
        if self._web.serves(method, path):
            self._web.answer(exchange, path, query)
        elif method == "GET" and path.startswith("/poll/"):
            self._open_stream(exchange, path.removeprefix("/poll"))
        elif method == "GET" and path in ("/promises", "/schedules"):
            task = asyncio.create_task(self._search(exchange, Query.parse(path[1:], query)))
            self._searches.add(task)
            task.add_done_callback(self._searches.discard)
        else:
            handler, name = _route(method, path)
            request = Request(name, exchange.headers, exchange.body, self._engine.base_url)
            self._engine.do(handler(request), lambda answer: _reply(exchange, answer))

    async def _search(self, exchange: Exchange, query: Query) -> None:
        try:
            _reply(exchange, (200, await search(self._engine, query)))
        except Refusal as refusal:
            _refuse(exchange, refusal)


class Poll(Listener):
    """The event streams."""

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        del query
        if exchange.method != "GET":
            raise _Plain(405, "method not allowed", {"allow": "GET"})
        self._open_stream(exchange, path)


def _reply(exchange: Exchange, answer: api.Answer | Refusal) -> None:
    if isinstance(answer, Refusal):
        _refuse(exchange, answer)
    else:
        status, content = answer
        exchange.reply(status, JSON, b"" if content is None else wire.encode(content))


def _refuse(exchange: Exchange, refusal: Refusal) -> None:
    exchange.reply(refusal.code // 100, JSON, wire.error(refusal))


def _split(target: bytes) -> tuple[str, str]:
    """Return the path, its escapes decoded, and the query, as it came."""
    path, _, query = target.partition(b"?")
    if b"%" in target:
        if _BAD_ESCAPE.search(target):
            raise _Plain(400, "400 Bad Request")
        path = unquote_to_bytes(path)
    return path.decode("utf-8", "replace"), query.decode("utf-8", "replace")


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


_PREFIXED = sorted(api.PREFIXED, key=lambda route: -len(route[1]))  # /promises/callback/ before /promises/


def _route(method: str, path: str) -> tuple[Callable[[Request], api.Operation], str]:
    """Return the handler of a path, and what follows the part of it that names the route."""
    if handler := api.FIXED.get((method, path)):
        return handler, ""
    for wanted, prefix, prefixed in _PREFIXED:
        if method == wanted and path.startswith(prefix) and (len(path) > len(prefix) or method == "GET"):
            return prefixed, path[len(prefix) :]
    other = path[:-1] if path.endswith("/") else path + "/"
    if (method, other) in api.FIXED or any((method, other) == route[:2] for route in _PREFIXED):
        raise _Plain(307, "", {"location": other})
    raise _Plain(404, "404 page not found")
