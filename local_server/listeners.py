"""The two ports: what a request means, its answer once that is committed, and where a message leaves.

A message leaves by the ``EventStream`` of its worker. What a turn has decided to send is in its outbox until COMMIT;
then ``engine`` lets it out (``Turn.send``), each message on its stream. A stream opens on the port of streams, or under
/poll of the API.
"""

import logging
import re
from urllib.parse import unquote_to_bytes

from local_server import os_process
from local_server.api import oversize, replies
from local_server.api.routes import Reply, Request, route
from local_server.api.search import Query, search
from local_server.engine import Engine
from local_server.errors import INTERNAL_ERROR, Refusal
from local_server.http.exchange import JSON, TEXT, Exchange, PlainReply
from local_server.http.guard import Guard
from local_server.os_process import EndPoint
from local_server.page.routes import Page
from local_server.presence import Presence
from local_server.rules.workers import Delivery

logger = logging.getLogger(__name__)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class EventStream:
    """The stream of one worker: a message is an event, an event is a chunk of the response."""

    def __init__(self, exchange: Exchange, base_url: str, there: EndPoint, here: EndPoint) -> None:
        self._exchange, self._base_url, self._ends = exchange, base_url, (there, here)
        self.close, self.cut = exchange.end_stream, exchange.cut

    @property
    def unsent(self) -> int:
        """Bytes of messages that the worker has not taken yet."""
        return self._exchange.unsent

    def has_read_all(self) -> bool:
        """Tell whether its worker, on this machine, has read all that it was sent."""
        return not self.unsent and os_process.has_read_all(*self._ends)

    def send(self, delivery: Delivery) -> None:
        """Send a message; it names the addresses of the API."""
        self._exchange.write(replies.message(delivery, self._base_url))


class Listener:
    """Answers the requests of one port."""

    def __init__(self, engine: Engine, presence: Presence, guard: Guard, base_url: str, stream_url: str) -> None:
        """Take what serves, and the addresses of the API and of the event streams, as others are told them."""
        del stream_url
        self._engine, self._presence, self._guard, self._base_url = engine, presence, guard, base_url

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, now or when its turn is committed."""
        try:
            self._guard.check(exchange)
            self._answer(exchange, *_split(exchange.target))
        except PlainReply as plain:
            exchange.reply(plain.status, TEXT, plain.text.encode(), plain.headers)
        except Refusal as refusal:
            _reply(exchange, refusal)
        except Exception:
            logger.exception("%s %r could not be answered", exchange.method, exchange.target[:200])
            _reply(exchange, Refusal(INTERNAL_ERROR, "the server has a fault; its log tells which"))

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        raise NotImplementedError

    def _open_stream(self, exchange: Exchange, path: str) -> None:
        """Make the exchange the event stream of ``/{group}/{id}``, until either side closes it."""
        self._guard.check_program(exchange)
        group, slash, member = path.lstrip("/").partition("/")
        if not group or not slash:
            raise PlainReply(400, f"invalid request: found {path!r}; expected /group/id")
        ends = exchange.ends
        if ends is None:  # it has gone already
            exchange.cut()
            return
        stream = EventStream(exchange, self._base_url, *ends)
        if exchange.open_stream("text/event-stream", lambda: self._presence.disconnect(worker, stream)):
            worker = self._presence.connect(group, member, stream, *ends)


class ApiListener(Listener):
    """The API: promises, callbacks, tasks, schedules; and the page."""

    def __init__(self, engine: Engine, presence: Presence, guard: Guard, base_url: str, stream_url: str) -> None:
        super().__init__(engine, presence, guard, base_url, stream_url)
        self._page = Page(engine, stream_url)

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        method = exchange.method
        if self._page.has(method, path):
            self._page.answer(exchange, path, query)
        elif method == "GET" and path.startswith("/poll/"):
            self._open_stream(exchange, path.removeprefix("/poll"))
        elif method == "GET" and path in ("/promises", "/schedules"):
            exchange.run(self._search(exchange, Query.parse(path[1:], query)))
        else:
            handler, name = route(method, path)
            if path.startswith("/tasks/") and method == "GET":
                self._guard.check_program(exchange)
            request = Request(name, exchange.headers, exchange.body, self._base_url)
            operation = oversize.fail(method, path, request) if exchange.too_large else handler(request)
            self._engine.do(operation, lambda result: _reply(exchange, result))

    async def _search(self, exchange: Exchange, query: Query) -> None:
        try:
            _reply(exchange, (200, await search(self._engine, query)))
        except Refusal as refusal:
            _reply(exchange, refusal)


class StreamListener(Listener):
    """The event streams."""

    def _answer(self, exchange: Exchange, path: str, query: str) -> None:
        del query
        if exchange.method != "GET":
            raise PlainReply(405, "method not allowed", {"allow": "GET"})
        self._open_stream(exchange, path)


def _reply(exchange: Exchange, result: Reply | Refusal) -> None:
    if isinstance(result, Refusal):
        exchange.reply(result.code // 100, JSON, replies.error(result))
    else:
        status, content = result
        exchange.reply(status, JSON, b"" if content is None else replies.encode(content))


def _split(target: bytes) -> tuple[str, str]:
    """Return the path, its escapes decoded, and the query, as it came."""
    path, _, query = target.partition(b"?")
    if b"%" in target:
        if _BAD_ESCAPE.search(target):
            raise PlainReply(400, "400 Bad Request")
        path = unquote_to_bytes(path)
    return path.decode("utf-8", "replace"), query.decode("utf-8", "replace")
